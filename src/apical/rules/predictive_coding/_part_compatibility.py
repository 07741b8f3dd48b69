"""Checks that the parts of predictive coding are compatible."""

from __future__ import annotations

from typing import Any, Protocol

from .._field_checks import check_choice, check_positive, check_whole
from ..feedback._relaxation_feedback import AbstractFeedback
from ._amortised_start import AmortisedStart
from ._nudge import AbstractNudge
from ._precision import AbstractPrecision, as_precision
from .inference._abstract import AbstractInference
from .inference._gradient_descent import GradientDescent

# Each optional part: its abstract class, and the implementation named in messages.
_PARTS: tuple[tuple[str, type, str], ...] = (
    ("nudge", AbstractNudge, "Nudge"),
    ("feedback", AbstractFeedback, "RandomFeedback"),
    ("amortised", AmortisedStart, "AmortisedStart"),
)


class Composed(Protocol):
    """A rule that is composed of these parts."""

    @property
    def steps(self) -> int | None: ...
    @property
    def rate(self) -> Any: ...
    @property
    def prediction(self) -> str: ...
    @property
    def inference(self) -> Any: ...
    @property
    def precision(self) -> Any: ...
    @property
    def nudge(self) -> Any: ...
    @property
    def feedback(self) -> Any: ...
    @property
    def derivative(self) -> bool: ...
    @property
    def tolerance(self) -> Any: ...
    @property
    def free(self) -> Any: ...
    @property
    def amortised(self) -> Any: ...


def as_inference(given: Any) -> AbstractInference:
    """The inference scheme given by a rule's argument `inference`."""
    if isinstance(given, AbstractInference):
        return given
    steps = callable(getattr(given, "init", None)) and callable(
        getattr(given, "update", None)
    )
    if given is not None and (isinstance(given, type) or not steps):
        raise TypeError(
            "`inference` must be an optax transformation, as `optax.adam(0.1)` makes "
            "one, or a scheme of `apical.rules`, as `Sweep()`, or another "
            f"`AbstractInference` of `apical.rules.tools`, not {given!r}."
        )
    return GradientDescent(given)


def check_parts(rule: Composed) -> None:
    """Raise for parts of the wrong type, and for incompatible parts."""
    check_choice(rule.prediction, "prediction", ("fixed", "free"))
    if rule.steps is not None:
        check_whole(rule.steps, "steps")
    check_positive(rule.rate, "rate")
    check_positive(rule.tolerance, "tolerance", or_zero=True)
    for name, kind, example in _PARTS:
        given = getattr(rule, name)
        if given is not None and not isinstance(given, kind):
            more = "" if kind.__name__ == example else f", an `{kind.__name__}`"
            raise TypeError(
                f"`{name}` must be `apical.rules.{example}()`{more} or None, not "
                f"{given!r}."
            )
    inference, precision = as_inference(rule.inference), as_precision(rule.precision)
    for part in (rule.inference, rule.nudge, rule.feedback):
        _check_hash(part)
    if isinstance(rule.precision, AbstractPrecision):
        _check_hash(rule.precision)
    _check_prediction(rule, inference)
    if precision is not None:
        _check_prediction(rule, precision)
    _check_inference(rule, inference)
    _check_free(rule, inference)


def _check_hash(part: Any) -> None:
    try:
        hash(part)
    except TypeError as error:
        raise TypeError(
            f"A `{type(part).__name__}` has no hash, and parts of a rule are part of "
            "its type: make it a frozen dataclass (`@dataclass(frozen=True)`) of "
            f"numbers, strings and tuples. ({error})"
        ) from error


def _check_prediction(rule: Composed, part: Any) -> None:
    needed = part.requires_prediction
    if needed is None or needed == rule.prediction:
        return
    raise ValueError(
        f"`{type(part).__name__}` needs `prediction={needed!r}`"
        + (
            ": with fixed predictions the steps are linear, and `Sweep()` is exact at "
            "once."
            if needed == "free"
            else ": it works at the feed-forward values alone."
        )
    )


def _check_inference(rule: Composed, inference: AbstractInference) -> None:
    name = f"`{type(inference).__name__}`"
    if inference.requires_derivative and not rule.derivative:
        raise ValueError(
            f"{name} descends the energy itself, so it needs `derivative=True`; use "
            "steps of the values."
        )
    if not inference.supports_precision and rule.precision is not None:
        raise ValueError(
            f"{name} needs equal weights of all errors: leave `precision` at None."
        )
    if not inference.supports_feedback and rule.feedback is not None:
        raise ValueError(
            f"{name} passes errors back through the forward weights: leave "
            "`feedback` at None."
        )
    if not inference.supports_tolerance and rule.tolerance:
        raise ValueError(f"{name} does not stop at a residual: leave `tolerance` at 0.")


def _check_free(rule: Composed, inference: AbstractInference) -> None:
    """The requirements of free arguments on the other parts."""
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
    if not inference.supports_free_arguments:
        raise ValueError(
            f"`{type(inference).__name__}` moves the values of nodes alone: with "
            "`free` let `inference` be an optax transformation, "
            "`DifferentialEquation()` or None."
        )
    descent = rule.derivative and rule.feedback is None
    if not descent or rule.nudge is not None:
        raise ValueError(
            "Free arguments descend the energy itself: with `free` leave `derivative` "
            "at True, and `feedback` and `nudge` at None."
        )
