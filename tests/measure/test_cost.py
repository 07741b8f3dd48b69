"""The cost of a call: its figures, and how they are measured."""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import batch, layers, loss_fn

import apical
from apical import rules
from apical.measure import cost
from apical.measure._cost import in_turn

KEY = jax.random.key(0)
WIDTHS, EXAMPLES = (5, 7, 6, 3), 4
PARAMS, DATA = layers(*WIDTHS), batch(EXAMPLES, 5, 3)
BACKPROPAGATION = rules.Backpropagation()


def quick(loss_fn, rule, **keywords):
    return cost(apical.value_and_grad(loss_fn, rule, **keywords), repeats=2)


@pytest.fixture
def optimised():
    """What XLA compiles for users: the tests turn it off for speed."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def test_backpropagation_costs_what_its_products_cost(optimised):
    found = quick(loss_fn, BACKPROPAGATION)(PARAMS, (), *DATA)
    sizes = [a * b for a, b in pairwise(WIDTHS)]
    # Forward and weights: each layer once. Signals: all but the first.
    expected = 2 * EXAMPLES * (2 * sum(sizes) + sum(sizes[1:]))
    assert found.backpropagation.flops == expected
    # XLA's count has the nonlinearities and the sums as well: less than a quarter here.
    assert expected < found.backpropagation.xla_flops < 1.25 * expected


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_backpropagation_waits_twice_for_every_layer(depth):
    params = layers(*[3] * (depth + 1))
    found = quick(loss_fn, BACKPROPAGATION)(params, (), *batch(2, 3, 3))
    assert found.rule.depth == 2 * depth


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_free_predictions_wait_twice_at_every_step(steps):
    """The last value is there after two layers; prediction and signal at each step."""
    rule = rules.PredictiveCoding(steps, prediction="free")
    found = quick(loss_fn, rule)(PARAMS, (), *DATA)
    assert found.rule.depth == 2 + 2 * steps + 2
    assert found.ratio.depth == found.rule.depth / 6


@pytest.mark.parametrize("inference", [None, rules.Sweep()])
def test_fixed_predictions_wait_as_long_as_backpropagation(inference):
    rule = rules.PredictiveCoding(inference=inference)
    found = quick(loss_fn, rule)(PARAMS, (), *DATA)
    assert found.rule.depth == found.backpropagation.depth == 6


def test_every_step_of_relaxation_is_paid_for():
    """XLA's own count takes a loop once: the control for the claim in the docs."""
    few, many = (
        quick(loss_fn, rules.PredictiveCoding(steps, prediction="free"))(
            PARAMS, (), *DATA
        ).rule
        for steps in (5, 25)
    )
    hidden = WIDTHS[1] * WIDTHS[2] + WIDTHS[2] * WIDTHS[3]
    step = 2 * EXAMPLES * 2 * hidden  # a prediction and a signal for each upper layer
    assert many.flops - few.flops == 20 * step
    assert many.xla_flops == few.xla_flops


def test_backpropagation_beside_itself_has_ratios_of_one():
    learner = apical.value_and_grad(loss_fn, BACKPROPAGATION)
    found = cost(learner, repeats=20)(PARAMS, (), *DATA)
    counts = ("flops", "xla_flops", "xla_bytes", "memory_bytes", "depth")
    assert {getattr(found.ratio, name) for name in counts} == {1.0}
    assert 0.5 < found.ratio.seconds < 2
    free = rules.PredictiveCoding(50, prediction="free")
    dearer = quick(loss_fn, free)(PARAMS, (), *DATA).ratio
    assert min(getattr(dearer, name) for name in counts) > 1
    assert dearer.seconds > 2


def test_every_figure_is_a_positive_number_and_quartiles_are_in_order():
    rule = rules.FeedbackAlignment()
    state = jax.jit(apical.value_and_grad(loss_fn, rule).init)(KEY, PARAMS, *DATA)
    found = quick(loss_fn, rule)(PARAMS, state, *DATA)
    for expense in found:
        low, high = expense.quartiles
        assert 0 < low <= expense.seconds <= high
        assert all(np.all(np.array(figure) > 0) for figure in expense)
    # The copies of the weights are arguments and results.
    assert found.rule.memory_bytes > found.backpropagation.memory_bytes


def test_a_rule_whose_state_moves_with_the_parameters_takes_the_state_of_its_step():
    rule = rules.KolenPollack()
    step = apical.train_step(loss_fn, rule, optax.adam(0.1))
    state = jax.jit(step.init)(KEY, PARAMS, *DATA)
    found = cost(step.learner, repeats=2)(PARAMS, state.rule, *DATA)
    assert found.rule.flops == found.backpropagation.flops
    with pytest.raises(ValueError, match=r"is a TrainState.* pass `state\.rule`"):
        cost(step.learner, repeats=2)(PARAMS, state, *DATA)


def test_a_module_with_functions_among_its_leaves_passes_as_it_is():
    model = eqx.nn.MLP(5, 3, 6, 2, key=KEY)

    def module_loss(model, x, y):
        return jnp.mean((jax.vmap(model)(x) - y) ** 2)

    found = quick(module_loss, rules.PredictiveCoding())(model, (), *DATA)
    assert found.rule.depth == 6


def test_the_description_is_that_of_both_learners():
    def with_aux(params, shared, x, y):
        return loss_fn(params, x + shared, y), (x @ x.T, "a word")

    settings = {"has_aux": True, "batch_axes": (None, 0, 0)}
    measure = quick(with_aux, rules.PredictiveCoding(), **settings)
    found = measure(PARAMS, (), jnp.zeros(5), *DATA)
    plain = quick(loss_fn, rules.PredictiveCoding())(PARAMS, (), *DATA)
    for ours, theirs in zip(found[:2], plain[:2], strict=True):
        assert ours.flops - theirs.flops == 2 * EXAMPLES * EXAMPLES * 5  # aux


def test_real_calls_are_asked_for():
    measure = quick(loss_fn, BACKPROPAGATION)
    with pytest.raises(ValueError, match=r"outside of `jax\.jit`"):
        jax.jit(lambda params: measure(params, (), *DATA).rule.seconds)(PARAMS)


@pytest.mark.parametrize("repeats", [0, 1.5])
def test_repeats_are_a_whole_number_above_0(repeats):
    with pytest.raises(ValueError, match="`repeats` must be a whole number above 0"):
        cost(apical.value_and_grad(loss_fn, BACKPROPAGATION), repeats=repeats)


def test_calls_are_timed_in_turn_and_backwards_every_other_round():
    order = []
    calls = [lambda name=name: order.append(name) for name in "ab"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("apical.measure._cost._SHORTEST_TURN", 0.0)
        seconds = in_turn(calls, rounds=4)
    assert seconds.shape == (2, 4)
    assert "".join(order[-8:]) == "abbaabba"


def test_a_short_call_is_repeated_within_its_turn():
    count = 0

    def call():
        nonlocal count
        count += 1

    seconds = in_turn([call], rounds=1)
    assert count > 100
    assert seconds[0, 0] < 1e-3
