"""Precision: how much an error counts, at each node.

    E(v) = sum_n pi_n |v_n - p_n|^2 / 2 + pull L

| given    | a number, or one for each node                                           |
| decaying | pi(t) = last + (first - last) exp(-t / time), t: the step of inference   |
| learned  | d log(pi_n) = rate (1 - pi_n <|e_n|^2> / size): descends E - log det / 2 |
"""

from __future__ import annotations

import abc
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import jax.numpy as jnp

from ...circuit import Circuit
from .._field_checks import check_positive

Precisions = dict[str, Any]


class AbstractPrecision(abc.ABC):
    """How much the error of each node counts. Subclass it to write your own.

    Write it as a frozen dataclass: it is part of the rule's type and must have a hash.
    Numbers that change from call to call belong in its state.

    Attributes:
      requires_prediction: `"fixed"` or `"free"` where it works with these alone.
      needs: what it needs that a neuron does not have, in the words of the docs.
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
        """The state before the first call; refuse here what cannot work."""

    @abc.abstractmethod
    def at(self, circuit: Circuit, state: Any) -> Callable[[Any], Precisions]:
        """A function of the step of inference, or None for its end.

        It returns the precision of every node by name: numbers, or arrays that
        broadcast against the node.
        """

    def update(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """The state after a call, from the errors at the end; by default the same."""
        del circuit, errors
        return state


@final
@dataclass(frozen=True)
class GivenPrecision(AbstractPrecision):
    """The same at every step: a number, or one for each node.

    Source: Friston 2005, Philosophical Transactions of the Royal Society B 360.
    """

    precision: Any

    citation: ClassVar[str] = (
        "@article{friston2005theory, title={A Theory of Cortical Responses}, "
        "author={Friston, Karl}, journal={Philosophical Transactions of the Royal"
        " Society B}, volume={360}, year={2005}}"
    )

    def init(self, circuit: Circuit) -> Any:
        """No state; refuse names that are not those of the nodes."""
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
        """One for each node."""
        if isinstance(self.precision, Mapping):
            return dict(self.precision)
        return {n.name: self.precision for n in circuit.nodes}

    def at(self, circuit: Circuit, state: Any) -> Callable[[Any], Precisions]:
        """The same at every step."""
        del state
        return lambda step: self.by_node(circuit)


@final
@dataclass(frozen=True)
class DecayingPrecision(AbstractPrecision):
    """High at first, so that errors travel, then as usual.

        pi(t) = last + (first - last) exp(-t / time)

    The schedule in time is that of Qi et al. 2025 for all nodes at once. Theirs is by
    layer, and follows how far the signal has come; a precision that is high everywhere
    at first includes it.

    Args:
      first: at the first step.
      last: its limit.
      time: the steps in which the distance to the limit falls by a factor of e.

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
        """By the step; at the end the last."""
        del state

        def precisions(step: Any) -> Precisions:
            fading = 0.0 if step is None else jnp.exp(-step / self.time)
            value = self.last + (self.first - self.last) * fading
            return {n.name: value for n in circuit.nodes}

        return precisions


@final
@dataclass(frozen=True)
class LearnedPrecision(AbstractPrecision):
    """One for each node, learned to be one over the variance of its errors.

        F = E - sum_n size_n log(pi_n) / 2,     d log(pi_n) = - (2 rate / size_n) dF

    Args:
      rate: of the logarithm, for each batch.
      highest: the bound of every precision, which would grow without end where errors
        vanish. Precisions stiffen the energy: where `rate` times the curvature, which
        grows with them, exceeds 2, values no longer settle and learning fails
        (`apical.measure.regime` shows it). Choose it with the rate of inference.

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
        """As learned so far."""
        del circuit
        found = {name: jnp.exp(value) for name, value in state.items()}
        return lambda step: found

    def update(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """One step for each batch: the errors are averaged over its examples."""
        del circuit
        top = jnp.log(self.highest)

        def step(log: Any, error: Any) -> Any:
            spread = jnp.mean(jnp.square(jnp.abs(error)))
            return jnp.minimum(log + self.rate * (1 - jnp.exp(log) * spread), top)

        return {name: step(state[name], errors[name]) for name in state}


def as_precision(given: Any) -> AbstractPrecision | None:
    """What a user passes as `precision`: a number, a mapping, a part or None."""
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
    """Its state; refuse a precision that leaves out a node."""
    state = precision.init(circuit)
    found = precision.at(circuit, state)(None)
    missing = [n.name for n in circuit.nodes if n.name not in found]
    if missing:
        raise ValueError(
            f"`{type(precision).__name__}.at` must return a precision for every node; "
            f"{missing[0]!r} is missing."
        )
    return state
