"""`check_rule`: the rules of the library keep its laws."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from support.broken_rules import array, broken, loss_fn, problem, signals_changed
from support.check_on import check_on

import apical
from apical.rules import (
    OTTT,
    RTRL,
    UORO,
    Backpropagation,
    EfficientTraces,
    EProp,
    FeedbackAlignment,
    KolenPollack,
    PredictiveCoding,
    SignConcordance,
    SnAp,
    Sweep,
)
from apical.testing import LAWS, check_rule

RULES = {
    "backpropagation": Backpropagation(),
    "feedback": FeedbackAlignment(),
    "signs": SignConcordance(),
    "kolen_pollack": KolenPollack(),
    "fixed": PredictiveCoding(rate=0.7, steps=3),
    "free": PredictiveCoding(rate=0.1, steps=3, prediction="free"),
}


@pytest.mark.grid(keep=6)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_keeps_the_laws_on_every_problem(name):
    check_rule(RULES[name])


VARIANTS = {
    "gains": (FeedbackAlignment(gains="feedback"), ()),
    "removed": (
        FeedbackAlignment(removed_forward=0.3, removed_backward=0.3),
        ("value", "pull"),
    ),
    "magnitudes": (SignConcordance("batch", 0.8), ()),
    "plain_steps": (PredictiveCoding(rate=1.0), ()),
    "sweep": (PredictiveCoding(rate=1.0, inference=Sweep()), ()),
    "order": (PredictiveCoding(rate=0.5, inference=Sweep(order=("a",))), ()),
    "optax": (PredictiveCoding(steps=2, inference=optax.adam(0.1)), ()),
}


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize(("kept", "skip"), VARIANTS.values(), ids=VARIANTS)
def test_so_do_its_variants(kept, skip):
    check_on(kept, **problem(), skip=skip)


NO_SIGNALS = ("signals", "pull")
THROUGH_TIME = {
    "SnAp": (SnAp(), NO_SIGNALS),
    "e-prop, adaptive": (EProp("adaptive"), NO_SIGNALS),
    "efficient traces": (EfficientTraces(), NO_SIGNALS),
    "RTRL": (RTRL(), NO_SIGNALS),
    "UORO": (UORO(), (*NO_SIGNALS, "batch", "through_time")),
}
STREAMING = {
    "e-prop": EProp("random"),
    "efficient traces": EfficientTraces(decay=0.6),
    "SnAp": SnAp(),
    "OTTT": OTTT(),
    "RTRL": RTRL(),
}


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize(("kept", "skip"), THROUGH_TIME.values(), ids=THROUGH_TIME)
def test_so_do_rules_through_time(kept, skip):
    check_rule(kept, skip=skip)


@pytest.mark.parametrize("name", STREAMING)
def test_calls_of_a_rule_through_time_join(name):
    check_rule(STREAMING[name], skip=set(LAWS) - {"through_time"})


def test_a_law_can_be_left_out_by_name():
    found = broken(**signals_changed(lambda t: 2 * t))
    check_on(found, **problem(), skip=("pull",))
    with pytest.raises(ValueError, match=r"`skip` names .'pul'.; the laws are"):
        check_on(found, **problem(), skip=("pul",))


def test_a_rule_may_refuse_a_problem_but_not_all():
    def init(self, circuit, key, params, args):
        if circuit.depth > deepest:
            raise ValueError("too deep")
        return ()

    picky, deepest = broken(init=init), 0
    with pytest.raises(
        AssertionError, match=r"refuses every problem: .*'residual': 'to"
    ):
        check_rule(picky)
    deepest = 2  # not the recurrent network
    check_rule(picky, skip=set(LAWS) - {"value"})


def test_a_learner_needs_arguments_and_a_rule_has_none():
    learner = apical.value_and_grad(loss_fn, Backpropagation())
    given = problem()
    with pytest.raises(TypeError, match=r"`check_rule\(learner, params, \*args\)`"):
        check_rule(learner, given["params"])
    with pytest.raises(TypeError, match=r"`learner = apical.value_and_grad\(loss_fn"):
        check_rule(Backpropagation(), given["params"], *given["args"])


def test_the_description_of_a_learner_is_that_of_its_problem():
    """Examples on the last axis: with another axis this is another circuit."""

    def columns(params, x):
        return loss_fn(params, x.T)

    given = {**problem(), "loss_fn": columns, "args": (array(3, 5),)}
    check_on(FeedbackAlignment(), **given, batch_axes=1)
    with pytest.raises(AssertionError, match="breaks the law 'batch'"):
        check_on(FeedbackAlignment(), **given, batch_axes=0)


class Module(NamedTuple):
    """A model whose leaves are not all arrays, nor all learned."""

    a: Any
    b: Any
    order: Any
    activation: Any


def test_a_model_may_have_leaves_of_any_kind():
    def with_module(model, x):
        h = model.activation(x @ model.a)[:, model.order]
        return jnp.mean((h @ model.b) ** 2)

    model = Module(array(3, 4), array(4, 2), jnp.arange(4)[::-1], jax.nn.tanh)
    for found in (FeedbackAlignment(), KolenPollack()):
        check_on(found, with_module, model, (array(5, 3),))
    assert apical.trace(with_module)(model, array(5, 3)).leaves.names == ("a", "b")
