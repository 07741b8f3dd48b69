"""SnAp of any order equals masked influence by brute force, in numpy."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import influence
from support.by_hand import distance
from support.influence import CELLS
from support.online_rules import gradient_of
from support.online_twins import CASES, HIDDEN, INPUTS, OUTPUTS, REFUSALS, Draw

import apical
from apical.rules import RTRL, SnAp
from apical.rules.online._masked_influence import MaskedInfluence


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is `RTRL` here")
        yield


# ---- Whole windows.


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", ["gru", "alif", "lif_of_one_decay"])
def test_what_is_kept_is_what_brute_force_keeps(name, order):
    cell = CELLS[name]()
    found = gradient_of(MaskedInfluence(order=order), cell)
    assert distance(found, influence.snap(cell, order)) < 1e-13
    apart = distance(found, influence.rtrl(cell))
    assert apart < 1e-13 if order == 2 else apart > 0.001  # weights are dense


def test_orders_come_nearer_to_the_gradient_on_sparse_weights():
    cell = CELLS["leaky"]()
    true, apart = influence.rtrl(cell), []
    for order in (1, 2, 3, 9):
        found = gradient_of(SnAp(order=order), cell)
        assert distance(found, influence.snap(cell, order)) < 1e-12
        apart.append(distance(found, true))
    assert apart[0] > 10 * apart[1] > 100 * apart[2] > 0
    assert apart[2] > 1e-6 > 1e-12 > apart[3]


def stacked():
    """Two layers in one step, each a ring; state `[lower, upper]`."""
    draw = Draw(210)
    exists = np.eye(HIDDEN) + np.roll(np.eye(HIDDEN), 1, 1)

    def step(p, h, x, product):
        lower, upper = h[..., :HIDDEN], h[..., HIDDEN:]
        lower = jnp.tanh(x @ p["in"] + product(lower, p["lower"] * exists))
        below = product(lower, p["between"] * exists)
        upper = jnp.tanh(below + product(upper, p["upper"] * exists))
        return jnp.concatenate([lower, upper], -1)

    names = "lower", "between", "upper", "out"
    weights = {n: draw.weight(HIDDEN, HIDDEN) for n in names}
    weights["out"], weights["in"] = (
        draw.weight(HIDDEN, OUTPUTS),
        draw.weight(INPUTS, HIDDEN),
    )
    return influence.Cell(step, lambda s: s[..., HIDDEN:], weights, 2)


def test_a_lower_layer_reaches_the_upper_one_within_the_step():
    cell = stacked()

    def masked(order):
        def kept(through, immediate):
            mask = immediate
            for _ in range(order - 1):
                mask = mask | through @ mask
            return mask

        return influence.carried_forwards(cell, kept)

    found = gradient_of(SnAp(order=2), cell)
    assert distance(found, masked(2)) < 1e-13
    assert min(distance(found, masked(n)) for n in (1, 3)) > 1e-4
    assert distance(found["lower"], masked(3)["lower"]) > 1e-4


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize(
    "name",
    ["lif_ring_buffer", "nested_checkpointed", "bidirectional", "masked_weights"],
)
def test_one_step_of_influence_is_what_traces_hold(name):
    case = CASES[name]()
    found = gradient_of(MaskedInfluence(order=1), case)
    assert distance(found, gradient_of(SnAp(), case)) < 1e-12


@pytest.mark.parametrize("name", ["layer_norm", "attention_over_the_state"])
def test_units_that_mix_are_one(name):
    case = REFUSALS[name]()
    exact = jax.jit(jax.grad(case.loss_fn))(case.params, *case.args)
    assert distance(gradient_of(SnAp(order=2), case), exact) < 1e-12


# ---- Which weights exist.

KEYS = jax.random.split(jax.random.key(0), 4)
UNITS = 5
RING = np.eye(UNITS) + np.roll(np.eye(UNITS), 1, 1)
AT = np.nonzero(RING)
X = jax.random.normal(KEYS[0], (6, 2, UNITS), float)


def run(rec, out, h, x):
    """Each unit drives itself and the next one, if `rec` is a ring."""

    def step(h, x):
        h = jnp.tanh(h @ rec + x)
        return h, h @ out

    h, y = jax.lax.scan(step, h, x)
    return jnp.mean(y**2), {"h": h}


def ring(weights, x, *more):
    return run(weights["rec"] * RING, weights["out"], jnp.zeros((2, UNITS)), x)[0]


def params():
    rec = jax.random.normal(KEYS[1], (UNITS, UNITS), float) / 2
    return {"rec": rec, "out": jax.random.normal(KEYS[2], (UNITS, 3), float)}


def by(spelling):
    def loss_fn(weights, x, *more):
        rec = spelling(weights["rec"], *more)
        return run(rec, weights["out"], jnp.zeros((2, UNITS)), x)[0]

    return loss_fn


def found_by(loss_fn, order, *more):
    rule, axes = SnAp(order=order), (1, *(None for _ in more))
    learner = apical.value_and_grad(loss_fn, rule, batch_axes=axes)
    state = learner.init(KEYS[3], params(), X, *more)
    return jax.jit(learner)(params(), state, X, *more).grads


SPELLINGS = {
    "where": lambda w: jnp.where(RING > 0, w, 0.0),
    "scatter": lambda w: jnp.zeros_like(w).at[AT].set(w[AT]),
    "transposed": lambda w: (w.T * RING.T).T,
    "computed": lambda w: w * (jnp.eye(UNITS) + jnp.roll(jnp.eye(UNITS), 1, 1)),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_missing_weight_is_found_in_every_spelling(name):
    found = found_by(by(SPELLINGS[name]), 2)
    assert distance(found, found_by(ring, 2)) < 1e-13
    assert distance(found, jax.grad(ring)(params(), X)) > 0.001


def test_zeros_of_an_argument_do_not_count_and_init_says_so():
    exact = jax.grad(ring)(params(), X)
    with pytest.warns(UserWarning, match="is `RTRL` here"):
        found = found_by(by(lambda w, mask: w * mask), 2, jnp.asarray(RING))
    assert distance(found, exact) < 1e-13


def test_zeros_of_the_weights_own_value_do_not_count():
    weights = {**params(), "rec": params()["rec"] * RING}
    loss_fn = by(lambda w: w)
    learner = apical.value_and_grad(loss_fn, SnAp(order=2), batch_axes=1)
    credit = jax.jit(learner)(weights, learner.init(KEYS[3], weights, X), X)
    assert distance(credit.grads, jax.grad(loss_fn)(weights, X)) < 1e-13


# ---- From call to call.


@pytest.mark.parametrize(
    ("lengths", "spelling"), [((2, 3, 1), "scatter"), ((1,) * 6, "where")]
)
def test_calls_add_up_to_the_whole(lengths, spelling):
    def window(weights, h, x):
        return run(SPELLINGS[spelling](weights["rec"]), weights["out"], h, x)

    options = {"has_aux": True, "batch_axes": (0, 1), "carry": (0, "h")}
    learner = apical.value_and_grad(window, SnAp(order=2), **options)
    h, begin, total = jnp.zeros((2, UNITS)), 0, None
    state, call = learner.init(KEYS[3], params(), h, X[:1]), jax.jit(learner)
    for length in lengths:
        credit = call(params(), state, h, X[begin : begin + length])
        state, h, begin = credit.state, credit.aux["h"], begin + length
        part = jax.tree.map(lambda g, n=length: n / 6 * g, credit.grads)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    assert distance(total, found_by(ring, 2)) < 1e-13
    assert state.influence.shape == (UNITS * (UNITS + 3), 2, UNITS)
    fresh = learner.reset(params(), state, h, X[:1])
    assert not np.any(fresh.influence)


# ---- Refusals.


def refusal(rule, loss_fn, args, **options):
    learner = apical.value_and_grad(loss_fn, rule, **options)
    with pytest.raises(ValueError) as error:
        learner.init(KEYS[3], *args)
    return str(error.value)


def test_a_loop_that_reads_another_is_refused():
    case = CASES["scans_in_series"]()
    said = refusal(SnAp(order=2), case.loss_fn, (case.params, *case.args))
    assert "reads what another loop computes" in said
    assert "SnAp(order=1)" in said
    assert "RTRL" in said


def test_a_loss_without_a_loop_is_refused():
    said = refusal(SnAp(order=2), lambda w, x: jnp.mean((x @ w) ** 2), (RING, X[0]))
    assert "lax.scan" in said


def test_a_mask_that_is_traced_is_refused():
    def traced(mask):
        loss_fn = by(lambda w: w * mask)
        learner = apical.value_and_grad(loss_fn, SnAp(order=2), batch_axes=1)
        return learner.init(KEYS[3], params(), X)

    with pytest.raises(ValueError, match="closes over an array that is traced"):
        jax.jit(traced)(jnp.asarray(RING))


def test_what_needs_too_much_memory_is_refused():
    rule = SnAp(order=2, memory_limit=100)
    assert "`memory_limit`" in refusal(rule, ring, (params(), X), batch_axes=1)


@pytest.mark.parametrize(
    "feedback", ["random", "adaptive", apical.rules.WeightMirror()]
)
def test_other_feedback_is_refused_above_order_one(feedback):
    SnAp(feedback=feedback)
    with pytest.raises(ValueError, match="no signal passes back"):
        SnAp(feedback=feedback, order=2)


@pytest.mark.parametrize("order", [0, -1, 1.5])
def test_an_order_that_is_no_number_of_steps_is_refused(order):
    with pytest.raises((TypeError, ValueError), match="order"):
        SnAp(order=order)


def test_a_large_order_is_real_time_recurrent_learning():
    case = CASES["lru"]()
    found = gradient_of(SnAp(order=30), case)
    assert distance(found, gradient_of(RTRL(), case)) < 1e-12
