"""Programs of other packages: primitives, loops, solvers, callbacks, marks.

The constructs are imitated by hand, but for diffrax, which the tests have.
"""

import re

import diffrax
import jax
import jax.core
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.interpreters import ad, batching, mlir
from support.refusals import refuses
from support.small_network import (
    EVERY,
    PARAMS,
    X,
    Y,
    assert_equal,
    between,
    credit,
    init,
    name_of,
)

import apical
from apical.rules import (
    Backpropagation,
    DirectFeedbackAlignment,
    EvolutionStrategy,
    FeedbackAlignment,
    LocalLosses,
    NodePerturbation,
    PredictiveCoding,
)

PLAIN = between(lambda h, p: h @ p["b"])


# ------------------------------------------------------- primitives of other packages


def primitive(name, function, differentiable=True):
    """A primitive of a package's own, as equinox makes them."""
    made = jex.core.Primitive(name)
    made.def_impl(function)
    made.def_abstract_eval(
        lambda *xs: jax.core.ShapedArray(
            jax.eval_shape(function, *xs).shape, jnp.float32
        )
    )
    mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=False))
    if differentiable:
        ad.primitive_jvps[made] = lambda xs, ts: jax.jvp(
            function, xs, tuple(ad.instantiate_zeros(t) for t in ts)
        )
    batching.primitive_batchers[made] = lambda xs, axes: (
        jax.vmap(function, axes)(*xs),
        0,
    )
    return made.bind


halved = primitive("halved", lambda h: jnp.sin(h) / 2)
product = primitive("product", lambda h, w: h @ w)
numeric = primitive("numeric", lambda h: jnp.sin(h) / 2, differentiable=False)


@pytest.mark.parametrize("rule", EVERY[:-1], ids=name_of)
def test_an_unknown_operation_on_activities_has_the_derivative_that_it_has(rule):
    def ours(h, params):
        return halved(h @ params["b"]) + h

    def theirs(h, params):
        return jnp.sin(h @ params["b"]) / 2 + h

    if isinstance(rule, (DirectFeedbackAlignment, LocalLosses)):
        found, known = credit(rule, between(ours)), credit(rule, between(theirs))
        assert jax.tree.structure(found.grads) == jax.tree.structure(known.grads)
        return
    assert_equal(credit(rule, between(ours)).grads, credit(rule, between(theirs)).grads)


def test_an_unknown_operation_may_mix_examples():
    loss_fn = between(lambda h, params: halved(h @ params["b"]) + h)
    told = "several examples meet in `halved` at .*test_operations_of_others.py"
    with pytest.raises(ValueError, match=told):
        init(NodePerturbation(), loss_fn)


def test_an_unknown_operation_that_a_weight_enters_is_refused_by_name():
    loss_fn = between(lambda h, params: product(h, params["b"]))
    told = "'b'", "test_operations_of_others.py", "`product`, which is not known"
    refuses((lambda: init(FeedbackAlignment(), loss_fn), *told))
    init(Backpropagation(), loss_fn)


def test_an_unknown_operation_without_a_derivative_is_refused_by_name():
    loss_fn = between(lambda h, params: numeric(h @ params["b"]))
    told = "'a, b'", "`numeric`, which JAX cannot differentiate"
    refuses((lambda: init(FeedbackAlignment(), loss_fn), *told))


# ------------------------------------------------------------------------------ loops


def turned(body, h, steps=3):
    """A loop whose number of steps JAX does not know."""
    state = lax.while_loop(
        lambda s: s[0] < steps, lambda s: (s[0] + 1, body(s[1])), (0, h)
    )
    return state[1]


def length(u):
    return u / jnp.linalg.norm(u)


STOPPED = {
    "of activities": lambda h, p, stop: h @ p["b"] * stop(turned(jnp.cos, h)),
    "with a weight": lambda h, p, stop: (
        h @ p["b"] + stop(turned(lambda h: jnp.tanh(h @ p["b"]), h))
    ),
    "of weights alone": lambda h, p, stop: (
        h @ p["b"] @ stop(turned(lambda u: length(p["b"] @ u), jnp.eye(4)))
    ),
    "then one step": lambda h, p, stop: (
        stop(turned(lambda z: jnp.tanh(z @ p["b"] + h), h)) @ p["b"] + h
    ),
}


@pytest.mark.parametrize("loop", STOPPED)
def test_a_loop_is_allowed_where_no_gradient_comes_by(loop):
    loss_fn = between(lambda h, p: STOPPED[loop](h, p, lax.stop_gradient))
    true = jax.grad(loss_fn)(PARAMS, X, Y)
    for rule in (Backpropagation(), PredictiveCoding()):
        assert_equal(credit(rule, loss_fn).grads, true)
    found = credit(FeedbackAlignment(), loss_fn).grads
    assert_equal(found["c"], true["c"])
    assert not np.allclose(found["a"], true["a"], rtol=1e-2)


@pytest.mark.parametrize("loop", STOPPED)
def test_the_same_loop_is_refused_where_one_would(loop):
    loss_fn = between(lambda h, p: STOPPED[loop](h, p, lambda x: x))
    refuses((lambda: init(FeedbackAlignment(), loss_fn), "while_loop", "`lax.scan`"))


def test_a_rule_that_needs_no_derivative_takes_any_loop():
    loss_fn = between(lambda h, p: turned(lambda h: jnp.tanh(h @ p["b"]), h))
    found = credit(EvolutionStrategy(), loss_fn)
    assert np.all(np.isfinite(found.grads["b"])) and np.any(found.grads["b"])


# ------------------------------------------------------- differential equations


def solved(adjoint, readout=lambda h, c: h @ c):
    def loss_fn(params, x, y):
        def field(t, h, args):
            return jnp.tanh(h @ params["a"]) @ params["b"]

        found = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Euler(),
            **{"t0": 0.0, "t1": 1.0, "dt0": 0.5, "y0": x},
            max_steps=4,
            adjoint=adjoint,
        )
        assert found.ys is not None
        return jnp.mean((readout(found.ys[0], params["c"]) - y) ** 2)

    return loss_fn


@pytest.mark.parametrize("rule", EVERY[1:4], ids=name_of)
def test_a_solver_with_a_derivative_of_its_own_is_told_what_to_use(rule):
    loss_fn = solved(diffrax.RecursiveCheckpointAdjoint(), lambda h, c: h[:, :2])
    told = "test_operations_of_others.py", "adjoint=diffrax.DirectAdjoint()"
    refuses((lambda: init(rule, loss_fn), *told))


@pytest.mark.parametrize("rule", [EVERY[2], EVERY[4]], ids=name_of)
def test_what_hides_several_layers_is_refused_by_rules_that_keep_them_apart(rule):
    loss_fn = solved(diffrax.RecursiveCheckpointAdjoint())
    told = "test_operations_of_others.py", "several layers (a, b)", "DirectAdjoint()"
    refuses((lambda: init(rule, loss_fn), *told))
    init(PredictiveCoding(), loss_fn)  # to which it is one prediction
    init(rule, solved(diffrax.DirectAdjoint()))


def test_a_solver_that_is_differentiated_as_it_is_written_can_have_feedback():
    loss_fn = solved(diffrax.DirectAdjoint())
    true = jax.grad(loss_fn)(PARAMS, X, Y)
    found = credit(FeedbackAlignment(), loss_fn).grads
    assert_equal(found["c"], true["c"])
    assert np.any(found["a"]) and not np.allclose(found["a"], true["a"], rtol=1e-2)


# ----------------------------------------------------------------------------- flows


def flow(mark):
    """A flow whose layers are scanned: the loss reads what each of them makes."""

    def layer(carry, weight):
        z, log_scales = carry
        scale = jnp.tanh(z @ weight)
        return (z * jnp.exp(scale) + scale, log_scales + jnp.sum(scale, axis=-1)), None

    def loss_fn(params, x, y):
        del y
        layers = jnp.stack([params["a"], params["b"]])
        (z, log_scales), _ = lax.scan(layer, (x, jnp.zeros(len(x))), layers)
        return -jnp.mean(mark(log_scales - jnp.sum(z**2, axis=-1) / 2))

    return loss_fn


WITH_OUTPUT = [
    r for r in EVERY if name_of(r) in ("DirectFeedbackAlignment", "LocalLosses")
]


@pytest.mark.parametrize("rule", WITH_OUTPUT, ids=name_of)
def test_a_flow_is_told_what_to_mark_and_then_has_an_output(rule):
    told = (
        "no output",
        "the loss reads 'a+b",
        "operations_of_others.py",
        "output(log_prob)",
    )
    refuses((lambda: init(rule, flow(lambda log_prob: log_prob)), *told))
    assert np.any(credit(rule, flow(apical.output)).grads["a"])


# ------------------------------------------------------------------- what is looked at


@pytest.mark.parametrize("rule", EVERY, ids=name_of)
@pytest.mark.parametrize("what", ["activity", "weight"])
def test_what_is_printed_changes_nothing(rule, what, capfd):
    def middle(h, params):
        looked_at = {"activity": h, "weight": params["b"]}[what]
        jax.debug.print("seen {}", jnp.sum(looked_at))
        jax.debug.callback(lambda x: None, looked_at)
        return h @ params["b"]

    found = credit(rule, between(middle))
    jax.effects_barrier()
    assert "seen" in capfd.readouterr().out
    assert_equal(found.grads, credit(rule, PLAIN).grads)


# ------------------------------------------------------------------------------ names


@pytest.mark.parametrize("mark", ["a", "b", "a#2", "loss"])
def test_a_mark_keeps_its_name_and_other_nodes_give_way(mark):
    def loss_fn(params, x, y):
        h = jnp.sin(jnp.tanh(x @ params["a"]) @ params["a"])
        h = apical.node(jnp.tanh(h @ params["b"]), mark)
        return jnp.mean((h @ params["c"] - y) ** 2)

    names = [node.name for node in apical.trace(loss_fn)(PARAMS, X, Y).nodes]
    assert names[-1] == mark
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"a(#[23])?", name) for name in names[:-1])
