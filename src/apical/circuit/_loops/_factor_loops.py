"""The evaluation of a program whose loops have eligibility traces with two factors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._factor_scan import factor_scan
from ._factor_traces import Decays
from ._online_loops import OnlineLoops
from ._unit_loop import UnitLoop


@dataclass(eq=False)
class FactorLoops(OnlineLoops):
    """Loops whose derivatives are found by traces with two factors.

    Attributes:
      decays: the constants of their filters.
    """

    decays: Decays = field(kw_only=True)

    def scan(
        self,
        units: UnitLoop,
        fixed: Any,
        start: Any,
        xs: Any,
        traces: Any,
        filters: Any,
    ) -> tuple[list[Any], list[Any], Any]:
        """The units of a loop."""
        del filters  # read-outs that continue are refused
        return factor_scan(units, fixed, start, xs, traces, self.decays, self.chunk)
