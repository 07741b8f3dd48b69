"""Target propagation: targets pass down through inverses that learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.broken_rules import problem as given
from support.by_hand import assert_close, batch, distance, loss_fn
from support.check_on import check_on
from support.laws import problem
from support.target_propagation import (
    DATA,
    DIFFERENCE,
    KEY,
    PARAMS,
    SGD,
    STEP,
    credit_of,
    drawn,
    learner_of,
    teaching,
)

import apical
from apical.rules import (
    DifferenceReconstruction,
    DifferenceTargetPropagation,
    NoiseReconstruction,
    TargetPropagation,
)

X, Y = map(np.asarray, DATA)


# -------------------------------------------------------------- two hidden layers


def forward():
    p = jax.tree.map(np.asarray, PARAMS)
    one = np.tanh(X @ p[0]["w"] + p[0]["b"])
    two = np.tanh(one @ p[1]["w"] + p[1]["b"])
    return p, one, two, two @ p[2]["w"] + p[2]["b"]


def by_hand(weights, difference, first_target):
    """Targets of two layers of tanh, and the gradients towards them."""
    p, one, two, output = forward()
    phi = [each["w"] for each in weights.feedback]
    shift = jax.tree.map(np.asarray, weights.shift)
    error = output - Y
    if first_target == "nodes":
        top = two - STEP * error @ p[2]["w"].T
    else:
        top = np.tanh((output - STEP * error) @ phi[2].T + shift["1"])
        rest = np.tanh(output @ phi[2].T + shift["1"])
        top = two + top - rest if difference else top
    low = np.tanh(top @ phi[1].T + shift["0"])
    rest = np.tanh(two @ phi[1].T + shift["0"])
    low = one + low - rest if difference else low
    deltas = [
        (one - low) / STEP / 4 * (1 - one**2),
        (two - top) / STEP / 4 * (1 - two**2),
        error / 4,
    ]
    return [
        {"w": below.T @ delta, "b": delta.sum(axis=0)}
        for below, delta in zip((X, one, two), deltas, strict=True)
    ]


@pytest.mark.parametrize("first_target", ["output", "nodes"])
@pytest.mark.parametrize("kind", [TargetPropagation, DifferenceTargetPropagation])
def test_two_hidden_layers_by_hand(kind, first_target):
    rule = kind(STEP, training=None, first_target=first_target)
    state = drawn(rule)
    found = credit_of(rule, state)
    expected = by_hand(state.weights, rule.difference, first_target)
    assert_close(found.grads, expected)
    other = by_hand(state.weights, not rule.difference, first_target)
    assert distance(other[0], expected[0]) > 0.1
    changed = jax.tree.map(lambda w: 2 * w, state.weights)
    other = by_hand(changed, rule.difference, first_target)
    assert distance(other[0], expected[0]) > 0.1
    np.testing.assert_allclose(found.value, loss_fn(PARAMS, *DATA), rtol=1e-6)


def noise_of(state, sigma):
    """The noise that the next step of the inverses will draw, at each place."""
    shapes = {"0": (4, 7), "1": (4, 6), "output": (4, 3)}
    return noise_from(jax.random.split(state.key)[0], shapes, sigma)


def noise_from(key, shapes, sigma):
    keys = jax.random.split(key, len(shapes))
    pairs = zip(keys, shapes.items(), strict=True)
    return {n: sigma * jax.random.normal(k, shape) for k, (n, shape) in pairs}


def inverses(weights, above):
    one = jnp.tanh(above["1"] @ weights.feedback[1]["w"].T + weights.shift["0"])
    two = jnp.tanh(above["output"] @ weights.feedback[2]["w"].T + weights.shift["1"])
    return {"0": one, "1": two}


def upwards(one, two):
    p = PARAMS
    return {
        "1": jnp.tanh(one @ p[1]["w"] + p[1]["b"]),
        "output": two @ p[2]["w"] + p[2]["b"],
    }


def noise_loss(weights, state, sigma):
    _, one, two, _ = forward()
    noise = noise_of(state, sigma)
    shaken = {"0": one + noise["0"], "1": two + noise["1"]}
    back = inverses(weights, upwards(shaken["0"], shaken["1"]))
    return sum(jnp.sum((back[n] - shaken[n]) ** 2) / 2 for n in shaken) / 4


def difference_loss(weights, state, sigma):
    _, one, two, output = forward()
    first, second = jax.random.split(jax.random.split(state.key)[0])
    shapes = {"0": (4, 7), "1": (4, 6), "output": (4, 3)}
    noise, above = (noise_from(k, shapes, sigma) for k in (first, second))
    rest = {"1": two, "output": output}
    moved = inverses(weights, upwards(one + noise["0"], two + noise["1"]))
    shaken = inverses(weights, {n: rest[n] + above[n] for n in rest})
    rest = inverses(weights, rest)
    each = [
        jnp.sum((shaken[n] - rest[n]) ** 2) / 2
        - jnp.sum(noise[n] * (moved[n] - rest[n]))
        for n in rest
    ]
    return sum(each) / sigma**2 / 4


LOSSES = {
    "noise": (NoiseReconstruction, noise_loss),
    "difference": (DifferenceReconstruction, difference_loss),
}


@pytest.mark.parametrize(("part", "loss"), LOSSES.values(), ids=LOSSES)
def test_a_step_of_the_inverses_by_hand(part, loss):
    rule = DifferenceTargetPropagation(STEP, part(0.2), optimizer=SGD)
    state = drawn(rule)
    credit = credit_of(rule, state)
    value, grads = jax.jit(jax.value_and_grad(loss), static_argnums=2)(
        state.weights, state, 0.2
    )
    expected = jax.tree.map(lambda w, g: w - 0.1 * g, state.weights, grads)
    assert_close(credit.state.weights, expected)
    np.testing.assert_allclose(sum(credit.info.loss.values()), value, rtol=1e-4)
    still = jax.tree.map(jnp.array_equal, credit.state.weights, state.weights)
    assert not still.feedback[1]["w"]
    assert not still.feedback[2]["w"]
    assert state.weights.feedback[0]["w"] is None  # nothing is sent to the input
    targets = credit_of(DIFFERENCE, state._replace(optimizer=()))
    assert_close(credit.grads, targets.grads)  # the inverses learn after the targets
    other = loss(state.weights, state, 0.4)
    assert abs(other - value) > 0.01 * abs(value)


def test_steps_are_taken_one_after_the_other_with_new_noise():
    once = DifferenceTargetPropagation(STEP, NoiseReconstruction(0.2), optimizer=SGD)
    thrice = DifferenceTargetPropagation(
        STEP, NoiseReconstruction(0.2, steps=3), optimizer=SGD
    )
    start = drawn(once)
    state = start
    for _ in range(3):
        state = credit_of(once, state).state
    found = credit_of(thrice, start).state
    assert_close(found.weights, state.weights)
    assert distance(found.weights, start.weights) > 1e-3
    assert jnp.array_equal(
        jax.random.key_data(found.key), jax.random.key_data(state.key)
    )


# ------------------------------------------------------------------ inverses of a user


def pair(scale=1.0):
    """What the circuit's own inverse is here, written by hand."""

    def init(key, node, above):
        return {
            n: jax.random.normal(key, (a.shape[-1], node.shape[-1]))
            for n, a in above.items()
        }

    def apply(weights, above):
        return jnp.tanh(scale * sum(above[n] @ weights[n] for n in above))

    return init, apply


def test_an_inverse_of_a_user_equals_the_circuits_own_where_it_is_the_same():
    kind = TargetPropagation
    rule = kind(STEP, NoiseReconstruction(0.2), optimizer=SGD)
    state = learner_of(rule).init(KEY, PARAMS, *DATA)
    phi = state.weights.feedback
    own = credit_of(rule, state)
    for scale, same in ((1.0, True), (0.5, False)):
        given = kind(STEP, NoiseReconstruction(0.2), optimizer=SGD, inverse=pair(scale))
        start = learner_of(given).init(KEY, PARAMS, *DATA)
        weights = {"0": {"1": phi[1]["w"].T}, "1": {"output": phi[2]["w"].T}}
        assert jax.tree.map(jnp.shape, start.weights) == jax.tree.map(
            jnp.shape, weights
        )
        found = credit_of(given, start._replace(weights=weights, key=state.key))
        assert (distance(found.grads, own.grads) < 1e-5) is same
        moved = found.state.weights["0"]["1"].T
        close = distance(moved, own.state.weights.feedback[1]["w"]) < 1e-5
        assert close is same


def residual(params, x, y):
    stream = x @ params["in"]
    stream = stream + jnp.tanh(stream @ params["up"]) @ params["down"]
    return 0.5 * jnp.sum((stream @ params["out"] - y) ** 2) / len(x)


def test_a_residual_stream_has_its_target_from_both_of_its_readers_by_hand():
    draw, (x, y) = np.random.default_rng(0), batch(4, 5, 3)
    shapes = {"in": (5, 6), "up": (6, 7), "down": (7, 6), "out": (6, 3)}
    w = {n: jnp.asarray(draw.normal(size=s) / 2, float) for n, s in shapes.items()}
    circuit = apical.trace(residual)(w, x, y)
    first, inner, second = (n.name for n in circuit.nodes)
    assert [edge.to for edge in circuit.reach[first]] == [inner, second]
    state = drawn(DIFFERENCE, w, residual, (x, y))
    phi, shift = state.weights
    low = x @ w["in"]
    high = low + jnp.tanh(low @ w["up"]) @ w["down"]
    change = {second: -STEP * (high @ w["out"] - y) @ phi["out"].T}
    rest = high @ phi["down"].T + shift[inner]
    moved = rest + change[second] @ phi["down"].T
    change[inner] = jnp.tanh(moved) - jnp.tanh(rest)
    change[first] = change[second] + change[inner] @ phi["up"].T
    expected = {n: -c / STEP / 4 for n, c in change.items()}
    assert_close(teaching(DIFFERENCE, state, w, residual, (x, y)), expected)
    assert distance(expected[second], expected[first]) > 0.1  # both have a part in it


def test_an_inverse_of_another_shape_is_refused():
    rule = DifferenceTargetPropagation(
        inverse=(lambda *_: jnp.zeros(()), lambda *_: jnp.zeros((4, 5)))
    )
    with pytest.raises(ValueError, match=r"`inverse` returns shape \(4, 5\)"):
        learner_of(rule).init(KEY, PARAMS, *DATA)


# ----------------------------------------------------------------------- through time


def test_targets_travel_from_step_to_step_of_a_loop_by_hand():
    found = problem("rnn")
    rule = DifferenceTargetPropagation(STEP, training=None)
    state = drawn(rule, found.params, found.loss_fn, found.args)
    credit = credit_of(rule, state, found.params, found.loss_fn, found.args)
    p, (x, y) = jax.tree.map(np.asarray, (found.params, found.args))
    phi = jax.tree.map(np.asarray, state.weights.feedback)
    (shift,) = (np.asarray(c) for c in state.weights.shift.values())
    values = [np.zeros((4, 6))]
    for t in range(5):
        drive = values[-1] @ p["u"] + x[:, t] @ p["in"]["w"] + p["in"]["b"]
        values.append(np.tanh(drive))
    output = values[-1] @ p["out"]["w"] + p["out"]["b"]
    readout, recurrent = phi["out"]["w"].T, phi["u"].T
    target, deltas = output - STEP * (output - y), {}
    rest, back = output, readout
    for t in range(5, 0, -1):
        change = np.tanh(target @ back + shift) - np.tanh(rest @ back + shift)
        target, rest, back = values[t] + change, values[t], recurrent
        deltas[t] = -change / STEP / 4 * (1 - values[t] ** 2)
    expected = sum(values[t - 1].T @ deltas[t] for t in deltas)
    assert_close(credit.grads["u"], expected)
    last = values[4].T @ deltas[5]
    assert distance(expected, last) > 0.1
    expected = sum(x[:, t - 1].T @ deltas[t] for t in deltas)
    assert_close(credit.grads["in"]["w"], expected)


MODELS = ["conv_residual", "gru", "mlp_residual"]


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", MODELS)
def test_convolutions_loops_streams_and_attention_have_inverses(name):
    found = problem(name)
    rule = DifferenceTargetPropagation(training=NoiseReconstruction())
    learner = learner_of(rule, found.loss_fn, **found.keywords)
    state = learner.init(KEY, found.params, *found.args)

    @jax.jit
    def call(learned, state):
        params = found.circuit.merged(found.params, learned)
        return learner(params, state, *found.args)._replace(info=None)

    credit = call(found.learned, state)
    for path, grad in found.by_path(credit.grads).items():
        assert np.all(np.isfinite(grad)), path
    assert all(np.any(grad) for grad in found.by_path(credit.grads).values())
    moved = jax.tree.map(jnp.array_equal, credit.state.weights, state.weights)
    assert not all(jax.tree.leaves(moved))


# -------------------------------------------------------------------------- refusals


def two_readers(params, x, y):
    one = jnp.tanh(x @ params[0]["w"])
    return loss_fn(params[1:], one, y) + jnp.mean(one**2)


def own_rule(params, x, y):
    @jax.custom_vjp
    def same(h):
        return h

    same.defvjp(lambda h: (h, None), lambda _, g: (jnp.clip(g, -1, 1),))
    return loss_fn(params[1:], same(jnp.tanh(x @ params[0]["w"])), y)


def test_plain_targets_cannot_be_joined():
    plain = TargetPropagation(first_target="nodes")
    with pytest.raises(ValueError, match=r"is read by the loss and by '1'"):
        drawn(plain, loss_fn=two_readers)
    drawn(DifferenceTargetPropagation(first_target="nodes"), loss_fn=two_readers)


def test_what_is_no_inverse_is_refused():
    with pytest.raises(ValueError, match="reverse rule of its own"):
        drawn(DIFFERENCE, loss_fn=own_rule)
    with pytest.raises(TypeError, match="`inverse` must be a pair of functions"):
        DifferenceTargetPropagation(inverse=jnp.tanh)
    with pytest.raises(TypeError, match="`training` must be"):
        drawn(DifferenceTargetPropagation(training="noise"))
    found = problem("rnn")
    looped = DifferenceTargetPropagation(inverse=pair())
    with pytest.raises(ValueError, match="reaches a later step of its loop"):
        learner_of(looped, found.loss_fn).init(KEY, found.params, *found.args)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TargetPropagation(0.0), "`target_step` must be"),
        (lambda: TargetPropagation(first_target="top"), "`first_target` must be one"),
        (lambda: NoiseReconstruction(steps=0), "`steps` must be a whole number"),
        (lambda: DifferenceReconstruction(noise=0.0), "`noise` must be"),
    ],
)
def test_numbers_outside_their_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_only_targets_through_the_readout_transport_weights():
    nodes = DifferenceTargetPropagation(first_target="nodes")
    assert "weight transport" in nodes.needs
    assert "weight transport" not in DifferenceTargetPropagation().needs


@pytest.mark.sweep
def test_the_rules_keep_the_laws():
    for rule in (DifferenceTargetPropagation(), TargetPropagation()):
        check_on(rule, **given())
