"""Which parts of predictive coding fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optax

from .._checks import check_choice, check_positive, check_whole
from ._feedback import RandomFeedback
from ._latent_arguments import AmortisedStart
from ._nudge import Nudge
from ._precision import as_precision
from .inference._error_space import ConjugateGradients, ErrorRelaxation
from .inference._gradient_descent import Relaxation
from .inference._ode import DifferentialEquation
from .inference._sweep import Sweep, ZeroDivergence

if TYPE_CHECKING:
    from ._predictive_coding import PredictiveCoding

Inference = (
    Sweep
    | ErrorRelaxation
    | ConjugateGradients
    | DifferentialEquation
    | ZeroDivergence
    | optax.GradientTransformation
)
SOLVERS = (ErrorRelaxation, ConjugateGradients)
_FREE_ALONE = (ErrorRelaxation, ConjugateGradients, ZeroDivergence)
_ROUNDS = (Sweep, ConjugateGradients, ZeroDivergence)
_WAYS = (Relaxation, Sweep, DifferentialEquation, *_FREE_ALONE)
_PARTS = (("nudge", Nudge), ("feedback", RandomFeedback), ("amortised", AmortisedStart))


def way_of(inference: Any) -> Any:
    """The way of inference that the rule was given, or steps of the values."""
    return inference if isinstance(inference, _WAYS) else Relaxation(inference)


def check_parts(rule: PredictiveCoding) -> None:
    """Refuse parts that are none, and parts that do not fit together."""
    check_choice(rule.prediction, "prediction", ("fixed", "free"))
    if rule.steps is not None:
        check_whole(rule.steps, "steps")
    check_positive(rule.rate, "rate")
    check_positive(rule.tolerance, "tolerance", or_zero=True)
    as_precision(rule.precision)
    for name, kind in _PARTS:
        given = getattr(rule, name)
        if given is not None and not isinstance(given, kind):
            raise TypeError(
                f"`{name}` must be `apical.rules.{kind.__name__}()` or None, not "
                f"{given!r}."
            )
    _check_inference(rule)
    _check_free(rule)


def _check_inference(rule: PredictiveCoding) -> None:
    given = rule.inference
    if given is not None and not isinstance(given, (*_WAYS, tuple)):
        ways = ", ".join(f"`{kind.__name__}()`" for kind in _WAYS[1:])
        raise TypeError(
            "`inference` must be an optax transformation, as `optax.adam(0.1)` "
            f"makes one, or one of {ways}, not {given!r}."
        )
    way = way_of(given)
    if isinstance(way, _FREE_ALONE):
        _check_free_alone(rule, type(way).__name__)
    if isinstance(way, ZeroDivergence) and rule.precision is not None:
        raise ValueError(
            "`ZeroDivergence` has no divergence from backpropagation only where "
            "every error counts alike: leave `precision` at None."
        )
    if isinstance(way, _ROUNDS) and rule.tolerance:
        raise ValueError(
            f"`{type(way).__name__}` takes as many rounds as it is told: leave "
            "`tolerance` at 0."
        )


def _check_free_alone(rule: PredictiveCoding, name: str) -> None:
    if rule.prediction == "fixed":
        raise ValueError(
            f"`{name}` needs `prediction='free'`: with fixed predictions the "
            "steps are linear, and `Sweep()` is exact at once."
        )
    if not rule.derivative:
        raise ValueError(
            f"`{name}` descends the energy itself, so it needs "
            "`derivative=True`; use steps of the values."
        )


def _check_free(rule: PredictiveCoding) -> None:
    """What goes with arguments that are inferred."""
    if rule.free is None:
        if rule.amortised is not None:
            raise ValueError(
                "`amortised` guesses the arguments that are free: say which by `free`. "
                "(Values start at a forward pass, so they need no guess.)"
            )
        return
    if not callable(rule.free) and not isinstance(rule.free, tuple):
        raise TypeError(
            "`free` must be a tuple with True or False for each argument after "
            "`params`, or a function of them that returns one (then with arrays of "
            f"True and False too), not {rule.free!r}."
        )
    if rule.prediction == "fixed":
        raise ValueError(
            "`free` needs `prediction='free'`: fixed predictions are those of the "
            "arguments as given."
        )
    if not isinstance(way_of(rule.inference), (Relaxation, DifferentialEquation)):
        raise ValueError(
            f"`{type(rule.inference).__name__}` moves the values of nodes alone: with "
            "`free` let `inference` be an optax transformation, "
            "`DifferentialEquation()` or None."
        )
    descent = rule.derivative and rule.feedback is None
    if not descent or rule.nudge is not None:
        raise ValueError(
            "Free arguments descend the energy itself: with `free` leave `derivative` "
            "at True, and `feedback` and `nudge` at None."
        )
