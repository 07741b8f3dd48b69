"""Local losses: one objective per block, and no gradient across blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, assert_same, batch, distance, layers, loss_fn
from support.laws import problem
from support.local_objectives import ZOO, assert_no_gradient_from_above, on_zoo

import apical
from apical.lab._registry import LOCAL_OBJECTIVES
from apical.lab._registry import RULES as REGISTERED
from apical.rules import Backpropagation, LocalLosses
from apical.testing import check_rule

KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
X, Y = map(np.asarray, DATA)
PREDICTION = LocalLosses(optimizer=optax.sgd(0.5))
SIMILARITY = LocalLosses(objective="similarity", columns=5, optimizer=optax.sgd(0.5))
BOTH = LocalLosses(balance=0.3, objective="both", optimizer=optax.sgd(0.5))
FIXED = LocalLosses(readout="fixed")
RULES = {"prediction": PREDICTION, "similarity": SIMILARITY, "both": BOTH}


def second(x, y):
    return y


def called(rule, params=PARAMS, loss_fn=loss_fn, data=DATA, state=None, **keywords):
    """The state before, and the credit of one call."""
    given = {"target": second, **keywords}
    learner = apical.value_and_grad(loss_fn, rule, **given)
    state = learner.init(KEY, params, *data) if state is None else state
    return state, jax.jit(lambda params, state: learner(params, state, *data))(
        params, state
    )


def hidden():
    w = jax.tree.map(np.asarray, PARAMS)
    one = np.tanh(X @ w[0]["w"] + w[0]["b"])
    return one, np.tanh(one @ w[1]["w"] + w[1]["b"])


def readout(two):
    """The gradient of the last layer: the true one."""
    error = (two @ np.asarray(PARAMS[2]["w"]) + np.asarray(PARAMS[2]["b"]) - Y) / 4
    return {"w": two.T @ error, "b": error.sum(axis=0)}


def test_a_model_may_hold_leaves_that_are_not_arrays():
    """As the activation function of an equinox module."""

    def held(params, x, y):
        return loss_fn(params["layers"], x, params["scale"](y))

    params = {"layers": PARAMS, "scale": jnp.asarray}
    for rule in (PREDICTION, BOTH):
        learner = apical.value_and_grad(held, rule, target=second)
        credit = learner(params, learner.init(KEY, params, *DATA), *DATA)
        assert_close(credit.grads["layers"], called(rule)[1].grads)


# ------------------------------------------------------------------------ on two layers


def predicted_by_hand(matrices):
    """The gradients, and those of the read-outs, of a local squared error."""
    one, two = hidden()
    grads, by_readout = [], {}
    for name, below, value in (("0", X, one), ("1", one, two)):
        error = (value @ matrices[name] - Y) / 4
        delta = error @ matrices[name].T * (1 - value**2)
        grads.append({"w": below.T @ delta, "b": delta.sum(axis=0)})
        by_readout[name] = value.T @ error
    return [*grads, readout(two)], by_readout


def test_prediction_on_two_layers_by_hand():
    state, credit = called(PREDICTION)
    matrices = {n: np.asarray(w["prediction"]) for n, w in state.weights.items()}
    assert {n: m.shape for n, m in matrices.items()} == {"0": (7, 3), "1": (6, 3)}
    expected, by_readout = predicted_by_hand(matrices)
    assert_close(credit.grads, expected)
    for name in matrices:
        moved = np.asarray(credit.state.weights[name]["prediction"])
        assert_close(moved, matrices[name] - 0.5 * by_readout[name])
        other, _ = predicted_by_hand({**matrices, name: -matrices[name]})
        assert distance(other[int(name)], expected[int(name)]) > 0.5
    assert_close(credit.value, loss_fn(PARAMS, *DATA))
    one = 0.5 * np.sum((hidden()[0] @ matrices["0"] - Y) ** 2) / 4
    assert_close(credit.info.objective["0"], one)


def similar_by_hand(matrices):
    """The gradients of two layers, each by its own objective alone."""
    wanted, (one, two) = np.corrcoef(Y), hidden()

    def objective(layer, matrix, below):
        value = jnp.tanh(below @ layer["w"] + layer["b"])
        return jnp.mean((jnp.corrcoef(value @ matrix) - wanted) ** 2)

    slope = jax.grad(objective, argnums=(0, 1))
    first, by_first = slope(PARAMS[0], matrices["0"], X)
    other, by_other = slope(PARAMS[1], matrices["1"], jnp.asarray(one))
    grads = [first, other, readout(two)]
    return grads, {"0": by_first, "1": by_other}


def test_similarity_on_two_layers_by_hand():
    state, credit = called(SIMILARITY)
    matrices = {n: w["similarity"] for n, w in state.weights.items()}
    assert {n: m.shape for n, m in matrices.items()} == {"0": (7, 5), "1": (6, 5)}
    expected, by_readout = similar_by_hand(matrices)
    assert_close(credit.grads, expected)
    for name in matrices:
        moved = credit.state.weights[name]["similarity"]
        assert_close(moved, matrices[name] - 0.5 * by_readout[name])
        other, _ = similar_by_hand({**matrices, name: matrices[name][::-1]})
        assert distance(other[int(name)], expected[int(name)]) > 0.3


def test_both_are_the_weighted_sum_of_the_two():
    state, credit = called(BOTH)
    parts = [
        called(
            rule,
            state=state._replace(
                weights={n: {use: w[use]} for n, w in state.weights.items()}
            ),
        )[1].grads
        for use, rule in RULES.items()
        if use != "both"
    ]
    expected = jax.tree.map(lambda p, s: 0.7 * p + 0.3 * s, *parts)
    assert_close(credit.grads[:2], expected[:2])
    assert distance(parts[0][:2], parts[1][:2]) > 0.5


def test_fixed_readouts_stay_and_cost_no_state():
    state, credit = called(FIXED)
    assert state.optimizer == ()
    assert_same(state.weights, credit.state.weights)


# -------------------------------------------------------------------- what stands above


def raised(params):
    """The same first layer under other weights."""
    others = layers(7, 6, 3, seed=5)
    return [params[0], *others]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_other_weights_above_leave_an_update_the_same_bit_for_bit(rule):
    state, below = called(rule)
    _, above = called(rule, raised(PARAMS), state=state)
    assert_same(below.grads[0], above.grads[0])
    assert np.any(below.grads[0]["w"])
    assert distance(above.grads[1], below.grads[1]) > 0.1
    true = [called(Backpropagation(), p, state=())[1] for p in (PARAMS, raised(PARAMS))]
    assert distance(true[0].grads[0], true[1].grads[0]) > 0.1


DEEP = layers(5, 7, 6, 6, 5, 3)


def test_a_gradient_travels_inside_a_block_and_ends_there():
    rule = LocalLosses(blocks=2, readout="fixed")
    state, found = called(rule, DEEP)
    assert set(state.weights) == {"1", "3"}
    named = LocalLosses(blocks=("1", "3"), readout="fixed")
    assert_same(called(named, DEEP, state=state)[1].grads, found.grads)

    def objective(pair, below, matrix):
        for layer in pair:
            below = jnp.tanh(below @ layer["w"] + layer["b"])
        return 0.5 * jnp.sum((below @ matrix - Y) ** 2) / 4, below

    below = jnp.asarray(X)
    for block, name in ((0, "1"), (2, "3")):
        matrix = state.weights[name]["prediction"]
        slope = jax.grad(objective, has_aux=True)
        expected, below = slope(DEEP[block : block + 2], below, matrix)
        assert_close(found.grads[block : block + 2], expected)
    other = [*DEEP[:2], *layers(6, 6, 5, 3, seed=7)]  # above the first block
    assert_same(called(rule, other, state=state)[1].grads[:2], found.grads[:2])
    other = [DEEP[0], *layers(7, 6, seed=7), *DEEP[2:]]  # inside it
    moved = called(rule, other, state=state)[1].grads[0]
    assert distance(moved, found.grads[0]) > 0.1


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("name", [*ZOO, "transformer"])
def test_no_gradient_crosses_a_layer_on_other_models(name):
    assert_no_gradient_from_above(name, LocalLosses(balance=0.5, objective="both"))


def test_a_recurrent_update_by_hand():
    """Each turn has its own objective, without signals from later turns."""
    found, call = on_zoo("rnn", FIXED)
    p, (x, y) = jax.tree.map(np.asarray, (found.params, found.args))
    learner = apical.value_and_grad(found.loss_fn, FIXED, **found.keywords)
    ((matrix,),) = (
        [np.asarray(w["prediction"]) for w in s.weights.values()]
        for s in [learner.init(KEY, found.params, *found.args)]
    )
    values, recurrent = [np.zeros((4, 6))], np.zeros((6, 6))
    for t in range(5):
        drive = values[-1] @ p["u"] + x[:, t] @ p["in"]["w"] + p["in"]["b"]
        values.append(np.tanh(drive))
        delta = (values[-1] @ matrix - y) / 4 @ matrix.T * (1 - values[-1] ** 2)
        recurrent += values[-2].T @ delta
    found_u = call(found.learned)["u"]
    assert_close(found_u, recurrent, 1e-3)
    assert distance(values[-2].T @ delta, found_u) > 0.1  # the last turn is not all


def test_what_the_loss_reads_of_a_node_itself_is_its_own_objective():
    def penalised(params, x, y):
        first, *rest = params
        value = jnp.tanh(x @ first["w"] + first["b"])
        return loss_fn(rest, value, y) + 0.5 * jnp.sum(value**2) / len(x)

    state, plain = called(FIXED)
    _, found = called(FIXED, loss_fn=penalised, state=state)
    one, _ = hidden()
    extra = X.T @ (one / 4 * (1 - one**2))
    assert_close(found.grads[0]["w"], plain.grads[0]["w"] + extra)
    assert_close(found.grads[1:], plain.grads[1:])
    assert distance(found.grads[0], plain.grads[0]) > 0.1


@pytest.mark.parametrize("rule", [PREDICTION, SIMILARITY], ids=["pred", "sim"])
def test_with_a_summed_loss_updates_are_larger_and_readouts_the_same(rule):
    def total(params, x, y):
        return len(x) * loss_fn(params, x, y)

    state, mean = called(rule)
    _, whole = called(rule, loss_fn=total, state=state, reduction="sum")
    assert_close(whole.grads, jax.tree.map(lambda g: 4 * g, mean.grads))
    assert_close(whole.state.weights, mean.state.weights)


def test_the_signals_are_those_of_the_objectives():
    state, credit = called(PREDICTION)
    signals = apical.value_and_grad(loss_fn, PREDICTION, target=second).signals(
        PARAMS, state, *DATA
    )
    one, _ = hidden()
    matrix = np.asarray(state.weights["0"]["prediction"])
    assert_close(signals["0"].teaching, (one @ matrix - Y) / 4 @ matrix.T)
    pulled = X.T @ (np.asarray(signals["0"].teaching) * (1 - one**2))
    assert_close(credit.grads[0]["w"], pulled)


# -------------------------------------------------------------------------- what is not


def refuses(words, rule=FIXED, loss_fn=loss_fn, params=PARAMS, data=DATA, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    with pytest.raises(ValueError, match=words):
        learner.init(KEY, params, *data)


def test_a_block_that_a_path_bypasses_is_refused():
    found = problem("mlp_residual")
    names = [n.name for n in found.circuit.nodes]
    given = {"loss_fn": found.loss_fn, "params": found.params, "data": found.args}
    refuses("reaches the end of more than one block", LocalLosses(blocks=2), **given)
    refuses("more than one block", LocalLosses(blocks=(names[1],)), **given)
    refuses("synapse reaches more than one node", FIXED, nodes="unit", **given)


def test_missing_requirements_are_named():
    refuses("LocalLosses uses the target of the output: pass `target=`", SIMILARITY)
    refuses("`blocks` names 'x', and the hidden nodes are", LocalLosses(blocks=("x",)))
    labels = {"target": lambda x, y: y[:, :1], "data": batch(4, 5, 1)}
    refuses("It needs two of each", SIMILARITY, params=layers(5, 7, 1), **labels)
    alone = {"target": second, "data": batch(1, 5, 3)}
    refuses(r"gives \(1, 3\): 1 rows of 3 numbers", SIMILARITY, **alone)
    refuses("No node was found", LocalLosses(blocks=("x",)), params=layers(5, 3))

    def marked(params, x, y):
        out = apical.output(apical.node(jnp.tanh(x @ params[0]["w"]), "out"))
        return jnp.mean((out - y) ** 2)

    refuses("No hidden node was found", loss_fn=marked, params=layers(5, 3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"objective": "loss"}, "`objective` must be one of"),
        ({"readout": "random"}, "`readout` must be one of"),
        ({"balance": 2.0}, "`balance` is a fraction"),
        ({"blocks": 0}, "`blocks` must be a whole number"),
        ({"blocks": "3"}, r"a tuple of the names of nodes, as \('3',\)"),
        ({"columns": 0.5}, "`columns` must be a whole number"),
        ({"optimizer": 0.1}, "`optimizer` must be an optax transformation"),
    ],
)
def test_invalid_settings_are_refused(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        LocalLosses(**given)


def test_the_rows_of_a_comparison_are_rules_under_names_of_their_own():
    assert set(LOCAL_OBJECTIVES) < set(REGISTERED)
    assert all(
        isinstance(e.make(), apical.rules.Rule) for e in LOCAL_OBJECTIVES.values()
    )
    assert (
        LOCAL_OBJECTIVES["local-losses-both"].search_space == LocalLosses.search_space
    )


@pytest.mark.sweep
def test_the_rule_keeps_the_laws_and_declares_its_needs():
    check_rule(LocalLosses(objective="both", balance=0.5))
    assert "weight transport" not in FIXED.needs
    assert {"weight transport", "second network"} <= set(PREDICTION.needs)
    assert "update locking" in LocalLosses(blocks=2).needs
