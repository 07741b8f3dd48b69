"""The static pass on single operations and loops, against hand-made programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from support.locality import WIDTHS, Y, learner_of, static, weights
from support.locality import X as X_DATA

from apical import rules
from apical.circuit import USE_MARKS, Use, trace_program
from apical.measure._locality._copies import Copies, CopiesPass
from apical.measure._locality._interventions import Interventions
from apical.measure._locality._static_pass import StaticPass
from apical.measure._locality._values import Raw, Source, Value
from apical.measure._sequential_depth import sequential_depth

W, X = jnp.arange(9.0).reshape(3, 3) - 3, jnp.ones((4, 3))
USES = (Use(frozenset({0}), "synapse", "dot_general", (1,), frozenset({0}), 0, ""),)
INPUTS = (Value(raw={Source("params", 0): Raw()}), Value(hops={"input": (0.0, 0.0)}))


def marked(w):
    return checkpoint_name(w, f"{USE_MARKS.weight}0")


def used(y):
    return checkpoint_name(y, f"{USE_MARKS.result}0")


def passed(function, *args, inputs=INPUTS):
    program, _ = trace_program(function, *(args or (W, X)))
    return program, StaticPass(program, inputs, USES)


def seen(function):
    (value,) = passed(function)[1].outputs
    found = {(s.channel, s.quality) for s in value.seen}
    return found | {("raw", raw.quality) for raw in value.raw.values()}


PROGRAMS = {
    "a marked use": (lambda w, x: used(x @ marked(w)), {("forward", 2)}),
    "an unmarked product": (lambda w, x: x @ marked(w), {("second", 2)}),
    "a transposed product": (lambda w, x: x @ marked(w).T, {("reverse", 2)}),
    "a product of signs": (lambda w, x: x @ jnp.sign(marked(w)).T, {("reverse", 1)}),
    "a comparison": (
        lambda w, x: x @ (marked(w) > 0).astype(x.dtype).T,
        {("reverse", 1)},
    ),
    "a weight that is read": (lambda w, x: x @ w, {("direct", 2)}),
    "a weight that is returned": (lambda w, x: 2 * w, {("raw", 2)}),
    "a weight that is added": (lambda w, x: w + x[:3], {("raw", 2)}),
    "no weight": (lambda w, x: x + 1, set()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_way_to_use_a_weight_has_its_channel(name):
    function, expected = PROGRAMS[name]
    assert seen(function) == expected


def test_marks_survive_derivatives_loops_and_checkpoints():
    @jax.checkpoint
    def layer(h, w):
        return jnp.tanh(used(h @ marked(w)))

    def loss(w, x):
        h = jax.lax.scan(lambda h, _: (layer(h, w), None), x, length=3)[0]
        return jnp.sum(h)

    (value,) = passed(jax.grad(loss))[1].outputs
    assert {s.channel for s in value.seen} >= {"forward", "reverse"}
    assert not {s.channel for s in value.seen} & {"direct", "second"}


def test_an_operation_that_is_not_known_is_told():
    def call(w, x):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    (value,) = passed(call)[1].outputs
    assert value.unknown == {"pure_callback"}


def test_weight_uses_are_counted_from_step_to_step_of_a_loop():
    def relay(w, x):
        def step(h, _):
            return used(h @ marked(w)), h

        return jax.lax.scan(step, x, length=5)

    last, every = passed(relay)[1].outputs
    assert last.hops["input"] == (5, 5)
    assert every.hops["input"] == (0, 4)


def test_a_while_loop_has_no_bound():
    def relay(w, x):
        return jax.lax.while_loop(
            lambda h: jnp.sum(h) < 9, lambda h: used(h @ marked(w)), x
        )

    (value,) = passed(relay)[1].outputs
    assert value.hops["input"] == (0, np.inf)


@pytest.mark.parametrize("rule", ["Backpropagation", "FeedbackAlignment"])
def test_the_longest_chain_is_that_of_the_measured_cost(rule):
    update = static(getattr(rules, rule)())
    deepest = max(value.depth for value in update.of_grads)
    assert deepest == sequential_depth(update.program)


# ---------------------------------------------------------------- copies


def test_each_copy_is_read_by_its_own_uses():
    def function(w, x):
        w = marked(w)
        return used(x @ w), x @ w, x @ w.T, w

    program, found = passed(function)
    run = CopiesPass(program, found, lambda name, value: value)
    outs = run([Copies(W, 2 * W, 3 * W), X])
    expected = [X @ W, X @ (2 * W), X @ (3 * W).T, 3 * W]
    for ours, theirs in zip(outs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_equal_copies_give_the_program_itself_through_loops_and_branches():
    def function(w, x):
        def step(carry, t):
            h, v = carry
            h = jax.lax.cond(t > 1, lambda h: used(h @ marked(v)), lambda h: h, h)
            return (h, 0.5 * v), h

        (h, v), _ = jax.lax.scan(step, (x, w), jnp.arange(4))
        stop = jax.lax.while_loop(
            lambda s: jnp.max(jnp.abs(s[0])) > 1, lambda s: (s[0] / 2, s[1]), (h, v)
        )
        return stop[0] @ stop[1].T

    program, found = passed(function)
    (ours,) = CopiesPass(program, found, lambda name, value: value)(
        [Copies(W, W, W), X]
    )
    np.testing.assert_array_equal(ours, jax.jit(function)(W, X))


@pytest.mark.parametrize(
    "rule", [rules.DirectFeedbackAlignment(), rules.PEPITA()], ids=["direct", "pepita"]
)
def test_the_marked_program_computes_the_update_of_the_rule(rule):
    update, params = static(rule), weights(*WIDTHS)
    learner = learner_of(rule)
    state = learner.init(jax.random.key(1), params, X_DATA, Y)
    theirs = jax.tree.leaves(jax.jit(learner)(params, state, X_DATA, Y).grads)
    ours = Interventions(update).base[: len(theirs)]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
