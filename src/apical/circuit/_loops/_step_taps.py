"""Taps in a step: what synapses and the loss read of a site, in place of its value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from .._evaluate._taps import Tap
from ._step import Step, reads, resolved


@dataclass(frozen=True, eq=False)
class StepTaps:
    """The sites of a step, or of a part of it, and the tap there.

    A step with taps reads the injected values after its own inputs, and returns the
    values of its sites after its own outputs.

    Attributes:
      sites: the variable and the name of each site, in the order of the step.
      tap: as in `Circuit.run`; None if the sites are read only.
      injected: the names of the injected values, in their order.
    """

    sites: Sequence[tuple[int, str]] = ()
    tap: Tap | None = None
    injected: Sequence[str] = field(default=())

    @cached_property
    def at(self) -> dict[int, list[str]]:
        """The sites of each variable."""
        found: dict[int, list[str]] = {}
        for number, name in self.sites:
            found.setdefault(number, []).append(name)
        return found

    @property
    def names(self) -> list[str]:
        """The names of the sites."""
        return [name for _, name in self.sites]

    def consumed(
        self, number: int, value: Any, injected: Mapping[str, Any], found: Any = None
    ) -> Any:
        """What the consumers of a variable read.

        Args:
          number: the variable.
          value: its value.
          injected: the injected values, by name.
          found: a dictionary to which the values at its sites are added.
        """
        for name in self.at[number]:
            if found is not None:
                found[name] = value
            if self.tap is not None:
                value = self.tap(name, value, injected.get(name))
        return value

    def consumed_after(self, step: Step, synapse: int, value: Any) -> Any:
        """What a synapse reads in place of a value, if it reads it through a site."""
        source = step.synapses[synapse].input
        needed = {source}
        for op in reversed(step.ops):
            if id(op) not in step.synapse_at and needed.intersection(op.outputs):
                needed.update(reads(op))
        before = [n for n, _ in self.sites if n in needed]
        if not before:
            return value
        still = {name: jnp.zeros_like(value) for name in self.injected}
        return self.consumed(before[0], value, still)


def shifted(value: Any, to: Any) -> Any:
    """The number `to`, with the derivative of `value`."""
    return jax.lax.stop_gradient(to) + (value - jax.lax.stop_gradient(value))


def taps_of(
    step: Step, sites: Mapping[int, Sequence[str]], tap: Tap | None, injected: Any
) -> StepTaps:
    """The taps at the sites of a step.

    Args:
      step: the step.
      sites: the names of the sites of each variable of the program.
      tap: the tap.
      injected: the injected values, by name.
    """
    found = list(_sites_of(step, sites))
    given = [name for _, name in found if name in injected]
    return StepTaps(found, tap, given)


def _sites_of(
    step: Step, sites: Mapping[int, Sequence[str]]
) -> Iterator[tuple[int, str]]:
    every: dict[Any, list[str]] = {}
    for number, names in sites.items():
        every.setdefault(resolved(number, step.same), []).extend(names)
    for op in step.ops:
        for number in op.outputs:
            yield from ((number, name) for name in every.get(number, ()))
