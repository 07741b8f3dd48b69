"""Alignment with backpropagation's update, against numpy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import batch, layers, loss_fn

import apical
from apical import rules
from apical.lab._control_rules import UntrainedHiddenLayers
from apical.measure._agreement import agreement

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)


def alignment(loss_fn, rule, **description):
    learner = apical.value_and_grad(loss_fn, rule, **description)
    return apical.measure.alignment(learner)


def state_of(rule):
    return jax.jit(apical.value_and_grad(loss_fn, rule).init)(KEY, PARAMS, *DATA)


def numbers(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def by_hand(ours, theirs):
    ours, theirs = numbers(ours), numbers(theirs)
    sizes = np.linalg.norm(ours), np.linalg.norm(theirs)
    cosine = ours @ theirs / sizes[0] / sizes[1]
    return cosine, sizes[0] / sizes[1], np.mean(np.sign(ours) == np.sign(theirs))


@pytest.mark.parametrize(
    "rule", [rules.Backpropagation(), rules.PredictiveCoding(inference=rules.Sweep())]
)
def test_backpropagation_agrees_with_itself_by_any_route(rule):
    found = alignment(loss_fn, rule)(PARAMS, (), *DATA)
    for each in (found.overall, *found.leaves.values()):
        np.testing.assert_allclose([each.cosine, each.norm_ratio], 1, rtol=1e-5)
        assert each.sign_agreement == 1


def deep(params, x, y):
    """A net whose layers are called z, m and a from the input up."""
    h = jnp.tanh(x @ params["z"]["w"] + params["z"]["b"])
    h = jnp.tanh(h @ params["m"]["w"] + params["m"]["b"])
    return jnp.mean((h @ params["a"]["w"] + params["a"]["b"] - y) ** 2)


DEEP = dict(zip("zma", layers(5, 7, 6, 3), strict=True))


def state_in(loss_fn, rule, params, *args):
    return apical.value_and_grad(loss_fn, rule).init(KEY, params, *args)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["as it is", "jitted"])
def test_layers_and_leaves_are_in_the_circuits_order_not_that_of_letters(wrap):
    found = wrap(alignment(deep, rules.Backpropagation()))(DEEP, (), *DATA)
    assert list(found.layers) == ["z", "m", "a"]
    assert list(found.leaves) == [f"{name}.{kind}" for name in "zma" for kind in "bw"]
    assert [layer.hidden for layer in found.layers.values()] == [True, True, False]
    assert found.layers["m"].parameters == ("m.b", "m.w")


def test_the_one_number_is_the_mean_over_hidden_layers_by_hand():
    rule = rules.FeedbackAlignment()
    state = state_in(deep, rule, DEEP, *DATA)
    found = alignment(deep, rule)(DEEP, state, *DATA)
    ours = apical.value_and_grad(deep, rule)(DEEP, state, *DATA).grads
    theirs = jax.grad(deep)(DEEP, *DATA)
    for name, layer in found.layers.items():
        expected = by_hand(ours[name], theirs[name])
        np.testing.assert_allclose(layer.agreement, expected, rtol=1e-4)
    mean = np.mean([by_hand(ours[name], theirs[name])[0] for name in "zm"])
    np.testing.assert_allclose(found.hidden, mean, rtol=1e-4)
    assert found.hidden < found.overall.cosine < 1


WIDE, MANY = layers(20, 64, 64, 3), batch(32, 20, 3)


@pytest.fixture(scope="module")
def with_and_without():
    """With all feedback and with 5 % of it, random or the weights themselves."""

    def found(removed, own):
        rule = rules.FeedbackAlignment(removed_backward=removed)
        learner = apical.value_and_grad(loss_fn, rule)
        measure = alignment(loss_fn, rule)

        def one(key):
            state = learner.init(key, WIDE, *MANY)
            if own:
                copies = zip(state.feedback, WIDE, strict=True)
                kept = [{"b": None, "w": w["w"] * (c["w"] != 0)} for c, w in copies]
                state = state._replace(feedback=kept)
            return measure(WIDE, state, *MANY)

        each = jax.vmap(one)(jax.random.split(KEY, 8))
        return each.hidden.mean(), each.overall.cosine.mean()

    return {(r, own): found(r, own) for r in (0.0, 0.95) for own in (False, True)}


def test_taking_feedback_away_does_not_raise_the_one_number(with_and_without):
    for own, lower in ((False, -0.05), (True, 0.3)):
        (whole, _), (little, _) = (with_and_without[r, own] for r in (0.0, 0.95))
        assert little < whole - lower


def test_it_does_raise_the_cosine_of_all_parameters(with_and_without):
    """Less is taught below the read-out, which is then more of the whole."""
    assert with_and_without[0.95, False][1] > with_and_without[0.0, False][1] + 0.1


def test_a_rule_that_teaches_no_hidden_layer_has_none_of_it():
    rule = UntrainedHiddenLayers()
    state = state_in(deep, rule, DEEP, *DATA)
    found = alignment(deep, rule)(DEEP, state, *DATA)
    assert found.hidden == 0 and found.overall.cosine > 0.3


def test_a_net_without_hidden_layers_has_no_such_number():
    def flat(w, x, y):
        return jnp.mean((x @ w - y) ** 2)

    measure = alignment(flat, rules.Backpropagation())
    found = measure(jnp.ones((5, 3)), (), *DATA)
    assert np.isnan(found.hidden) and found.overall.cosine == pytest.approx(1)
    assert [layer.hidden for layer in found.layers.values()] == [False]


def test_a_layer_where_backpropagation_has_no_gradient_does_not_count():
    def dead(params, x, y):
        h = jax.nn.relu(x @ params[0]["w"] - 1e6)
        h = jnp.tanh(h @ params[1]["w"] + params[1]["b"])
        return jnp.mean((h @ params[2]["w"] - y) ** 2)

    found = alignment(dead, rules.Backpropagation())(PARAMS, (), *DATA)
    assert found.layers["0"].agreement.cosine == 0
    np.testing.assert_allclose(found.hidden, 1, rtol=1e-5)


@pytest.mark.parametrize("nodes", ["entry", "unit", "every"])
def test_what_is_hidden_does_not_depend_on_the_nodes_of_a_rule(nodes):
    def marked(params, x, y):
        h = jnp.tanh(x @ params["z"])
        out = apical.output(apical.node(jax.nn.sigmoid(h @ params["a"]), "out"))
        return jnp.mean((out - y) ** 2)

    params = {"z": DEEP["z"]["w"], "a": jnp.ones((7, 3))}
    rule = rules.Backpropagation()
    measure = alignment(marked, rule, nodes=nodes)
    found = measure(params, (), *DATA).layers
    assert {name: layer.hidden for name, layer in found.items()} == {
        **{"z": True, "a": False}
    }


def test_a_weight_tied_to_the_read_out_is_hidden_and_an_unread_one_in_no_layer():
    def tied(params, x, y):
        h = jnp.tanh(x @ params["w"])
        return jnp.mean((h @ params["w"].T - y[:, :1]) ** 2)

    params = {"w": jnp.ones((5, 4)), "unread": jnp.ones(3)}
    found = alignment(tied, rules.Backpropagation())(params, (), *DATA)
    assert [(n, layer.hidden) for n, layer in found.layers.items()] == [("w", True)]
    assert list(found.leaves) == ["w", "unread"]


def test_a_step_of_a_loop_is_one_layer():
    def recurrent(params, x, y):
        def step(h, x_t):
            return jnp.tanh(x_t @ params["in"] + h @ params["over"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((4, 6)), jnp.stack([x, 2 * x, -x]))
        return jnp.mean((h @ params["a"] - y) ** 2)

    shapes = {"in": (5, 6), "over": (6, 6), "a": (6, 3)}
    params = {name: 0.1 * jnp.ones(shape) for name, shape in shapes.items()}
    measure = alignment(recurrent, rules.Backpropagation())
    found = measure(params, (), *DATA).layers
    assert [layer.parameters for layer in found.values()] == [("in", "over"), ("a",)]


# --------------------------------------------------------- the loss that is descended


def target(x, y):
    return y


def test_a_rule_is_aligned_with_the_loss_that_it_says_it_descends():
    """Here not that of the loss function, which is of the fourth power."""

    def weighted(params, x, y):
        out = jnp.tanh(x @ params["a"]) @ params["b"]
        return jnp.mean(jnp.sum((out - y) ** 4, axis=1))

    params = {"a": DEEP["z"]["w"], "b": 0.1 * jnp.ones((7, 3))}
    rule = rules.Backpropagation(descends="squared-error")
    given = {"target": target}
    measure = alignment(weighted, rule, **given)
    found = measure(params, (), *DATA)
    np.testing.assert_allclose(found.hidden, 1, rtol=1e-5)
    np.testing.assert_allclose(found.overall.norm_ratio, 1, rtol=1e-5)
    learner = apical.value_and_grad(weighted, rule, **given)
    credit = learner(params, learner.init(KEY, params, *DATA), *DATA)

    def error(params):
        out = jnp.tanh(DATA[0] @ params["a"]) @ params["b"]
        return 0.5 * jnp.mean(jnp.sum((out - DATA[1]) ** 2, axis=1))

    expected = jax.grad(error)(params)
    for name in params:
        np.testing.assert_allclose(credit.grads[name], expected[name], rtol=1e-5)
    assert credit.value == weighted(params, *DATA)
    learner = apical.value_and_grad(weighted, rule, **given)
    signal = learner.signals(params, (), *DATA)["a"]
    miss = signal.value @ params["b"] - DATA[1]
    taught = miss @ params["b"].T / len(miss)
    np.testing.assert_allclose(signal.teaching, taught, rtol=1e-4, atol=1e-7)


def test_the_squared_error_needs_a_target():
    rule = rules.Backpropagation(descends="squared-error")
    with pytest.raises(ValueError, match="pass `target=`"):
        state_in(loss_fn, rule, PARAMS, *DATA)
    with pytest.raises(ValueError, match="`descends` must be one of"):
        rules.Backpropagation(descends="entropy")


def test_a_rule_of_ones_own_may_descend_a_loss_of_its_own():
    @rules.rule
    class Cubic(rules.Rule):
        descends = "cubic"

        def credit(self, circuit, params, state, args):
            grads = self.reference(circuit, params, state, args)
            return apical.Credit(jnp.zeros(()), None, grads, state, ())

    with pytest.raises(NotImplementedError, match="'cubic', which is neither"):
        alignment(loss_fn, Cubic())(PARAMS, (), *DATA)

    class Weights(Cubic):
        def descended(self, circuit, params, state, args):
            return sum(jnp.sum(layer["w"] ** 3) for layer in params)

    found = alignment(loss_fn, rules.rule(Weights)())(PARAMS, (), *DATA)
    np.testing.assert_allclose(found.hidden, 1, rtol=1e-5)


def test_agreement_equals_numpy_by_hand():
    rule = rules.FeedbackAlignment()
    state = state_of(rule)
    found = alignment(loss_fn, rule)(PARAMS, state, *DATA)
    ours = jax.jit(apical.value_and_grad(loss_fn, rule))(PARAMS, state, *DATA).grads
    theirs = jax.grad(loss_fn)(PARAMS, *DATA)
    np.testing.assert_allclose(found.overall, by_hand(ours, theirs), rtol=1e-4)
    assert list(found.leaves) == [f"{i}.{name}" for i in range(3) for name in "bw"]
    for path, each in found.leaves.items():
        layer, name = int(path[0]), path[2]
        expected = by_hand(ours[layer][name], theirs[layer][name])
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-6)
    assert found.overall.cosine < 0.95
    assert all(np.shape(each) == () for each in jax.tree.leaves(found))


def test_arrays_of_16_bits_are_compared_in_32():
    keys = jax.random.split(jax.random.key(0))
    pair = [jax.random.normal(key, (300,)).astype(jnp.bfloat16) for key in keys]
    found = agreement([pair[0]], [pair[0] + pair[1]])
    exact = by_hand(pair[0].astype(float), (pair[0] + pair[1]).astype(float))
    np.testing.assert_allclose(found[:2], exact[:2], rtol=1e-5)


def test_reversed_and_absent_signals_have_a_cosine_of_minus_one_and_zero():
    rule = rules.FeedbackAlignment()
    state, measure = state_of(rule), alignment(loss_fn, rule)
    for factor in (-1.0, 0.0):
        copy = jax.tree.map(lambda leaf, c=factor: c * leaf, PARAMS)
        found = measure(PARAMS, state._replace(feedback=copy), *DATA).leaves["1.w"]
        np.testing.assert_allclose(found.cosine, factor, atol=1e-5)
        np.testing.assert_allclose(found.norm_ratio, abs(factor), atol=1e-5)
        assert found.sign_agreement == 0


def test_the_learner_and_the_rules_state_of_a_training_step_are_measured():
    step = apical.train_step(loss_fn, rules.KolenPollack(), optax.sgd(0.1))
    state = jax.jit(step.init)(KEY, PARAMS, *DATA)
    measure = apical.measure.alignment(step.learner)
    assert measure(PARAMS, state.rule, *DATA).overall.cosine < 0.95
    with pytest.raises(ValueError, match=r"is a TrainState.* pass `state\.rule`"):
        measure(PARAMS, state, *DATA)


def test_a_module_passes_as_it_is():
    model = eqx.nn.MLP(5, 3, 6, 2, key=KEY)

    def module_loss(model, x, y):
        return jnp.mean((jax.vmap(model)(x) - y) ** 2)

    rule = rules.SignConcordance()
    state = jax.jit(apical.value_and_grad(loss_fn, rule).init)(KEY, PARAMS, *DATA)
    found = alignment(module_loss, rule)(model, state, *DATA)
    assert len(found.leaves) == 6
    assert "layers.0.weight" in found.leaves
    np.testing.assert_allclose(found.leaves["layers.2.weight"].cosine, 1, rtol=1e-5)
    assert found.leaves["layers.0.weight"].cosine < 0.99


def test_the_description_is_that_of_the_learner():
    def with_aux(params, shared, x, y):
        return loss_fn(params, x + shared, y), x

    measure = alignment(
        with_aux, rules.PredictiveCoding(2), has_aux=True, batch_axes=(None, 0, 0)
    )
    found = measure(PARAMS, (), jnp.zeros(5), *DATA)
    np.testing.assert_allclose(found.overall.cosine, 1, rtol=1e-5)


def test_it_is_compiled_once():
    count = 0

    def counted(params, x, y):
        nonlocal count
        count += 1
        return loss_fn(params, x, y)

    rule = rules.SignConcordance()
    measure, state = alignment(counted, rule), state_of(rule)
    first = measure(PARAMS, state, *DATA)
    traced = count
    halved = jax.tree.map(lambda leaf: leaf / 2, PARAMS)
    second = measure(halved, state, *jax.tree.map(lambda leaf: leaf + 1, DATA))
    assert count == traced <= 2  # for the circuit and for backpropagation
    assert first.overall.cosine != second.overall.cosine
    measure(PARAMS, state, *batch(6, 5, 3))
    assert count > traced


def test_numbers_of_a_rule_may_differ_at_every_call_of_one_compiled_function():
    """The rule is a pytree, so the measure may be taken inside a transformation."""

    def cosine(rate):
        rule = dataclasses.replace(
            rules.PredictiveCoding(5, prediction="free"), rate=rate
        )
        measure = alignment(loss_fn, rule)
        return measure(PARAMS, (), *DATA).leaves["0.w"].cosine

    slow, fast = jax.jit(jax.vmap(cosine))(jnp.array([0.01, 0.5]))
    assert abs(slow - fast) > 1e-3
