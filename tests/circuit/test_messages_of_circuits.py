"""Messages for wrong calls of a circuit and of `check_rule`."""

# Wrong types are what these tests are about.
# pyright: reportArgumentType=false, reportCallIssue=false

import jax.numpy as jnp
import numpy as np
import pytest
from support.refusals import refuses
from support.wrong_calls import (
    DEEPER,
    FA,
    KEY,
    PARAMS,
    WIDER,
    X,
    Y,
    call,
    init,
    loss_fn,
)

import apical
import apical.testing
from apical import rules

H = jnp.ones((5, 4))  # of the shape of the node 'a'


def marked(name):
    return apical.node(X, name)


@pytest.fixture(scope="module")
def circuit():
    return apical.trace(loss_fn)(PARAMS, X, Y)


def clamped(circuit, value, **keywords):
    return circuit.run(
        PARAMS, (X, Y), **{"tap": "clamp", "inject": {"a": value}, **keywords}
    )


def pulled(circuit, delta, held=None):
    return circuit.pull(PARAMS, (X, Y), {"a": H} if held is None else held, delta)


CIRCUITS = {
    "inject, shape": (
        lambda c: clamped(c, H[:3]),
        "`inject` at 'a'",
        "(3, 4)",
        "(5, 4",
    ),
    "inject, kind": (lambda c: clamped(c, 0.0), "`inject` at 'a'", "not a float"),
    "inject, list": (lambda c: clamped(c, H, inject=[H]), "`inject`", "dictionary"),
    "inject, no tap": (lambda c: clamped(c, H, tap=None), "`inject` needs a `tap`"),
    "tap": (lambda c: clamped(c, H, tap=3), "`tap`", "'clamp'", "not 3"),
    "sites": (lambda c: clamped(c, H, sites="a"), "`sites`", "('a',)"),
    "delta, shape": (lambda c: pulled(c, {"a": H.T}), "`delta` at 'a'", "(4, 5)"),
    "delta, kind": (
        lambda c: pulled(c, {"a": apical.Signal(H, H, H)}),
        *("`delta` at 'a'", "a Signal"),
    ),
    "delta, list": (lambda c: pulled(c, [H]), "`delta`", "dictionary"),
    "held": (lambda c: pulled(c, {"a": H}, {"a": H.T}), "at 'a'", "(4, 5)", "(5, 4)"),
    "args": (lambda c: c.run(PARAMS, X), "`args`", "`(x,)`", "not an array"),
    "args, few": (
        lambda c: c.run(PARAMS, (X,)),
        "`args`",
        "structure",
        "Trace it anew",
    ),
    "params": (lambda c: c.run(DEEPER, (X, Y)), "`params`", "structure"),
    "other params": (lambda c: c.run(WIDER, (X, Y)), "'a' has shape (3, 6)", "anew"),
    "other batch": (lambda c: c.run(PARAMS, (X[:2], Y[:2])), "'args.0'", "(2, 3)"),
    "examples": (lambda c: c.by_example(PARAMS, X), "`args`", "`(x,)`"),
    "feedback": (
        lambda c: c.run(PARAMS, (X, Y), feedback={"a": None, "b": [[1.0]]}),
        *("`feedback` for 'b'", "a list"),
    ),
    "name, number": (lambda c: marked(3), "`name`", "a text", "not a int"),
    "name, swapped": (lambda c: apical.node("h", X), "`name`", "apical.node(x, 'hid"),
    "name, empty": (lambda c: marked(""), "called ''"),
    "name, taken": (lambda c: marked("output"), "called 'output'", "`apical.output`"),
    "name, drive": (lambda c: marked("a:drive"), "called 'a:drive'"),
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_what_does_not_fit_a_circuit_is_named(circuit, name):
    do, *words = CIRCUITS[name]
    refuses((lambda: do(circuit), *words))


def test_what_fits_a_circuit_is_taken(circuit):
    assert clamped(circuit, H).loss > 0
    assert pulled(circuit, {"a": H})["a"].shape == (3, 4)


@pytest.mark.parametrize(
    "rule",
    [
        rules.PredictiveCoding(),
        rules.PredictiveCoding(4, prediction="free"),
        rules.DirectFeedbackAlignment(),
    ],
    ids=["fixed", "free", "direct"],
)
def test_a_parameter_may_be_called_output(rule):
    def renamed(params, x, y):
        return loss_fn({"a": params["output"], "b": params["b"]}, x, y)

    params = {"output": PARAMS["a"], "b": PARAMS["b"]}
    found = apical.value_and_grad(renamed, rule)
    ours = found(params, found.init(KEY, params, X, Y), X, Y).grads
    theirs = call(init(rule), rule).grads
    np.testing.assert_allclose(ours["output"], theirs["a"], rtol=1e-5)
    assert np.any(theirs["a"])


# ----------------------------------------------------------------------------- testing

CHECKS = {
    "class": (lambda: apical.testing.check_rule(type(FA)), "`FeedbackAlignment()`"),
    "text": (lambda: apical.testing.check_rule("fa"), "`rule` must be a rule"),
    "skip": (lambda: apical.testing.check_rule(FA, skip="value"), "`skip=('value',)`"),
    "arguments of a rule": (
        lambda: apical.testing.check_rule(FA, PARAMS, X),
        *("`learner = apical.value_and_grad(loss_fn", "`check_rule(learner, params"),
    ),
    "no arguments of a learner": (
        lambda: apical.testing.check_rule(apical.value_and_grad(loss_fn, FA)),
        "`check_rule(learner, params, *args)`",
    ),
    "nodes of a learner": (
        lambda: apical.testing.check_rule(
            apical.value_and_grad(loss_fn, FA), PARAMS, X, nodes="unit"
        ),
        "`nodes` belongs in `apical.value_and_grad(",
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_cannot_be_checked_is_named(name):
    refuses(CHECKS[name])
