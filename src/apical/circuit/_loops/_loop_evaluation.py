"""One evaluation of a program some of whose loops have a derivative of their own."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .._evaluate._control_flow import enter_scan
from .._evaluate._interpreter import Runner, Scope
from .._jaxpr import Op


@dataclass(eq=False)
class LoopEvaluation(abc.ABC):
    """The loops of a program that are not evaluated as others are.

    Attributes:
      loops: the loops, each with its `scans`.
      traces: what is known of the past at the start of each loop; None at the start of
        a sequence.
      after: the same at the end of each loop that continues, once it has run.
      has_sites: whether sites in the loops can be visited.
    """

    has_sites: ClassVar[bool] = False
    loops: Sequence[Any]
    traces: Sequence[Any] | None
    after: dict[int, Any] = field(default_factory=dict, init=False)

    @property
    def ids(self) -> frozenset[int]:
        """The scans, by identity."""
        return frozenset(id(loop.scans.op) for loop in self.loops)

    @property
    def traces_after(self) -> list[Any] | None:
        """What each loop ended with; None if nothing was given to start from."""
        if self.traces is None:
            return None
        return [self.after.get(i, start) for i, start in enumerate(self.traces)]

    def enter(self, runner: Runner, op: Op, scope: Scope, inject: Any) -> Sequence[Any]:
        """Run a scan; one of the loops with its own derivative.

        Raises:
          ValueError: for a site in one of these, where none can be visited.
        """
        for i, loop in enumerate(self.loops):
            if loop.scans.op is not op:
                continue
            inside = runner.inner[id(op)]
            if inside and not self.has_sites:
                raise ValueError(
                    f"The site {inside[0]!r} is in a loop whose derivative is found "
                    "forwards in time without visiting sites: pass `sites=()`."
                )
            return self.run(runner, i, scope, inject)
        return enter_scan(runner, op, scope, inject)

    @abc.abstractmethod
    def run(
        self, runner: Runner, i: int, scope: Scope, inject: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Run one of the loops, by its position."""
