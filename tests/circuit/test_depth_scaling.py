"""Depth scaling: factors, the network by hand, activity that does not grow."""

import jax
import jax.numpy as jnp
import optax
import pytest
from support.laws import assert_same, distance

import apical
from apical.rules import Backpropagation, FeedbackAlignment, PredictiveCoding

WIDTH, KEY = 32, jax.random.key(0)
X, Y = jax.random.normal(KEY, (16, 8)), jnp.sign(jax.random.normal(KEY, (16, 2)))


def residual(depth, size=1.0):
    """A residual network without biases, and its parameters."""
    keys = iter(jax.random.split(jax.random.key(depth), depth + 2))

    def draw(rows, columns):
        return size * jax.random.normal(next(keys), (rows, columns)) / rows**0.5

    params = {"in": draw(8, WIDTH), "out": draw(WIDTH, 2)}
    params |= {f"layer{i}": draw(WIDTH, WIDTH) for i in range(depth)}

    def loss_fn(params, x, y):
        h = x @ params["in"]
        for i in range(depth):
            h = apical.node(h + jnp.tanh(h) @ params[f"layer{i}"], f"h{i}")
        return 0.5 * jnp.mean(jnp.sum((h @ params["out"] - y) ** 2, -1))

    return loss_fn, params


def unit(leaf):
    return leaf / jnp.sqrt(jnp.mean(leaf**2))


def by_hand(depth):
    """The parameterisation of the paper, its weights of variance 1."""

    def loss_fn(params, x, y):
        h = x @ params["in"] / 8**0.5
        for i in range(depth):
            h = h + jnp.tanh(h) @ params[f"layer{i}"] / (WIDTH * depth) ** 0.5
        return 0.5 * jnp.mean(jnp.sum((h @ params["out"] / WIDTH - y) ** 2, -1))

    return loss_fn


@pytest.mark.parametrize("depth", [1, 5])
def test_loss_and_gradients_are_those_of_the_paper_by_hand(depth):
    loss_fn, params = residual(depth, size=0.3)
    scaled = apical.depth_scaled(loss_fn, params, X, Y)
    units = jax.tree.map(unit, params)
    assert_same(scaled.params, units, 1e-5)
    true = jax.value_and_grad(by_hand(depth))(units, X, Y)
    found = jax.value_and_grad(scaled.loss_fn)(scaled.params, X, Y)
    assert_same(found, true, 1e-5)
    assert distance(jax.grad(loss_fn)(params, X, Y)["out"], true[1]["out"]) > 0.1


def spread(loss_fn, params, depth):
    values = apical.value_and_grad(loss_fn, Backpropagation()).signals(params, (), X, Y)
    return float(jnp.std(values[f"h{depth - 1}"].value))


def test_activity_does_not_grow_with_depth():
    sizes = {}
    for depth in (4, 48):
        loss_fn, params = residual(depth)
        scaled = apical.depth_scaled(loss_fn, params, X, Y)
        sizes[depth] = spread(scaled.loss_fn, scaled.params, depth)
        sizes["plain", depth] = spread(loss_fn, params, depth)
    assert 0.8 < sizes[48] / sizes[4] < 1.25
    assert sizes["plain", 48] / sizes["plain", 4] > 2


@pytest.mark.parametrize("rule", [FeedbackAlignment(), PredictiveCoding()])
def test_the_scaled_loss_trains_by_any_rule(rule):
    loss_fn, params = residual(3)
    scaled = apical.depth_scaled(loss_fn, params, X, Y)
    step = apical.train_step(scaled.loss_fn, rule, optax.adam(0.05))
    params, state = scaled.params, step.init(KEY, scaled.params, X, Y)
    first = scaled.loss_fn(params, X, Y)
    train = jax.jit(step)
    for _ in range(40):
        params, state, credit = train(params, state, X, Y)
    assert credit.value < 0.5 * first


def test_a_branch_of_two_layers_is_scaled_where_it_ends():
    def loss_fn(p, x, y):
        h = x @ p["in"]
        for i in range(2):
            h = h + jnp.tanh(jnp.tanh(h) @ p[f"up{i}"]) @ p[f"down{i}"]
        return jnp.mean((h @ p["out"] - y) ** 2)

    params = {"in": jnp.ones((8, 4)), "out": jnp.ones((4, 2))}
    params |= {f"up{i}": jnp.ones((4, 9)) for i in range(2)}
    params |= {f"down{i}": jnp.ones((9, 4)) for i in range(2)}
    found = apical.depth_scaled(loss_fn, params, X, Y).factors
    assert found["up0"] == found["up1"] == 1 / 2
    assert found["down0"] == found["down1"] == pytest.approx((9 * 2) ** -0.5)
    assert found["out"] == 1 / 4


def test_two_branches_into_one_sum_are_two():
    def loss_fn(p, x, y):
        h = x @ p["in"]
        h = h + jnp.tanh(h) @ p["one"] + jax.nn.relu(h) @ p["two"]
        return jnp.mean((h @ p["out"] - y) ** 2)

    square = {name: jnp.ones((4, 4)) for name in ("one", "two")}
    params = {"in": jnp.ones((8, 4)), **square, "out": jnp.ones((4, 2))}
    found = apical.depth_scaled(loss_fn, params, X, Y).factors
    assert found["one"] == found["two"] == pytest.approx((4 * 2) ** -0.5)
    assert found["out"] == 1 / 4


def test_a_loss_that_reads_the_stream_is_no_readout():
    def loss_fn(p, x, y):
        h = jnp.tanh(x @ p["in"])
        for i in range(3):
            h = h + jnp.tanh(h) @ p[f"layer{i}"]
        return jnp.mean((h - y) ** 2)

    params = {"in": jnp.ones((8, 2))}
    params |= {f"layer{i}": jnp.ones((2, 2)) for i in range(3)}
    found = apical.depth_scaled(loss_fn, params, X, Y).factors
    layers = [found[f"layer{i}"] for i in range(3)]
    assert layers == pytest.approx([(2 * 3) ** -0.5] * 3)


def test_a_chain_is_scaled_by_width_alone():
    def loss_fn(p, x, y):
        return jnp.mean((jnp.tanh(x @ p["in"]) @ p["out"] - y) ** 2)

    params = {"in": jnp.ones((8, 4)), "out": jnp.ones((4, 2))}
    found = apical.depth_scaled(loss_fn, params, X, Y).factors
    assert found == {"in": pytest.approx(8**-0.5), "out": 1 / 4}


def looped(p, x, y):
    h, _ = jax.lax.scan(lambda h, w: (h + jnp.tanh(h) @ w, None), x, p["layers"])
    return jnp.mean((h @ p["out"] - y) ** 2)


def tied(p, x, y):
    h = jnp.tanh(x @ p["layers"])
    h = h + jnp.tanh(h) @ p["layers"]
    return jnp.mean(((h + jnp.tanh(h) @ p["layers"]) @ p["out"] - y) ** 2)


@pytest.mark.parametrize(
    ("loss_fn", "layers", "words"),
    [
        (looped, jnp.ones((3, 8, 8)), "inside a loop"),
        (tied, jnp.ones((8, 8)), "has two synapses"),
    ],
)
def test_what_has_no_depth_scaling_is_refused(loss_fn, layers, words):
    params = {"layers": layers, "out": jnp.ones((8, 2))}
    with pytest.raises(ValueError, match=words):
        apical.depth_scaled(loss_fn, params, X, Y)


def test_a_weight_of_zeros_is_refused():
    loss_fn, params = residual(1)
    with pytest.raises(ValueError, match="'layer0' is zero everywhere"):
        apical.depth_scaled(loss_fn, {**params, "layer0": jnp.zeros((32, 32))}, X, Y)
