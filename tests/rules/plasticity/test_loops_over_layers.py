"""Loops over layers: each layer of stacked weights learns as it does written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.by_hand import assert_close, distance
from support.synapses_in_time import numbers

import apical
from apical.rules import STDP, Backpropagation, Hebbian, Plasticity

L, B, T, N = 3, 4, 5, 4
X = numbers(1, B, N)
PARAMS = {
    "w": 0.6 * numbers(2, L, N, N),
    "b": 0.3 * numbers(3, L, N),
    "out": numbers(4, N, 1),
}
KEY = jax.random.key(0)


def scanned(params, x, reverse=False):
    """A loop over layers whose weights are stacked."""

    def layer(h, each):
        w, b = each
        return jnp.tanh(h @ (0.5 * w) + b), None

    h, _ = jax.lax.scan(layer, x, (params["w"], params["b"]), reverse=reverse)
    return jnp.mean((h @ params["out"]) ** 2)


def written_out(params, x, reverse=False):
    """The same layers, each with a parameter of its own."""
    layers = list(zip(params["w"], params["b"], strict=True))
    for w, b in layers[::-1] if reverse else layers:
        x = jnp.tanh(x @ (0.5 * w) + b)
    return jnp.mean((x @ params["out"]) ** 2)


def apart(params):
    return {**params, "w": list(params["w"]), "b": list(params["b"])}


def stacked(grads):
    return {**grads, "w": jnp.stack(grads["w"]), "b": jnp.stack(grads["b"])}


def twice(rule, loss_fn, params, *args, **told):
    """Two calls, so that thresholds move: the last credit, and the learner."""
    learner = apical.value_and_grad(loss_fn, rule, **told)
    state = learner.init(KEY, params, *args)
    call = jax.jit(learner)
    state = call(params, state, *args).state
    return call(params, state, *(1.5 * a for a in args)), learner


EVERY = {
    **{kind: Hebbian(kind) for kind in ("oja", "sanger", "subspace", "bcm", "soft")},
    "node": Plasticity({(1, 1, 0, 0): 0.7, (0, 2, 1, 0): -0.2}),
    "output": Plasticity({(1, 2, 1, 0): 0.7, (0, 0, 1, 0): -0.2}, post="output"),
    "taught": Plasticity(
        {(1, 0, 0, 1): 0.9, (0, 1, 1, 0): -0.1, (0, 0, 0, 2): 0.3}, Backpropagation()
    ),
}


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", EVERY)
def test_each_layer_learns_as_it_does_written_out(name):
    looped, _ = twice(EVERY[name], scanned, PARAMS, X)
    expected, _ = twice(EVERY[name], written_out, apart(PARAMS), X)
    found = stacked(expected.grads)
    assert_close(looped.grads, found, rtol=1e-4)
    # The control: no layer learns as another does.
    w = looped.grads["w"]
    assert min(distance(w[0], w[1]), distance(w[1], w[2])) > 0.1
    assert all(jnp.any(each) for each in w)


def test_the_last_layer_of_a_reversed_loop_is_the_first_of_the_array():
    def backwards(params, x):
        return scanned(params, x, reverse=True)

    def by_hand(params, x):
        return written_out(params, x, reverse=True)

    looped, _ = twice(Hebbian("bcm"), backwards, PARAMS, X)
    expected, _ = twice(Hebbian("bcm"), by_hand, apart(PARAMS), X)
    assert_close(looped.grads, stacked(expected.grads), rtol=1e-4)
    forwards, _ = twice(Hebbian("bcm"), scanned, PARAMS, X)
    assert distance(looped.grads["w"], forwards.grads["w"]) > 0.1


def test_the_teachers_own_law_holds_in_a_loop_over_layers():
    rule = Plasticity({(1, 0, 0, 1): 1.0}, Backpropagation())
    learner = apical.value_and_grad(scanned, rule)
    found = jax.jit(learner)(PARAMS, learner.init(KEY, PARAMS, X), X).grads
    assert_close(found, jax.grad(scanned)(PARAMS, X))


def spiking(layers):
    """A loop over time, in each step of which the layers follow one another."""

    def loss_fn(params, x):
        def step(v, x):
            return layers(params["w"], v, x)

        _, z = jax.lax.scan(step, jnp.zeros((L, B, N)), x)
        return jnp.sum(z**2) / B

    return loss_fn


def unit(z, w, v, name="z"):
    v = 0.8 * v + z @ w
    return apical.node(jnp.tanh(v), name), v


@spiking
def layers_in_time(w, v, x):
    z, v = jax.lax.scan(lambda z, each: unit(z, *each), x, (w, v))
    return v, z


@spiking
def layers_in_time_written_out(w, v, x):
    after = []
    for i in range(L):
        x, now = unit(x, w[i], v[i], f"z{i}")
        after.append(now)
    return jnp.stack(after), x


@pytest.mark.parametrize("rule", [STDP(), Hebbian(synapses=("w",))])
def test_layers_within_a_step_of_time_keep_traces_of_their_own(rule):
    x = numbers(5, T, B, N)
    found = []
    for loss_fn, w in [
        (layers_in_time, PARAMS["w"]),
        (layers_in_time_written_out, list(PARAMS["w"])),
    ]:
        if isinstance(rule, Hebbian) and isinstance(w, list):
            rule = Hebbian(synapses=("w.0", "w.1", "w.2"))
        learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
        state = learner.init(KEY, {"w": w}, x)
        found.append(jax.jit(learner)({"w": w}, state, x).grads["w"])
    assert_close(found[0], jnp.stack(found[1]), rtol=1e-4)
    assert distance(found[0][0], found[0][1]) > 0.1


@pytest.mark.sweep
def test_the_blocks_of_equinox_and_flax_learn_in_their_scans():
    eqx = pytest.importorskip("equinox")
    nn = pytest.importorskip("flax.linen")

    made = eqx.filter_vmap(lambda key: eqx.nn.Linear(N, N, key=key))
    blocks = made(jax.random.split(KEY, L))
    arrays, static = eqx.partition(blocks, eqx.is_array)
    out = PARAMS["out"]

    def of_equinox(arrays, x):
        def layer(h, each):
            block = eqx.combine(each, static)
            return jnp.tanh(jax.vmap(block)(h)), None

        return jnp.mean((jax.lax.scan(layer, x, arrays)[0] @ out) ** 2)

    class Block(nn.Module):
        @nn.compact
        def __call__(self, h, _):
            return jnp.tanh(nn.Dense(N)(h)), None

    many = nn.scan(
        Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=L
    )()

    def of_flax(params, x):
        return jnp.mean((many.apply(params, x, None)[0] @ out) ** 2)

    params = jax.tree.map(jnp.asarray, many.init(KEY, X, None))
    dense = params["params"]["Dense_0"]
    same = {"w": dense["kernel"], "b": dense["bias"], "out": out}

    def by_hand(params, x):
        return scanned({**params, "w": 2 * params["w"]}, x)

    def update(loss_fn, params, name):
        rule = Hebbian("sanger", synapses=(name,))
        learner = apical.value_and_grad(loss_fn, rule)
        state = learner.init(KEY, params, X)
        return jax.jit(learner)(params, state, X).grads

    expected = update(by_hand, same, "w")["w"]
    kernel = update(of_flax, params, "params.Dense_0.kernel")
    assert_close(kernel["params"]["Dense_0"]["kernel"], expected, rtol=1e-4)
    given = eqx.tree_at(
        lambda b: (b.weight, b.bias),
        arrays,
        (jnp.swapaxes(same["w"], 1, 2), same["b"]),
    )
    turned = update(of_equinox, given, "weight").weight
    assert_close(jnp.swapaxes(turned, 1, 2), expected, rtol=1e-4)


def indexed(params, x):
    """Layers by a counter in the carry, in place of stacked weights as `xs`."""

    def layer(carry, _):
        i, h = carry
        return (i + 1, jnp.tanh(h @ params["w"][i])), None

    (_, h), _ = jax.lax.scan(layer, (0, x), length=L)
    return jnp.mean((h @ params["out"]) ** 2)


@pytest.mark.parametrize("rule", [Hebbian(), Plasticity({(1, 1, 0, 0): 1.0})])
def test_a_weight_chosen_by_the_carry_is_refused_with_what_to_do(rule):
    with pytest.raises(ValueError, match=r"from the carry.*as `xs`"):
        apical.value_and_grad(indexed, rule).init(KEY, PARAMS, X)


def branching(params, x):
    h = jnp.tanh(jax.lax.cond(jnp.sum(x) > 0, lambda h: h @ params["w"][0], jnp.sin, x))
    return jnp.mean((h @ params["out"]) ** 2)


RULES = [Hebbian(), Plasticity({(1, 1, 0, 0): 1.0}), STDP()]


@pytest.mark.parametrize("rule", RULES)
def test_a_synapse_in_a_branch_is_refused_with_what_to_do(rule):
    with pytest.raises(ValueError, match=r"branch of a `cond`.*`jnp\.where`"):
        apical.value_and_grad(branching, rule).init(KEY, PARAMS, X)


def test_a_loop_over_layers_is_no_time():
    def lost(w, x):
        def layer(h, w):
            return apical.node(jnp.tanh(h @ w), "h"), None

        return jnp.sum(jax.lax.scan(layer, x, w)[0] ** 2)

    with pytest.raises(ValueError, match="stands in no loop over time"):
        apical.value_and_grad(lost, STDP()).init(KEY, PARAMS["w"], X)


def test_a_part_of_the_weights_is_no_other_layer():
    """A loop over time that reads one layer of stacked weights learns in it alone."""

    def loss_fn(params, x):
        def step(h, x):
            return jnp.tanh(x @ params["w"][1]), None

        h, _ = jax.lax.scan(step, x[0], x)
        return jnp.mean((h @ params["out"]) ** 2)

    x = numbers(6, T, B, N)
    learner = apical.value_and_grad(loss_fn, Hebbian(), batch_axes=1)
    found = learner(PARAMS, learner.init(KEY, PARAMS, x), x).grads["w"]
    w, flat = np.asarray(PARAMS["w"][1]), np.asarray(x).reshape(-1, N)
    y = flat @ w
    expected = -(flat.T @ y - w * np.sum(y * y, 0)) / B
    assert_close(found[1], expected, rtol=1e-4)
    assert not np.any(found[0]) and not np.any(found[2])
