"""Synthetic gradients: critics predict the gradient before it is known."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.broken_rules import problem as given
from support.by_hand import assert_close, batch, cosine, distance, layers, loss_fn
from support.check_on import check_on
from support.laws import problem

import apical
from apical.rules import Backpropagation, Critic, SyntheticGradients
from apical.rules.synthetic_gradients._critic_inputs import critic_inputs

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
X, Y = map(np.asarray, DATA)
PLAIN = SyntheticGradients(optimizer=optax.sgd(0.1))
LABELLED = SyntheticGradients(optimizer=optax.sgd(0.1), conditioned=True)


def second(x, y):
    return y


def learner_of(rule, loss_fn=loss_fn, **keywords):
    return apical.value_and_grad(loss_fn, rule, **{"target": second, **keywords})


def drawn(rule, params=PARAMS, loss_fn=loss_fn, data=DATA, **keywords):
    """A state whose critics are not zero."""
    state = learner_of(rule, loss_fn, **keywords).init(KEY, params, *data)
    leaves, treedef = jax.tree.flatten(state.weights)
    numbers = np.random.default_rng(3)
    other = [jnp.asarray(0.3 * numbers.normal(size=w.shape), w.dtype) for w in leaves]
    return state._replace(weights=jax.tree.unflatten(treedef, other))


# -------------------------------------------------------------- two hidden layers


def by_hand(weights, labelled):
    """Gradients of two layers of tanh, and of their critics."""
    p = jax.tree.map(np.asarray, PARAMS)
    one = np.tanh(X @ p[0]["w"] + p[0]["b"])
    two = np.tanh(one @ p[1]["w"] + p[1]["b"])
    error = two @ p[2]["w"] + p[2]["b"] - Y
    critics = {n: (np.asarray(m["w"]), np.asarray(m["b"])) for n, (m,) in weights}
    read = {
        n: np.hstack([h, Y]) if labelled else h for n, h in (("0", one), ("1", two))
    }
    predicted = {n: read[n] @ a + b for n, (a, b) in critics.items()}
    drives = [predicted["0"] * (1 - one**2), predicted["1"] * (1 - two**2), error]
    grads = [
        {"w": below.T @ drive / 4, "b": drive.sum(axis=0) / 4}
        for below, drive in zip((X, one, two), drives, strict=True)
    ]
    bootstrapped = {"0": drives[1] @ p[1]["w"].T, "1": error @ p[2]["w"].T}
    off = {n: predicted[n] - bootstrapped[n] for n in predicted}
    slopes = {
        n: [{"w": read[n].T @ off[n] / 4, "b": off[n].sum(axis=0) / 4}] for n in off
    }
    return grads, slopes


@pytest.mark.parametrize("rule", [PLAIN, LABELLED], ids=["plain", "conditioned"])
def test_two_hidden_layers_by_hand(rule):
    state = drawn(rule)
    widths = {n: m[0]["w"].shape for n, m in state.weights.items()}
    more = 3 if rule.conditioned else 0
    assert widths == {"0": (7 + more, 7), "1": (6 + more, 6)}
    credit = jax.jit(learner_of(rule))(PARAMS, state, *DATA)
    grads, slopes = by_hand(state.weights.items(), rule.conditioned)
    assert_close(credit.grads, grads)
    moved = jax.tree.map(lambda w, g: w - 0.1 * g, state.weights, slopes)
    assert_close(credit.state.weights, moved)
    np.testing.assert_allclose(credit.value, loss_fn(PARAMS, *DATA), rtol=1e-6)
    for name, layer in (("0", 0), ("1", 1)):
        doubled = jax.tree.map(lambda w: 2 * w, state.weights[name])
        other, _ = by_hand({**state.weights, name: doubled}.items(), rule.conditioned)
        assert distance(other[layer], grads[layer]) > 0.5
        assert distance(other[1 - layer], grads[1 - layer]) == 0


def test_untrained_critics_predict_zero():
    start = learner_of(PLAIN).init(KEY, PARAMS, *DATA)
    grads = learner_of(PLAIN)(PARAMS, start, *DATA).grads
    assert not np.any(grads[0]["w"])
    assert not np.any(grads[1]["w"])
    assert_close(grads[2], jax.grad(loss_fn)(PARAMS, *DATA)[2])
    hidden = learner_of(SyntheticGradients(critic=Critic((8, 5))))
    state = hidden.init(KEY, PARAMS, *DATA)
    shapes = [layer["w"].shape for layer in state.weights["0"]]
    assert shapes == [(7, 8), (8, 5), (5, 7)]
    assert not np.any(hidden(PARAMS, state, *DATA).grads[0]["w"])


# ------------------------------------------------------------- critics that know it


# A critic that returns its weights, for any input.
ORACLE = (lambda key, shape, units: jnp.zeros((*shape[:-1], units)), lambda w, x: w)


@pytest.mark.parametrize("name", ["mlp_tanh", "conv_residual", "gru", "examples_last"])
def test_a_critic_given_the_true_gradient_makes_it_backpropagation(name):
    found = problem(name)
    keywords = found.keywords
    rule = SyntheticGradients(critic=ORACLE, optimizer=optax.sgd(0.1))
    learner = apical.value_and_grad(found.loss_fn, rule, **keywords)
    true = apical.value_and_grad(found.loss_fn, Backpropagation(), **keywords).signals
    state = learner.init(KEY, found.params, *found.args)
    scale, axes = found.circuit.scale, found.circuit.example_axes

    @jax.jit
    def compute(learned, size):
        params = found.circuit.merged(found.params, learned)
        teaching = {n: s.teaching for n, s in true(params, (), *found.args).items()}
        predicted = {}
        for node in found.circuit.nodes:
            inside = range(len(node.loops), len(node.shape))
            units = [i for i in inside if i != axes[node.name]][-1]
            predicted[node.name] = (
                size * scale * jnp.moveaxis(teaching[node.name], units, -1)
            )
        credit = learner(params, state._replace(weights=predicted), *found.args)
        return (
            credit.grads,
            credit.info.loss,
            jax.grad(lambda p: found.loss(p, found.args)[0])(learned),
        )

    grads, losses, expected = compute(found.learned, 1.0)
    for path, grad in found.by_path(grads).items():
        assert distance(grad, found.by_path(expected)[path]) < 1e-4, path
    assert max(losses.values()) < 1e-9  # it is what the critics learn, too
    louder, losses, _ = compute(found.learned, 2.0)
    assert len(found.changed(louder, expected)) >= 2
    assert max(losses.values()) > 1e-6


def linear(params, x, y):
    for each in params:
        x = x @ each["w"] + each["b"]
    return 0.5 * jnp.sum((x - y) ** 2) / len(x)


def converged(rule, params, data, calls=3000):
    learner = learner_of(rule, linear)

    def call(state, _):
        return learner(params, state, *data).state, None

    start = learner.init(KEY, params, *data)
    return jax.jit(lambda s: jax.lax.scan(call, s, length=calls)[0])(start)


FADING = optax.adam(optax.cosine_decay_schedule(0.05, 3000))
WIDE = layers(5, 4, 4, 3)
for each in WIDE[1:]:  # well conditioned, so that it does not take long
    left, _, right = np.linalg.svd(each["w"], full_matrices=False)
    each["w"] = jnp.asarray(left @ right)


def true_gradients(params, data):
    found = apical.value_and_grad(linear, Backpropagation()).signals(params, (), *data)
    return {n: np.asarray(s.teaching) for n, s in found.items()}


def teaching(rule, state, params, data):
    found = apical.value_and_grad(linear, rule, target=second).signals(
        params, state, *data
    )
    return {n: s.teaching for n, s in found.items()}


def test_conditioned_critics_converge_to_the_true_gradient_of_a_linear_network():
    """It is linear in a node and the label, and each critic reads both."""
    data, rule = (
        batch(30, 5, 3),
        SyntheticGradients(optimizer=FADING, conditioned=True),
    )
    state, expected = converged(rule, WIDE, data), true_gradients(WIDE, data)
    found = teaching(rule, state, WIDE, data)
    assert all(distance(found[n], expected[n]) < 0.01 for n in expected)
    blind = SyntheticGradients(optimizer=FADING)
    state = converged(blind, WIDE, data)
    found = teaching(blind, state, WIDE, data)
    assert all(distance(found[n], expected[n]) > 0.1 for n in expected)


def test_without_the_label_critics_converge_to_the_expected_gradient():
    """The least-squares fit of the true gradient to the node, bootstrapped or not."""
    x, _ = batch(30, 5, 3)
    noise, teacher = batch(30, 3, 3, seed=4)[0], batch(5, 3, 3, seed=5)[0]
    data = x, x @ teacher + 0.3 * noise
    rule = SyntheticGradients(optimizer=FADING)
    state, true = converged(rule, WIDE, data), true_gradients(WIDE, data)
    found = teaching(rule, state, WIDE, data)
    values = apical.trace(linear)(WIDE, *data).run(WIDE, data).sites
    for name, value in values.items():
        read = np.hstack([value, np.ones((30, 1))])
        expected = read @ np.linalg.lstsq(read, true[name], rcond=None)[0]
        assert distance(found[name], expected) < 0.02
        assert distance(true[name], expected) > 0.1


# ----------------------------------------------------------------------- unlocked


def broken_above(params):
    """The same first layer, and weights above it that are NaN."""
    return [params[0], *jax.tree.map(lambda w: jnp.nan * w, params[1:])]


@pytest.mark.parametrize("rule", [PLAIN, LABELLED], ids=["plain", "conditioned"])
def test_a_layer_updates_before_the_layers_above_it_have_run(rule):
    learner, state = learner_of(rule), drawn(rule)
    circuit = learner.circuit(PARAMS, *DATA)
    unlocked = jax.jit(
        lambda params: rule.unlocked(circuit, params, state, DATA, ["0"])
    )
    early, whole = unlocked(broken_above(PARAMS)), learner(PARAMS, state, *DATA).grads
    assert_close(early[0], whole[0], 1e-6)
    assert np.any(early[0]["w"])
    late = jax.jit(learner)(broken_above(PARAMS), state, *DATA).grads
    assert_close(late[0], whole[0], 1e-6)
    assert np.all(np.isnan(late[1]["w"]))
    backprop = jax.grad(loss_fn)(broken_above(PARAMS), *DATA)
    assert np.all(np.isnan(backprop[0]["w"]))


def test_nothing_above_the_node_is_computed():
    learner, state = learner_of(PLAIN), drawn(PLAIN)
    circuit = learner.circuit(PARAMS, *DATA)

    def products(nodes):
        def update(params):
            return PLAIN.unlocked(circuit, params, state, DATA, nodes)

        text = jax.jit(update).lower(PARAMS).compile().as_text()
        return sorted(re.findall(r"f32(\[[\d,]*\])\S* dot\(", text))

    # The layer, its critic, and the product of the input with the signal.
    assert products(["0"]) == ["[4,7]", "[4,7]", "[5,7]"]
    assert "[4,6]" in products(["0", "1"])


def test_the_schedule_of_modules_is_the_update_of_all_at_once():
    """Each layer is updated as soon as it has run, and passes on its earlier value."""
    learner, state = learner_of(PLAIN), drawn(PLAIN)
    circuit, params = learner.circuit(PARAMS, *DATA), PARAMS
    for layer, name in enumerate("01"):
        early = PLAIN.unlocked(circuit, PARAMS, state, DATA, [name])[layer]
        moved = jax.tree.map(lambda w, g: w - 0.5 * g, params[layer], early)
        params = [*params[:layer], moved, *params[layer + 1 :]]
    whole = learner(PARAMS, state, *DATA).grads
    expected = jax.tree.map(lambda w, g: w - 0.5 * g, PARAMS[:2], whole[:2])
    assert_close(params[:2], expected)
    assert distance(params[:2], PARAMS[:2]) > 0.05


# ---------------------------------------------------------------- labels and shapes


def test_the_label_is_read_at_every_position_beside_the_units():
    found = problem("linen_conv")
    rule = SyntheticGradients(conditioned=True)
    learner = apical.value_and_grad(found.loss_fn, rule, target=second)
    state = learner.init(KEY, found.params, *found.args)
    node = found.circuit.nodes[0]
    read = critic_inputs(found.circuit, conditioned=True)[node.name]
    value, label = jnp.ones(node.shape), found.args[1]
    inputs = read.inputs(value, label)
    assert inputs.shape == (*node.shape[:-1], node.shape[-1] + 3)
    expected = jnp.broadcast_to(label[:, None, None], (*node.shape[:-1], 3))
    assert_close(inputs[..., -3:], expected)
    (layer,) = state.weights[node.name]
    assert layer["w"].shape == (node.shape[-1] + 3, node.shape[-1])


MODELS = ["conv_residual", "mlp_residual", "rnn", "attention"]


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", MODELS)
def test_critics_learn_on_convolutions_streams_loops_and_attention(name):
    found = problem(name)
    rule = SyntheticGradients(0.01)
    learner = apical.value_and_grad(found.loss_fn, rule, **found.keywords)
    state = learner.init(KEY, found.params, *found.args)

    @jax.jit
    def train(learned, state):
        params = found.circuit.merged(found.params, learned)

        def call(state, _):
            return learner(params, state, *found.args).state, None

        after = jax.lax.scan(call, state, length=100)[0]
        true = jax.grad(lambda p: found.loss(p, found.args)[0])(learned)
        grads = [learner(params, s, *found.args).grads for s in (state, after)]
        return *map(found.circuit.learned, grads), true

    first, grads, true = map(found.by_path, train(found.learned, state))
    silent = [path for path, grad in first.items() if not np.any(grad)]
    assert len(silent) >= 2
    assert all(np.any(grad) for grad in grads.values())
    assert cosine([grads[n] for n in silent], [true[n] for n in silent]) > 0.3


# -------------------------------------------------------------------------- refusals


def test_invalid_critics_are_refused():
    with pytest.raises(TypeError, match=r"`critic` must be .*pair of functions"):
        SyntheticGradients(critic=Critic)
    with pytest.raises(ValueError, match="`hidden` must be a whole number"):
        Critic(hidden=(0,))
    with pytest.raises(ValueError, match="`critic_rate` must be"):
        SyntheticGradients(-1.0)
    narrow = (lambda key, shape, units: (), lambda w, x: x[..., :2])
    with pytest.raises(
        ValueError, match=r"`critic` returns shape \(4, 2\) at the node"
    ):
        learner_of(SyntheticGradients(critic=narrow)).init(KEY, PARAMS, *DATA)
    with pytest.raises(ValueError, match="pass `target=`"):
        learner_of(LABELLED, target=None).init(KEY, PARAMS, *DATA)
    state, circuit = drawn(PLAIN), learner_of(PLAIN).circuit(PARAMS, *DATA)
    with pytest.raises(ValueError, match="`nodes` names 'top'"):
        PLAIN.unlocked(circuit, PARAMS, state, DATA, ["top"])


def test_only_conditioned_critics_need_labels():
    assert "labels in every layer" in LABELLED.needs
    assert "labels in every layer" not in PLAIN.needs
    assert "update locking" not in PLAIN.needs


def test_the_rule_keeps_the_laws():
    check_on(SyntheticGradients(), **given())
    check_on(LABELLED, **given(), target=lambda x: jnp.ones((len(x), 2)))
