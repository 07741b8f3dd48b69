"""Refusals of a circuit: messages name the cause and the fix.

Beside each refusal stands what is accepted, so that no test passes because everything
is refused.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.zoo import OPAQUE
from support.zoo._hazards import dot_with_jvp, dot_with_vjp, sandwich
from support.zoo._model import Draw

import apical
from apical.rules import (
    Backpropagation,
    FeedbackAlignment,
    KolenPollack,
    PredictiveCoding,
    SignConcordance,
)

KEY = jax.random.key(0)
FEEDBACK = [FeedbackAlignment(), SignConcordance(), KolenPollack()]


def name_of(rule):
    return type(rule).__name__


def numbers(*shape: int):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


PARAMS = {"a": numbers(3, 4), "b": numbers(4, 4), "c": numbers(4, 2)}
X = numbers(5, 3)


def between(operation):
    """A loss function with an operation between two layers."""

    def loss_fn(params, x):
        h = operation(jnp.tanh(x @ params["a"]), params)
        return jnp.mean((h @ params["c"]) ** 2)

    return loss_fn


def circuit_of(loss_fn, *args, **keywords) -> apical.Circuit:
    return apical.trace(loss_fn, **keywords)(PARAMS, *(args or (X,)))


def init(rule, loss_fn, params, *args, **keywords):
    circuit = apical.trace(loss_fn, **keywords)(params, *args)
    return rule.init(circuit, KEY, params, args)


# ------------------------------------------------------- where feedback cannot go


REFUSED = [name for name, (model, _) in OPAQUE.items() if not model.either]


@pytest.mark.parametrize("name", REFUSED)
def test_feedback_alignment_refuses_by_the_name_of_the_leaf(name):
    model, leaves = OPAQUE[name]
    loss_fn, params, args = model.make(KEY)
    learner = apical.value_and_grad(
        loss_fn, FeedbackAlignment(), batch_axes=model.batch_axes
    )
    with pytest.raises(ValueError) as refusal:
        learner.init(KEY, params, *args)
    assert all(leaf in str(refusal.value) for leaf in leaves)


@pytest.mark.parametrize("rule", FEEDBACK, ids=name_of)
@pytest.mark.parametrize("dot", [dot_with_vjp, dot_with_jvp])
def test_every_feedback_rule_refuses_what_it_would_not_reach(rule, dot):
    loss_fn, params, args = sandwich(Draw(KEY), dot)
    with pytest.raises(ValueError, match=r"'w_opaque'.*inside `custom_\w+_call`"):
        init(rule, loss_fn, params, *args)
    loss_fn, params, args = sandwich(Draw(KEY), lambda h, w: h @ w)
    init(rule, loss_fn, params, *args)


@pytest.mark.parametrize("rule", [Backpropagation(), PredictiveCoding()], ids=name_of)
def test_rules_without_feedback_accept_a_users_derivative(rule):
    loss_fn, params, args = sandwich(Draw(KEY), dot_with_vjp)
    init(rule, loss_fn, params, *args)


def test_a_refusal_names_the_line_and_the_reason():
    loss_fn, params, args = OPAQUE["masked_per_example"][0].make(KEY)
    with pytest.raises(ValueError, match=r"_hazards\.py:\d+.*close over that"):
        init(FeedbackAlignment(), loss_fn, params, *args)


def test_a_weight_chosen_by_the_data_is_refused():
    def loss_fn(params, x, ids):
        h = jnp.tanh(x @ params["a"])
        return jnp.mean(jnp.einsum("bi,bij->bj", h, params["experts"][ids]) ** 2)

    params = {"a": PARAMS["a"], "experts": numbers(3, 4, 2)}
    with pytest.raises(ValueError, match=r"'experts'.*met data before"):
        init(FeedbackAlignment(), loss_fn, params, X, jnp.array([0, 1, 2, 1, 0]))


def test_without_a_synapse_there_is_no_path_for_feedback():
    def closed_over(params, x):
        beside = jnp.mean((params["b"][0, 0] * x) ** 2)
        return jnp.mean(jnp.tanh(X @ params["a"]) @ params["c"]) + beside

    with pytest.raises(ValueError, match="No synapse was found"):
        init(FeedbackAlignment(), closed_over, PARAMS, X[:1])
    init(FeedbackAlignment(), lambda w, x: jnp.mean(x @ w), X[0], X)
    init(FeedbackAlignment(), lambda w, x: jnp.mean((w * x) ** 2), X[0], X)


def product_then_sum(h, weight):
    """A dot in all but name: what stands between its two halves is linear too."""
    return (h[:, :, None] * weight + 1).sum(1)


def test_a_dot_spelled_out_is_rewritten_or_refused_whatever_stands_between():
    loss_fn = between(lambda h, p: product_then_sum(h, p["b"]))
    circuit = circuit_of(loss_fn)
    if "b" in {s.name for s in circuit.synapses}:
        return
    with pytest.raises(ValueError, match="'b'"):
        init(FeedbackAlignment(), loss_fn, PARAMS, X)


# ---------------------------------------------------------------------------- loops


def repeated(body):
    """A loop with an open end, around `body`."""

    def operation(h, params):
        def step(state):
            return state[0] + 1, body(state[1], params)

        return lax.while_loop(lambda state: state[0] < 3, step, (0, h))[1]

    return between(operation)


def test_a_loop_that_cannot_be_reversed_is_refused_if_it_holds_synapses():
    with pytest.raises(ValueError, match=r"while_loop.*synapses.*Use `lax.scan`"):
        circuit_of(repeated(lambda h, p: jnp.tanh(h @ p["b"])))

    def scanned(h, params):
        return lax.scan(lambda h, _: (jnp.tanh(h @ params["b"]), None), h, length=3)[0]

    assert len(circuit_of(between(scanned)).synapses) == 3


def test_a_loop_over_data_alone_may_have_an_open_end():
    def loss_fn(params, x):
        x = lax.while_loop(
            lambda x: jnp.sum(x) < 9, lambda x: 2 * x @ jnp.ones((3, 3)), x
        )
        return jnp.mean((jnp.tanh(x @ params["a"]) @ params["b"]) ** 2)

    assert len(circuit_of(loss_fn).synapses) == 2


@pytest.mark.parametrize("rule", FEEDBACK, ids=name_of)
def test_activities_in_a_loop_that_cannot_be_reversed_are_refused(rule):
    with pytest.raises(ValueError, match=r"`while`|while_loop"):
        init(rule, repeated(lambda h, p: jnp.sin(h)), PARAMS, X)


# ---------------------------------------------------------------------------- marks


@jax.custom_vjp
def marked_with_vjp(h):
    return jnp.sin(apical.node(h, "lost"))


marked_with_vjp.defvjp(
    lambda h: (marked_with_vjp(h), h), lambda h, g: (g * jnp.cos(h),)
)


@jax.custom_jvp
def marked_with_jvp(h):
    return jnp.sin(apical.node(h, "lost"))


marked_with_jvp.defjvps(lambda dh, out, h: dh * jnp.cos(h))

LOST = {
    "custom_vjp": between(lambda h, _: marked_with_vjp(h)),
    "custom_jvp": between(lambda h, _: marked_with_jvp(h)),
    "while": repeated(lambda h, _: apical.node(jnp.sin(h), "lost")),
    "custom_vjp in jit": between(lambda h, _: jax.jit(marked_with_vjp)(h)),
    "custom_vjp in scan": between(
        lambda h, _: lax.scan(lambda h, _: (marked_with_vjp(h), None), h, length=2)[0]
    ),
}


@pytest.mark.parametrize("inside", LOST)
def test_a_mark_that_would_be_lost_is_refused(inside):
    with pytest.raises(ValueError, match=f"mark.*lost.*inside `{inside.split()[0]}"):
        circuit_of(LOST[inside])


def once(h, _=None):
    return apical.node(jnp.sin(h), "found")


FOUND = {
    "jit": lambda h, _: jax.jit(once)(h),
    "remat": lambda h, _: jax.checkpoint(once)(h),
    "vmap": lambda h, _: jax.vmap(once)(h),
    "cond": lambda h, _: lax.cond(jnp.sum(h) > 0, once, lambda h: h, h),
    "scan": lambda h, _: lax.scan(lambda h, _: (once(h), None), h, length=2)[0],
    "remat in scan": lambda h, _: lax.scan(
        lambda h, _: (jax.checkpoint(once)(h), None), h, length=2
    )[0],
}


@pytest.mark.parametrize("inside", FOUND)
def test_a_mark_inside_what_is_entered_is_found(inside):
    circuit = circuit_of(between(FOUND[inside]))
    assert "found" in {node.name for node in circuit.nodes if node.why == "marked"}


def test_two_marks_of_one_name_are_refused():
    def twice(other):
        return between(lambda h, _: apical.node(jnp.sin(once(h)), other))

    with pytest.raises(ValueError, match="Two activities are marked 'found'"):
        circuit_of(twice("found"))
    assert [n.name for n in circuit_of(twice("other")).nodes][-2:] == ["found", "other"]


def test_two_names_for_one_activity_are_refused():
    with pytest.raises(ValueError, match="one"):
        circuit_of(between(lambda h, _: apical.node(apical.node(h, "one"), "two")))


def test_a_mark_from_which_the_loss_is_not_reached_is_refused():
    def loss_fn(params, x):
        h = jnp.tanh(x @ params["a"])
        return jnp.mean((h @ params["b"]) ** 2), apical.node(jnp.sin(h), "aside")

    with pytest.raises(ValueError, match="aside"):
        circuit_of(loss_fn, has_aux=True)


UNMARKABLE = {
    "data": (lambda params, x: apical.node(x, "here") @ params["a"], "does not depend"),
    "weight": (
        lambda params, x: x @ apical.node(params["a"], "here"),
        "one for all examples.*if it is a weight, remove the mark",
    ),
    "several": (
        lambda params, x: apical.node(
            jnp.concatenate([jnp.tanh(x @ params["a"]), jnp.sin(x @ params["a"])]),
            "here",
        ),
        "joins several",
    ),
}


@pytest.mark.parametrize("what", UNMARKABLE)
def test_a_mark_on_what_is_no_activity_is_refused(what):
    values, problem = UNMARKABLE[what]
    with pytest.raises(ValueError, match=f"'here'.*{problem}"):
        circuit_of(lambda params, x: jnp.mean(values(params, x)))


def test_a_message_about_a_mark_names_the_users_line():
    with pytest.raises(ValueError, match=r"test_circuit_refusals\.py:\d+"):
        circuit_of(lambda params, x: jnp.mean(apical.node(x, "here") @ params["a"]))


# ------------------------------------------------------------------- the loss function


def fine(params, x):
    return jnp.mean(jnp.tanh(x @ params["a"]) @ params["c"])


LOSSES = {
    "a pair": (lambda p, x: (fine(p, x), x), "has_aux=True"),
    "no pair": (fine, "must return a pair", {"has_aux": True}),
    "not a scalar": (lambda p, x: x @ p["a"], r"real scalar.*shape \(5, 4\)"),
    "whole numbers": (lambda p, x: jnp.sum(x @ p["a"] > 0), "real scalar.*int"),
    "none": (lambda p, x: None, "NoneType"),
    "closed-over data": (lambda p, x: fine(p, X), "pass them as arguments"),
    "no parameters": (lambda p, x: jnp.mean(x), "does not depend on `params`"),
    "nodes": (fine, "`nodes` must be", {"nodes": "all"}),
    "reduction": (fine, "`reduction` must be", {"reduction": "max"}),
}


@pytest.mark.parametrize("fault", LOSSES)
def test_a_loss_function_that_is_none_is_refused(fault):
    loss_fn, message, *keywords = LOSSES[fault]
    with pytest.raises(ValueError, match=message):
        circuit_of(loss_fn, **dict(*keywords))


def test_a_good_loss_function_is_accepted():
    assert len(circuit_of(fine).synapses) == 2
    circuit_of(lambda p, x: (fine(p, x), x), has_aux=True, reduction="sum")


def test_parameters_must_have_a_leaf_that_is_learned():
    with pytest.raises(ValueError, match=r"no leaf to learn.*Integer"):
        apical.trace(fine)({"a": jnp.ones((3, 4), int), "c": 1}, X)


# ------------------------------------------------------------------------- evaluation


def test_an_unknown_site_is_refused_with_the_names_of_the_nodes():
    circuit = circuit_of(fine)
    with pytest.raises(ValueError, match=r"No site 'b'.*'a'"):
        circuit.run(PARAMS, (X,), tap="clamp", inject={"b": X})
    circuit.run(PARAMS, (X,), tap="clamp", inject={"a": numbers(5, 4)})


def test_an_unknown_tap_is_refused():
    with pytest.raises(ValueError, match=r"tap.*clamp"):
        circuit_of(fine).run(PARAMS, (X,), tap="clamped")


@pytest.mark.parametrize(
    ("feedback", "message"),
    [
        ({"a": PARAMS["a"]}, "same tree structure"),
        ({**PARAMS, "c": numbers(2, 4)}, r"'c' has shape \(2, 4\).*\(4, 2\)"),
    ],
    ids=["structure", "shape"],
)
def test_feedback_that_does_not_fit_is_refused(feedback, message):
    circuit = circuit_of(fine)
    with pytest.raises(ValueError, match=message):
        circuit.run(PARAMS, (X,), feedback=feedback)
    circuit.run(PARAMS, (X,), feedback={**PARAMS, "a": None})


# --------------------------------------------------------------------------- examples


def pair(params, x, y):
    return jnp.mean((fine(params, x) - y) ** 2)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((0, 1), "no axis 1"),
        (0, r"differ in their number of examples"),
        ((0,), "one entry"),
        (({"x": 0}, 0), "`batch_axes` must be"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(batch, message):
    args = X, numbers(7)
    with pytest.raises(ValueError, match=message):
        _ = circuit_of(pair, *args, batch_axes=batch).batch_size
    assert circuit_of(pair, *args, batch_axes=(0, None)).batch_size == 5
    assert circuit_of(pair, *args, batch_axes=(1, None)).batch_size == 3


def test_examples_that_are_not_independent_are_refused():
    def normalised(params, x):
        h = x @ params["a"]
        h = jnp.tanh((h - h.mean(0)) / (h.std(0) + 0.1))
        return jnp.mean((h @ params["c"]) ** 2)

    with pytest.raises(ValueError, match=r"meet in `sub` at .*batch normalisation"):
        circuit_of(normalised).by_example(PARAMS, (X,))
    _, losses = circuit_of(fine).by_example(PARAMS, (X,))
    np.testing.assert_allclose(losses[:-1].mean(), fine(PARAMS, X), rtol=1e-5)
    np.testing.assert_allclose(losses[-1] / len(X), fine(PARAMS, X), rtol=1e-5)
