"""Precision: how much an error counts, at each node.

    E(v) = sum_n pi_n |v_n - p_n|^2 / 2 + pull L

| given    | a number, or one for each node                                           |
| decaying | pi(t) = last + (first - last) exp(-t / time), t: the tick of inference   |
| learned  | d log(pi_n) = rate (1 - pi_n <|e_n|^2> / size): descends E - log det / 2 |
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import jax.numpy as jnp

from ...circuit import Circuit
from .._checks import check_positive

Precisions = dict[str, Any]


class Precision(Protocol):
    """What weighs the errors, and may learn from them."""

    def init(self, circuit: Circuit) -> Any:
        """Its state."""
        ...

    def at(self, circuit: Circuit, state: Any) -> Callable[[Any], Precisions]:
        """The precisions of the nodes at a tick; None: at the end."""
        ...

    def learned(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """Its state after a batch, from the errors at the end."""
        ...


@dataclass(frozen=True)
class GivenPrecision:
    """The same at every tick: what a number or a mapping stands for.

    Source: Friston 2005, Philosophical Transactions of the Royal Society B 360.
    """

    precision: Any

    citation: ClassVar[str] = (
        "@article{friston2005theory, title={A Theory of Cortical Responses}, "
        "author={Friston, Karl}, journal={Philosophical Transactions of the Royal"
        " Society B}, volume={360}, year={2005}}"
    )

    def init(self, circuit: Circuit) -> Any:
        """Check that the names are those of the nodes."""
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
        """At every tick the same."""
        del state
        return lambda tick: self.by_node(circuit)

    def learned(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """Nothing is learned."""
        del circuit, errors
        return state


@dataclass(frozen=True)
class DecayingPrecision:
    """High at first, so that errors travel, then as usual.

        pi(t) = last + (first - last) exp(-t / time)

    The schedule in time is that of Qi et al. 2025 for all nodes at once; their form by
    layer follows where the signal has come to, which a precision that is high
    everywhere at first includes.

    Args:
      first: at the first tick.
      last: where it goes.
      time: ticks until it has come closer by a factor of e.

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
        """By the tick; at the end the last."""
        del state

        def precisions(tick: Any) -> Precisions:
            fading = 0.0 if tick is None else jnp.exp(-tick / self.time)
            value = self.last + (self.first - self.last) * fading
            return {n.name: value for n in circuit.nodes}

        return precisions

    def learned(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """Nothing is learned."""
        del circuit, errors
        return state


@dataclass(frozen=True)
class LearnedPrecision:
    """One for each node, learned to be one over the variance of its errors.

        F = E - sum_n size_n log(pi_n) / 2,     d log(pi_n) = - (2 rate / size_n) dF

    Args:
      rate: of the logarithm, for each batch.
      highest: no precision becomes larger: where errors vanish it would have no end.
        Precisions stiffen the energy: where `rate` times the curvature, which grows
        with them, comes above 2, values no longer settle and learning falls apart
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
        return lambda tick: found

    def learned(self, circuit: Circuit, state: Any, errors: Any) -> Any:
        """One step for each batch: the errors are averaged over its examples."""
        del circuit
        top = jnp.log(self.highest)

        def step(log: Any, error: Any) -> Any:
            spread = jnp.mean(jnp.square(jnp.abs(error)))
            return jnp.minimum(log + self.rate * (1 - jnp.exp(log) * spread), top)

        return {name: step(state[name], errors[name]) for name in state}


def as_precision(given: Any) -> Precision | None:
    """A number or a mapping as what it stands for."""
    if isinstance(given, tuple):
        given = dict(given)
    if isinstance(given, (numbers.Real, Mapping)) and not isinstance(given, bool):
        return GivenPrecision(given)
    kinds = (GivenPrecision, DecayingPrecision, LearnedPrecision)
    if given is not None and not isinstance(given, kinds):
        raise TypeError(
            "`precision` must be a number, a mapping from nodes to numbers, "
            f"`DecayingPrecision()` or `LearnedPrecision()`, not {given!r}."
        )
    return given
