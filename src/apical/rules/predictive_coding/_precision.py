"""Precision: the weight pi_n of the error at each node.

    E(v) = sum_n pi_n |v_n - p_n|^2 / 2 + pull L

| given    | a number, or one for each node                                           |
| decaying | pi(t) = last + (first - last) exp(-t / time), t: the step of inference   |
| learned  | d log(pi_n) = rate (1 - pi_n <|e_n|^2> / size): descends E - log det / 2 |
"""

from __future__ import annotations

import abc
import numbers
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import jax.numpy as jnp

from ...circuit import Circuit, mean_over_devices
from .._field_checks import check_positive
from .inference._sweep import Sweep

Precisions = dict[str, Any]


class AbstractPrecision(abc.ABC):
    """The weight of the error of each node. Subclass it to write your own.

    Write it as a frozen dataclass: it must be hashable, because it is a static field of
    the rule. Numbers that change from call to call belong in its state.

    Attributes:
      requires_prediction: `"fixed"` or `"free"` if it supports only these.
      needs: biologically implausible requirements, in the words of `Rule.needs`.
      citation: the source, as BibTeX.

    Example:
      >>> from dataclasses import dataclass
      >>> import apical
      >>> from apical.rules.tools import AbstractPrecision
      >>> @dataclass(frozen=True)
      ... class TwiceAtFirst(AbstractPrecision):
      ...     def init(self, circuit):
      ...         return ()
      ...     def at(self, circuit, state):
      ...         def precisions(step):
      ...             value = 1.0 if step is None else 1.0 + (step == 0)
      ...             return {node.name: value for node in circuit.nodes}
      ...         return precisions
      >>> rule = apical.rules.PredictiveCoding(precision=TwiceAtFirst())
    """

    requires_prediction: ClassVar[Literal["fixed", "free"] | None] = None
    needs: ClassVar[tuple[str, ...]] = ()
    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def init(self, circuit: Circuit) -> Any:
        """The initial state; raise ValueError for unsupported circuits."""

    @abc.abstractmethod
    def at(self, circuit: Circuit, state: Any) -> Callable[[Any], Precisions]:
        """The precisions, as a function of the step (None: after the last step).

        It returns the precision of every node by name: numbers, or arrays that
        broadcast against the node.
        """

    def update(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """The state after a call, given the final errors; unchanged by default."""
        del circuit, errors
        return state


@final
@dataclass(frozen=True)
class GivenPrecision(AbstractPrecision):
    """A constant precision: one number, or one for each node.

    Source: Friston 2005, Philosophical Transactions of the Royal Society B 360.
    """

    precision: Any

    citation: ClassVar[str] = (
        "@article{friston2005theory, title={A Theory of Cortical Responses}, "
        "author={Friston, Karl}, journal={Philosophical Transactions of the Royal"
        " Society B}, volume={360}, year={2005}}"
    )

    def init(self, circuit: Circuit) -> Any:
        """No state; raise for names that are not node names."""
        given = self.by_node(circuit)
        names = [n.name for n in circuit.nodes]
        if set(given) != set(names):
            wrong = sorted(set(given) ^ set(names))[0]
            raise ValueError(
                f"`precision` must have a number for every node; {wrong!r} is missing "
                f"or unknown. The nodes are {names}."
            )
        for name, value in given.items():
            check_positive(value, f"precision[{name!r}]")
        return ()

    def by_node(self, circuit: Circuit) -> Precisions:
        """The precision of each node."""
        if isinstance(self.precision, Mapping):
            return dict(self.precision)
        return {n.name: self.precision for n in circuit.nodes}

    def at(self, circuit: Circuit, state: Any) -> Callable[[Any], Precisions]:
        """The constant precisions."""
        del state
        return lambda step: self.by_node(circuit)


@final
@dataclass(frozen=True)
class DecayingPrecision(AbstractPrecision):
    """A precision that decays from `first` to `last` during inference.

        pi(t) = last + (first - last) exp(-t / time)

    A high initial precision lets errors propagate faster. Qi et al. 2025 use a schedule
    for each layer, which follows the signal from the loss; here all nodes have the same
    schedule.

    Args:
      first: the precision at the first step.
      last: the limit of the precision.
      time: the number of steps in which the distance to the limit falls by a factor of
        e.

    Source: Qi et al. 2025, arXiv:2506.23800.
    """

    first: float = 10.0
    last: float = 1.0
    time: float = 5.0

    citation: ClassVar[str] = (
        "@misc{qi2025towards, title={Towards the Training of Deeper Predictive "
        "Coding Neural Networks}, author={Qi, Chang and Lukasiewicz, Thomas and "
        "Salvatori, Tommaso}, note={arXiv:2506.23800}, year={2025}}"
    )

    def __post_init__(self) -> None:
        for name in ("first", "last", "time"):
            check_positive(getattr(self, name), name)

    def init(self, circuit: Circuit) -> Any:
        """No state."""
        del circuit
        return ()

    def at(self, circuit: Circuit, state: Any) -> Callable[[Any], Precisions]:
        """The precisions at a step; `last` after the last step."""
        del state

        def precisions(step: Any) -> Precisions:
            fading = 0.0 if step is None else jnp.exp(-step / self.time)
            value = self.last + (self.first - self.last) * fading
            return {n.name: value for n in circuit.nodes}

        return precisions


@final
@dataclass(frozen=True)
class LearnedPrecision(AbstractPrecision):
    """A learned precision for each node: the inverse variance of its errors.

        F = E - sum_n size_n log(pi_n) / 2,     d log(pi_n) = - (2 rate / size_n) dF

    Args:
      rate: the learning rate of log(pi), per batch.
      highest: the upper bound of every precision, which otherwise diverges where errors
        vanish. The curvature of the energy grows with the precisions: if the rate of
        inference times the curvature exceeds 2, values do not settle and learning fails
        (see `apical.measure.regime`). Choose it together with that rate.

    Source: Friston 2005, Philosophical Transactions of the Royal Society B 360.
    """

    rate: float = 0.01
    highest: float = 1e3

    citation: ClassVar[str] = (
        "@article{friston2005theory, title={A Theory of Cortical Responses}, "
        "author={Friston, Karl}, journal={Philosophical Transactions of the Royal"
        " Society B}, volume={360}, year={2005}}"
    )

    def __post_init__(self) -> None:
        for name in ("rate", "highest"):
            check_positive(getattr(self, name), name)

    def init(self, circuit: Circuit) -> Any:
        """The logarithms of the precisions: 0."""
        return {n.name: jnp.zeros(()) for n in circuit.nodes}

    def at(self, circuit: Circuit, state: Any) -> Callable[[Any], Precisions]:
        """The current learned precisions."""
        del circuit
        found = {name: jnp.exp(value) for name, value in state.items()}
        return lambda step: found

    def update(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """One step per batch, with errors averaged over its examples."""
        del circuit
        top = jnp.log(self.highest)

        def step(log: Any, error: Any) -> Any:
            spread = mean_over_devices(jnp.mean(jnp.square(jnp.abs(error))))
            return jnp.minimum(log + self.rate * (1 - jnp.exp(log) * spread), top)

        return {name: step(state[name], errors[name]) for name in state}


def as_precision(given: Any) -> AbstractPrecision | None:
    """A precision from the argument `precision`: a number, mapping, part or None."""
    if isinstance(given, tuple):
        given = dict(given)
    if isinstance(given, (numbers.Real, Mapping)) and not isinstance(given, bool):
        return GivenPrecision(given)
    if given is not None and not isinstance(given, AbstractPrecision):
        raise TypeError(
            "`precision` must be a number, a mapping from nodes to numbers, "
            "`DecayingPrecision()`, `LearnedPrecision()` or another `AbstractPrecision`"
            f" of `apical.rules.tools`, not {given!r}."
        )
    return given


def init_precision(precision: AbstractPrecision, circuit: Circuit) -> Any:
    """The initial state; raises if a node has no precision."""
    state = precision.init(circuit)
    found = precision.at(circuit, state)(None)
    missing = [n.name for n in circuit.nodes if n.name not in found]
    if missing:
        raise ValueError(
            f"`{type(precision).__name__}.at` must return a precision for every node; "
            f"{missing[0]!r} is missing."
        )
    return state


def warn_of_growing_errors(
    rate: Any, inference: Any, precision: AbstractPrecision | None, circuit: Circuit
) -> None:
    """Warn of a given step of which the error of a node grows, |1 - rate pi| >= 1.

    Args:
      rate: the step size, given or by default; numbers alone are judged.
      inference: the scheme; plain steps and sweeps alone are judged.
      precision: of the errors.
      circuit: of the loss function.
    """
    plain = inference is None or isinstance(inference, Sweep)
    if not (plain and isinstance(rate, (int, float))):
        return
    if not isinstance(precision, GivenPrecision):
        return
    found = precision.by_node(circuit)
    name = max(found, key=lambda each: found[each], default="")
    if name and rate * found[name] >= 2:
        grows = abs(1 - rate * found[name])
        warnings.warn(
            f"Inference cannot settle: with `rate={rate:g}` and the precision "
            f"{found[name]:g} of node {name!r}, a step multiplies its error by "
            f"{-grows:g}. Set `rate` below 2 / {found[name]:g} = "
            f"{2 / found[name]:.3g}, or leave it out: with fixed predictions each node "
            "then steps by 1 / precision, with free ones plain steps follow the "
            "curvature that they measure.",
            UserWarning,
            stacklevel=4,
        )
