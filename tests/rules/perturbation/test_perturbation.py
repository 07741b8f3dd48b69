"""Perturbation, forward gradients and evolution: equality, bias and variance.

In double precision, so that differences of losses are exact to nine digits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance, loss_fn, network
from support.perturbation_by_hand import (
    X,
    Y,
    along,
    chain,
    flat,
    losses,
    moved,
    numbers,
    pulled,
    spread,
    weights,
    worst,
)

import apical
from apical.rules import (
    EvolutionStrategy,
    ForwardGradient,
    NodePerturbation,
    WeightPerturbation,
)
from apical.rules.perturbation._random_directions import draw

KEY = jax.random.key(3)
KINDS = ["normal", "sign"]
PARAMS = weights()


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


def grads_of(rule, state=KEY, params=PARAMS, data=(X, Y), loss_fn=loss_fn):
    learner = apical.value_and_grad(loss_fn, rule)
    return jax.jit(learner)(params, state, *data).grads


def signals_of(rule, state=KEY, params=PARAMS, data=(X, Y), loss_fn=loss_fn):
    found = apical.value_and_grad(loss_fn, rule).signals
    return {n: s.teaching for n, s in jax.jit(found)(params, state, *data).items()}


def true_grads(params=PARAMS, data=(X, Y), loss_fn=loss_fn):
    return jax.grad(loss_fn)(jax.tree.map(jnp.asarray, params), *data)


def directions(count, kind, tree):
    """What a call in this state draws."""
    now = jax.random.split(KEY)[0]
    return jax.tree.map(np.asarray, draw(now, tree, count, kind))


def row(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def node_noise(count, kind, names=("0", "1", "output")):
    """Noise at the nodes of every example: `[count, examples, units]`."""
    units = zip(names, (7, 6, 3), strict=True)
    shapes = {n: jax.ShapeDtypeStruct((4, u), float) for n, u in units}
    found = directions(count, kind, shapes)
    return [found[n] for n in names]


# ------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("kind", KINDS)
def test_weight_perturbation_of_two_hidden_layers_by_hand(kind):
    found = grads_of(WeightPerturbation(0.1, pairs=3, kind=kind))
    noise, slopes = directions(3, kind, PARAMS), []
    for k in range(3):
        up, down = (
            losses(moved(PARAMS, step, row(noise, k))).mean() for step in (0.1, -0.1)
        )
        slopes.append((up - down) / 0.2)
    expected = jax.tree.map(lambda v: np.tensordot(slopes, v, 1) / 3, noise)
    assert_close(found, expected, 1e-8)
    other = grads_of(WeightPerturbation(0.1, 3, kind), jax.random.key(4))
    assert distance(found, other) > 0.5
    assert distance(found, true_grads()) > 0.5


@pytest.mark.parametrize(("at", "kind"), [("value", "normal"), ("drive", "sign")])
def test_node_perturbation_of_two_hidden_layers_by_hand(kind, at):
    found = grads_of(NodePerturbation(0.1, pairs=2, kind=kind, at=at))
    drives = ("0:drive", "1:drive", "output")
    names = drives if at == "drive" else ("0", "1", "output")
    noise = node_noise(2, kind, names)

    def by_hand(noise, together=False):
        deltas = [np.zeros((4, n)) for n in (7, 6, 3)]
        for k in range(2):
            one, two, out = (n[k] for n in noise)
            up, down = (
                losses(PARAMS, **{at: (s * one, s * two)}, output=s * out)
                for s in (0.1, -0.1)
            )
            slope = (up - down) / 0.2
            slope = np.full(4, slope.sum()) if together else slope
            for delta, n in zip(deltas, noise, strict=True):
                delta += slope[:, None] * n[k] / 2 / 4
        return pulled(PARAMS, deltas, derivative=at == "value")

    assert_close(found, by_hand(noise), 1e-8)
    # Each of these is another rule: one loss for the batch, a silent output, rho'.
    assert distance(found, by_hand(noise, together=True)) > 0.3
    assert distance(found, by_hand([*noise[:2], 0 * noise[2]])) > 0.3
    deltas = [numbers(i, 4, n) for i, n in enumerate((7, 6, 3))]
    pair = pulled(PARAMS, deltas), pulled(PARAMS, deltas, derivative=False)
    assert distance(*pair) > 0.1


def test_forward_gradients_at_the_weights_by_hand():
    found = grads_of(ForwardGradient(directions=2))
    noise, true = directions(2, "normal", PARAMS), true_grads()
    slopes = flat(noise) @ flat(jax.tree.map(lambda g: g[None], true))[0]
    expected = jax.tree.map(lambda v: np.tensordot(slopes, v, 1) / 2, noise)
    assert_close(found, expected, 1e-8)
    other = grads_of(ForwardGradient(directions=2), jax.random.key(4))
    assert distance(found, other) > 0.3


def test_forward_gradients_at_the_activities_by_hand():
    found = grads_of(ForwardGradient("activities", directions=2, kind="sign"))
    noise = node_noise(2, "sign")
    backprop = apical.value_and_grad(loss_fn, apical.rules.Backpropagation()).signals
    true = [4 * s.teaching for s in backprop(PARAMS, (), X, Y).values()]
    hidden = np.tanh(X @ PARAMS[0]["w"] + PARAMS[0]["b"])
    hidden = np.tanh(hidden @ PARAMS[1]["w"] + PARAMS[1]["b"])
    true.append(hidden @ PARAMS[2]["w"] + PARAMS[2]["b"] - Y)
    slopes = sum(np.sum(t * n, axis=-1) for t, n in zip(true, noise, strict=True))
    deltas = [np.mean(slopes[..., None] * n, axis=0) / 4 for n in noise]
    assert_close(found, pulled(PARAMS, deltas), 1e-8)
    assert distance(found, pulled(PARAMS, [*deltas[:2], true[2] / 4])) > 0.1


def past_the_output(decay):
    """The loss reads a gain that the output is multiplied by, and every weight."""

    def loss_fn(params, x, y):
        out = apical.output(network(params["net"], x))
        penalty = sum(jnp.sum(w**2) for w in jax.tree.leaves(params["net"]))
        error = jnp.sum((params["gain"] * out - y) ** 2, axis=1)
        return jnp.mean(error) + decay * penalty

    return loss_fn


@pytest.mark.parametrize("rule", [NodePerturbation(), ForwardGradient("activities")])
def test_what_the_loss_reads_past_the_output_takes_its_true_gradient(rule):
    params = {"net": PARAMS, "gain": np.array([0.5, 2.0, -1.0])}
    without, found = (
        grads_of(rule, params=params, loss_fn=past_the_output(decay))
        for decay in (0.0, 0.3)
    )
    true = true_grads(params, loss_fn=past_the_output(0.3))
    assert_close(found["gain"], true["gain"], 1e-8)
    decayed = jax.tree.map(lambda g, w: g + 2 * 0.3 * w, without["net"], PARAMS)
    assert_close(found["net"], decayed, 1e-7)
    # The rest is an estimate, in which neither would be seen.
    assert distance(found["net"], true["net"]) > 0.3
    assert distance(without["net"], decayed) > 0.1


@pytest.mark.parametrize("fitness", ["loss", "rank"])
def test_an_evolution_strategy_by_hand(fitness):
    found = grads_of(EvolutionStrategy(0.2, pairs=4, fitness=fitness))
    noise = directions(4, "normal", PARAMS)
    scores = np.array(
        [
            [losses(moved(PARAMS, s, row(noise, k))).mean() for s in (0.2, -0.2)]
            for k in range(4)
        ]
    )
    if fitness == "rank":
        scores = np.argsort(np.argsort(scores.ravel())).reshape(4, 2) / 7 - 0.5
    slopes = (scores[:, 0] - scores[:, 1]) / 0.4
    expected = jax.tree.map(lambda v: np.tensordot(slopes, v, 1) / 4, noise)
    assert_close(found, expected, 1e-8)
    other = EvolutionStrategy(0.2, 4, "rank" if fitness == "loss" else "loss")
    assert distance(found, grads_of(other)) > 0.1


def test_an_evolution_strategy_is_that_of_evosax():
    evosax = pytest.importorskip("evosax.algorithms")
    theta = jnp.asarray(numbers(0, 6))

    def loss(theta, x):
        return jnp.mean(jnp.sum(jnp.sin(x * theta) ** 2, axis=1))

    x = numbers(1, 3, 6)
    rule = EvolutionStrategy(0.3, pairs=8)
    found = grads_of(rule, params=theta, data=(x,), loss_fn=loss)
    strategy = evosax.Open_ES(
        population_size=16,
        solution=theta,
        optimizer=optax.sgd(1.0),
        std_schedule=lambda _: 0.3,
        fitness_shaping_fn=lambda population, fitness, state, params: fitness,
    )
    settings = strategy.default_params
    state = strategy.init(KEY, theta, settings)
    noise = draw(jax.random.split(KEY)[0], theta, 8, "normal")
    cloud = theta + 0.3 * jnp.concatenate([noise, -noise])
    fitness = jax.vmap(lambda t: loss(t, x))(cloud)
    after, _ = strategy.tell(KEY, cloud, fitness, state, settings)
    assert_close(found, theta - after.mean, 1e-6)
    assert distance(found, jax.grad(loss)(theta, x)) > 0.05


# ----------------------------------------------------------------------- statistics

SMALL = chain(2, 3, 2)
DATA = numbers(30, 2, 2), numbers(31, 2, 2)
DRAWS = 4000


def many(rule, params=SMALL, data=DATA, count=DRAWS, signals=False):
    """Estimates from independent states, and the truth."""
    keys = jax.random.split(jax.random.key(7), count)
    of, truth = (grads_of, true_grads(params, data)) if not signals else (signals_of, 0)
    if signals:
        backprop = apical.value_and_grad(
            loss_fn, apical.rules.Backpropagation()
        ).signals
        truth = {n: s.teaching for n, s in backprop(params, (), *data).items()}
    found = jax.jit(jax.vmap(lambda key: of(rule, key, params, data)))(keys)
    return flat(found), flat(jax.tree.map(lambda t: t[None], truth))[0]


UNBIASED = {
    "weights": ForwardGradient(),
    "weights, signs": ForwardGradient(kind="sign"),
    "activities": ForwardGradient("activities", directions=2),
}


@pytest.mark.parametrize("rule", UNBIASED.values(), ids=UNBIASED)
def test_forward_gradients_are_unbiased(rule):
    estimates, truth = many(rule)
    off, off_if_larger = along(estimates, truth)
    assert off < 3
    assert worst(estimates, truth) < 4.5
    assert off_if_larger > 4  # a wrong factor would be seen
    assert worst(1.2 * estimates, truth) > 4.5


PAIRS = {
    "weights": (WeightPerturbation, ForwardGradient(kind="sign")),
    "nodes": (NodePerturbation, ForwardGradient("activities", kind="sign")),
    "evolution": (
        lambda size: EvolutionStrategy(size, pairs=1),
        ForwardGradient(),
    ),
}


@pytest.mark.parametrize(("kind", "limit"), PAIRS.values(), ids=PAIRS)
def test_finite_noise_is_off_by_its_square(kind, limit):
    exact = grads_of(limit)
    off = [distance(grads_of(kind(size)), exact) for size in (0.1, 0.05, 0.025)]
    np.testing.assert_allclose(off[0] / off[1], 4, rtol=0.1)
    np.testing.assert_allclose(off[1] / off[2], 4, rtol=0.05)
    assert off[0] > 1e-4


WIDTHS = [(2, "sign"), (6, "sign"), (18, "sign"), (6, "normal")]


@pytest.mark.parametrize(("width", "kind"), WIDTHS)
def test_variance_grows_with_the_number_of_weights(width, kind):
    estimates, truth = many(WeightPerturbation(kind=kind), chain(2, width, 2))
    expected = len(truth) + (1 if kind == "normal" else -1)
    np.testing.assert_allclose(spread(estimates, truth), expected, rtol=0.1)


AT_NODES = [(2, 1, "normal"), (18, 1, "normal"), (18, 4, "normal"), (18, 1, "sign")]


@pytest.mark.parametrize(("width", "pairs", "kind"), AT_NODES)
def test_variance_of_the_teaching_signals_grows_with_the_nodes(width, pairs, kind):
    params = chain(2, width, 2)
    data = DATA[0][:1], DATA[1][:1]
    rule = NodePerturbation(1e-3, pairs, kind=kind)
    estimates, truth = many(rule, params, data, signals=True)
    hidden = np.tanh(data[0] @ params[0]["w"] + params[0]["b"])
    error = hidden @ params[1]["w"] + params[1]["b"] - data[1]
    whole = np.sum(truth**2) + np.sum(error**2)
    # E|delta_n - t_n|^2, over the hidden units alone; E xi^4 is 3 or, of signs, 1.
    own = np.sum(truth**2) * (1 if kind == "normal" else -1)
    expected = (width * whole + own) / pairs / np.sum(truth**2)
    np.testing.assert_allclose(spread(estimates, truth), expected, rtol=0.1)


def test_the_slope_estimates_the_norm_of_the_gradient():
    learner = apical.value_and_grad(loss_fn, ForwardGradient(directions=4000))
    credit = jax.jit(learner)(SMALL, KEY, *DATA)
    truth = flat(jax.tree.map(lambda t: t[None], true_grads(SMALL, DATA)))[0]
    np.testing.assert_allclose(credit.info.slope, np.linalg.norm(truth), rtol=0.05)


def test_an_evolution_strategy_descends_the_smoothed_loss():
    theta, x = jnp.array([1.0, -0.5]), np.ones((1, 1))

    def quartic(theta, x):
        return jnp.mean(jnp.sum((x * theta) ** 4, axis=1))

    rule = EvolutionStrategy(0.5, pairs=1)
    keys = jax.random.split(KEY, 20000)
    of = jax.vmap(lambda k: grads_of(rule, k, theta, (x,), quartic))
    estimates = np.asarray(jax.jit(of)(keys))
    smoothed = 4 * theta**3 + 12 * 0.5**2 * theta
    assert worst(estimates, np.asarray(smoothed)) < 4
    assert worst(estimates, np.asarray(4 * theta**3)) > 10
