"""The loops of a program whose carry depends on parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax

from .._analysis._graph import walk
from .._structure import Structure
from ._factors._factor_loops import FactorLoops
from ._factors._factor_traces import Decays, FactorTraces, factor_zeros
from ._influence._masked_loops import MaskedLoops
from ._influence._masks import Mask, find_masks, mask_bytes
from ._rank_one._rank_one_loops import RankOneLoops, StateLoop, find_state_loops
from ._rank_one._rank_one_scan import RankOne
from ._readouts._readout_filters import ReadoutFilter
from ._readouts._readout_traces import zero_traces
from ._steps._step_taps import taps_of
from ._streaming import (
    continuing,
    continuing_filters,
    require_streaming,
    require_streaming_states,
    within_step,
    without_credit,
)
from ._traces._online_loops import Loop, OnlineLoops, find_loops, readout_loops
from ._traces._unit_loop import Traces


class ProgramLoops:
    """The loops of a program, found when they are first asked for.

    Loops inside another one whose carry depends on parameters are a part of its step.
    """

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        self._of_units: dict[str, tuple[Loop, ...]] = {}
        self._of_states: tuple[StateLoop, ...] | None = None
        self._masks: dict[int, tuple[Mask, ...]] = {}

    def of_units(self, passes: str = "nothing") -> tuple[Loop, ...]:
        """The loops, and their units.

        Args:
          passes: what a recurrent synapse passes back in time: `"nothing"`; `"own"` for
            what leads from a unit to itself; or `"factors"` for nothing, by traces with
            two factors, which units without a memory have too.

        Raises:
          MixedUnitsError: if units depend on each other other than by synapses.
        """
        if passes not in ("nothing", "own", "factors"):
            raise ValueError(
                f"`passes` must be 'nothing', 'own' or 'factors', not {passes!r}."
            )
        if passes not in self._of_units:
            found = find_loops(
                self.structure, own=passes == "own", memoryless=passes == "factors"
            )
            self._of_units[passes] = found
        return self._of_units[passes]

    def of_states(self) -> tuple[StateLoop, ...]:
        """The loops, whatever their units."""
        if self._of_states is None:
            self._of_states = find_state_loops(self.structure)
        return self._of_states

    def within_step(self, passes: str = "nothing") -> tuple[str, ...]:
        """The names of the parameters that reach units only through another synapse.

        They have no trace, and learn from the credit of each step alone.
        """
        names = self.structure.leaves.names
        found = within_step(self.structure, self.of_units(passes))
        return tuple(names[i] for i in found)

    def without_credit(self, passes: str = "nothing") -> tuple[str, ...]:
        """The names of the parameters that recurrent synapses alone read.

        They are first values of states, and their gradient is zero.
        """
        names = self.structure.leaves.names
        found = without_credit(self.structure, self.of_units(passes))
        return tuple(names[i] for i in found)

    def cut_readouts(self) -> tuple[str, ...]:
        """The lines of loops of read-outs that continue from call to call.

        What reaches the weights below through their states is lost.
        """
        if self.structure.spec.carry is None:
            return ()
        return tuple(op.where for op in readout_loops(self.structure))

    def require_nodes(self, passes: str, rule: str) -> None:
        """Require that signals can be sent to every node inside the loops.

        Args:
          passes: as in `of_units`.
          rule: the name of the rule, for messages.
        """
        names = self.structure.names
        every = {n: [name] for n, name in names.items()}
        for loop in self.of_units(passes):
            parts = [p for p in (loop.parts.units, loop.parts.readouts) if p]
            found = {name for p in parts for name in taps_of(p, every, None, {}).names}
            picked = loop.scans.indexed.names(every).values()
            found.update(name for each in picked for name in each)
            inside = (s.op for body in loop.scans.op.bodies for s in walk(body))
            made = ((names.get(n), op) for op in inside for n in op.outputs)
            for name, op in made:
                if name is not None and name not in found:
                    raise ValueError(
                        f"{rule} cannot send a signal to the node {name!r} at "
                        f"{op.where}: it is inside a loop or a branch within the step, "
                        "or the same at every step. Use a `feedback` with another "
                        "backward path, such as 'random'."
                    )

    def require_streaming(self, passes: str | None, rule: str) -> None:
        """Require that what is known of the past can continue from call to call.

        Args:
          passes: as in `of_units`, for eligibility traces; None for estimates.
          rule: the name of the rule, for messages.
        """
        if passes is None:
            require_streaming_states(self.structure, self.of_states(), rule)
        else:
            require_streaming(self.structure, self.of_units(passes), rule)

    def online(
        self,
        passes: str,
        chunk: int,
        traces: Sequence[Any] | None,
        decays: Decays | None = None,
    ) -> OnlineLoops:
        """An evaluation that finds derivatives by eligibility traces.

        A rule that works on `circuit.with_loops(circuit.loops.online(...))` passes
        signals back through time along units alone.

        Args:
          passes: as in `of_units`.
          chunk: the number of steps that are computed at once.
          traces: what each loop starts with; None for zeros.
          decays: the filters of traces with two factors.
        """
        loops, kept, filters = self.of_units(passes), (), ()
        if traces is not None:
            kept = continuing(self.structure, loops)
            filters = self._filters(passes)
        if decays is not None:
            return FactorLoops(loops, traces, chunk, kept, filters, decays=decays)
        return OnlineLoops(loops, traces, chunk, kept, filters)

    def zero_traces(self, passes: str) -> tuple[Traces | FactorTraces, ...]:
        """The traces of each loop at the start of a sequence.

        Raises:
          ValueError: for traces with two factors, if a read-out continues from call to
            call.
        """
        pairs = zip(self.of_units(passes), self._filters(passes), strict=True)
        if passes == "factors":
            return tuple(factor_zeros(loop.units) for loop, _ in pairs)
        return tuple(zero_traces(loop.units, filters) for loop, filters in pairs)

    def trace_bytes(self, passes: str) -> list[int]:
        """The bytes of the traces of each loop."""
        shapes = jax.eval_shape(lambda: self.zero_traces(passes))

        def size(traces: Any) -> int:
            leaves = jax.tree.leaves(traces)
            return sum(math.prod(s.shape) * s.dtype.itemsize for s in leaves)

        return list(map(size, shapes))

    def _filters(self, passes: str) -> list[tuple[ReadoutFilter, ...]]:
        """For each loop, the read-outs that continue from call to call."""
        if self.structure.spec.carry is None:
            return [() for _ in self.of_units(passes)]
        found = [continuing_filters(self.structure, x) for x in self.of_units(passes)]
        for loop, filters in zip(self.of_units(passes), found, strict=True):
            if filters and passes == "factors":
                raise ValueError(
                    f"A read-out of the loop at {loop.scans.op.where} continues from "
                    "call to call. Its credit needs a filtered trace of each weight, "
                    "which is not a product of two factors. Start it anew in each "
                    "call, call with the whole sequence, or use `EProp`."
                )
        return found

    def rank_one(
        self, key: jax.Array, estimates: Sequence[RankOne] | None
    ) -> RankOneLoops:
        """An evaluation that estimates derivatives by a product of two vectors.

        Args:
          key: a random key.
          estimates: what each loop starts with; None for zeros.
        """
        return RankOneLoops(self.of_states(), estimates, key)

    def masks(self, order: int) -> tuple[Mask, ...]:
        """For each loop, the units that a parameter reaches within some steps.

        Args:
          order: the number of steps.

        Raises:
          InfluenceError: if a loop reads what another one computes.
        """
        if order not in self._masks:
            self._masks[order] = find_masks(self.structure, self.of_states(), order)
        return self._masks[order]

    def mask_bytes(self) -> int:
        """The bytes of the tables of what each parameter reaches, at most."""
        return mask_bytes(self.structure, self.of_states())

    def masked(self, order: int, column: jax.Array) -> MaskedLoops:
        """An evaluation for the forward-mode derivative by one parameter.

        Args:
          order: as in `masks`.
          column: the position of the parameter among all numbers that are learned.
        """
        return MaskedLoops(self.masks(order), None, column)
