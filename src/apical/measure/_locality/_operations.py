"""Single operations on what is known of values: products, marks, and all others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...circuit import (
    LINEAR_NOT_REWRITTEN,
    SYNAPTIC,
    USE_MARKS,
    Literal,
    Op,
    Program,
    Use,
    is_concrete,
    known_primitives,
    summed_axes,
)
from .._flops import HEAVY
from ._parts import parts_after, whole
from ._values import NOTHING, SIGN, ZERO, Parts, Raw, Seen, Source, Value, join

_LINEAR = SYNAPTIC | LINEAR_NOT_REWRITTEN
_PRODUCTS = _LINEAR | {"mul", "div"}
_COMPARISONS = frozenset({"gt", "lt", "ge", "le", "eq", "ne"})
# The axes of the result are those of the first operand.
_KEEPS_AXES = frozenset(
    {"convert_element_type", "copy", "copy_p", "name", "neg", "sign", "rev", "mul"}
    | {"div", "reduce_precision", "optimization_barrier", "add", "sub", "abs"}
    | {"sharding_constraint", "stop_gradient"}
)


_KEEPS_ZEROS = _KEEPS_AXES | {
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "concatenate"),
    *("pad", "reduce_sum", "add_any", "integer_pow", "square", "expand_dims", "gather"),
    *("dynamic_slice", "tanh", "sin", "select_n", "max", "min", "dynamic_update_slice"),
}


class Operations:
    """What is known after an operation, from what is known of its operands.

    Args:
      program: the program.
      uses: the uses of weights by the forward computation, by number.
      examples: the number of examples, to recognise one number for each; None: do not.
      tell: whether each leaf sends a signal from its uses.

    Attributes:
      at_output: what is known of the output of the network.
      at_result: what is known of the result of each use, by its number.
    """

    def __init__(
        self,
        program: Program,
        uses: Sequence[Use],
        examples: int | None = None,
        tell: bool = False,
    ) -> None:
        self.program, self.uses, self.tell = program, uses, tell
        self.examples = examples
        self.known = known_primitives()
        self.at_output = NOTHING
        self.at_result: dict[int, Value] = {}

    def reads(
        self, op: Op, values: Sequence[Value], marked: int | None
    ) -> tuple[str | None, ...] | None:
        """The channel by which each operand's weights are used; None: they are not.

        Args:
          op: the operation.
          values: its operands.
          marked: the number of the use, if its result passes that mark.
        """
        if not any(v.raw for v in values) or _without_zeros(op, values) is ZERO:
            return None
        own = marked is not None and any(
            raw.use == marked for v in values for raw in v.raw.values()
        )
        if not own and not self._meets(op, values):
            return None
        found = [self._channel(op, i, v, marked) for i, v in enumerate(values)]
        if any(v.holds_parameters for v in values):
            # What meets a parameter is a value, also if the state holds it.
            found = [None if c == "feedback" else c for c in found]
        return tuple(found)

    def _meets(self, op: Op, values: Sequence[Value]) -> bool:
        """Whether a weight meets a signal in a product."""
        if op.name not in _PRODUCTS:
            return False
        for i, v in enumerate(values):
            others = [w for j, w in enumerate(values) if j != i]
            if v.raw and any(w.signal for w in others):
                return True
            # The state may hold values of nodes: a product with them is a use.
            kept = any(w.raw and not w.holds_parameters for w in others)
            # So is one of a marked weight with constants, as the first values may be.
            marked = any(raw.use is not None for raw in v.raw.values())
            if op.name in _LINEAR and (marked or (kept and v.holds_parameters)):
                return True
        return False

    def _channel(self, op: Op, i: int, value: Value, marked: int | None) -> str | None:
        if not value.raw:
            return None
        params = [raw for source, raw in value.raw.items() if source.tree == "params"]
        if not params:
            return None if value.signal else "feedback"
        numbers = {raw.use for raw in params}
        if marked is not None and numbers == {marked}:
            return "forward"
        (number, *others) = numbers
        if number is None or others:
            return "direct"
        use = self.uses[number]
        if use.kind == "gain":
            return "gain"
        if use.kind == "other":
            return "direct"
        axes = params[0].axes
        summed = summed_axes(op, i)
        if op.name == use.operation and axes is not None and summed is not None:
            original = {axes[k] for k in summed}
            if original == use.summed:
                return "second"
        return "reverse"

    def after(
        self,
        op: Op,
        values: Sequence[Value],
        marked: int | None,
        channels: Sequence[str | None] | None,
    ) -> Value:
        """What is known of the results of an operation without a body to enter."""
        left = _without_zeros(op, values)
        if left is not None and (left is ZERO or channels is None):
            return left
        if op.name == "name":
            return self.named(str(op.params["name"]), values[0], op)
        made = whole(join(map(whole, values)))
        if op.bodies and op.name not in ("custom_jvp_call", "custom_vjp_call"):
            # The body of a reduction or of a scatter adds no operand.
            inner = {o.name for body in op.bodies for o in body.ops}
            if not inner <= self.known:
                made = made._replace(unknown=made.unknown | {op.name})
        elif op.name not in self.known:
            made = made._replace(unknown=made.unknown | {op.name})
        if channels is not None:
            made = self.used(op, values, channels, made, marked)
        elif made.raw:
            made = made._replace(raw=self._raw(op, values, made))
        if op.name in _LINEAR and len(values) > 1:
            made = made._replace(gap=_gap(values, made.gap))
        if op.name == "sub":
            made = made._replace(apart=_gap(values, made.apart))
        if op.name in HEAVY:
            made = made._replace(depth=made.depth + 1)
        if made.hops and self._is_one_number(op):
            hops = {n.rstrip("*") + "*": path for n, path in made.hops.items()}
            made = made._replace(hops=hops)
        return made._replace(parts=self._parts(op, values, channels))

    def _parts(
        self, op: Op, values: Sequence[Value], channels: Sequence[str | None] | None
    ) -> Parts | None:
        """The parts of a result, unless parameters are used: all copies are one."""
        if channels is not None and any(v.holds_parameters for v in values):
            return None

        def apply(pieces: Sequence[Value]) -> Value:
            return whole(self.after(op, pieces, None, self.reads(op, pieces, None)))

        return parts_after(self.program, op, values, apply)

    def _is_one_number(self, op: Op) -> bool:
        """Whether a sum leaves one number for each example, or for all of them."""
        if self.examples is None or not op.name.startswith(("reduce_", "dot_general")):
            return False
        after = self.program.shapes[op.outputs[0]].shape
        if math.prod(after) == 1:
            return True
        if math.prod(after) != self.examples or op.name == "dot_general":
            return False
        before = self.program.shape(op.inputs[0])
        summed = {before[axis] for axis in op.params.get("axes", ())}
        return self.examples not in summed

    def used(
        self,
        op: Op,
        values: Sequence[Value],
        channels: Sequence[str | None],
        made: Value,
        marked: int | None,
    ) -> Value:
        """The result of an operation in which weights are used."""
        seen, crossed = set[Seen](), False
        for i, (value, channel) in enumerate(zip(values, channels, strict=True)):
            if channel is None:
                continue
            for source, raw in value.raw.items():
                seen.add(Seen(channel, source, raw.quality))
                if channel == "feedback":
                    seen |= _along(op, i, source, raw)
                heavy = op.name in _LINEAR or self._is_synapse(raw.use)
                if channel == "forward" and marked is not None:
                    heavy = self.uses[marked].kind == "synapse"
                crossed |= heavy and channel != "gain"
        hops = made.hops
        if crossed:
            hops = {n: (low + 1, high + 1) for n, (low, high) in hops.items()}
        return made._replace(raw={}, seen=made.seen | seen, hops=hops)

    def _is_synapse(self, use: int | None) -> bool:
        return use is not None and self.uses[use].kind == "synapse"

    def named(self, name: str, value: Value, op: Op) -> Value:
        """What is known after a mark."""
        if name == USE_MARKS.output:
            self.at_output = join([self.at_output, value])
            hops = {**value.hops, "output": (0.0, 0.0)}
            return value._replace(hops=hops)
        if name.startswith(USE_MARKS.result) and self.tell:
            return self._told(int(name.removeprefix(USE_MARKS.result)), value)
        if name.startswith(USE_MARKS.slope):
            node = name.removeprefix(USE_MARKS.slope)
            return value._replace(slopes=value.slopes | {node})
        if name.startswith(USE_MARKS.weight) and value.raw:
            number = int(name.removeprefix(USE_MARKS.weight))
            rank = len(self.program.shapes[op.outputs[0]].shape)
            raw = {
                source: (
                    Raw(each.quality, number, tuple(range(rank)))
                    if self._belongs(source, number)
                    else each
                )
                for source, each in value.raw.items()
            }
            return value._replace(raw=raw)
        return value

    def _told(self, number: int, value: Value) -> Value:
        """The result of a use, from which each of its leaves sends a signal."""
        before = self.at_result.get(number, NOTHING)
        self.at_result[number] = join([before, value])
        hops = dict(value.hops)
        for leaf in self.uses[number].leaves:
            hops[f"leaf {leaf}"] = (0.0, hops.get(f"leaf {leaf}", (0.0, 0.0))[1])
        return value._replace(hops=hops)

    def _belongs(self, source: Source, number: int) -> bool:
        return source.tree == "params" and source.leaf in self.uses[number].leaves

    def _raw(self, op: Op, values: Sequence[Value], made: Value) -> dict[Source, Raw]:
        """The weights in the result of an operation in which none is used."""
        compared = op.name in _COMPARISONS and sum(bool(v.raw) for v in values) == 1
        signs = op.name == "sign" or compared
        found: dict[Source, Raw] = {}
        for source, each in made.raw.items():
            position = [i for i, v in enumerate(values) if source in v.raw]
            axes = None
            if len(position) == 1 and each.axes is not None:
                axes = self._axes(op, position[0], each.axes)
            quality = SIGN if signs else each.quality
            found[source] = Raw(quality, each.use, axes)
        return found

    def _axes(
        self, op: Op, position: int, axes: tuple[int | None, ...]
    ) -> tuple[int | None, ...] | None:
        before = self.program.shape(op.inputs[position])
        after = self.program.shapes[op.outputs[0]].shape
        if op.name == "transpose":
            return tuple(axes[i] for i in op.params["permutation"])
        if op.name == "broadcast_in_dim" and position == 0:
            targets = dict(zip(op.params["broadcast_dimensions"], axes, strict=True))
            return tuple(targets.get(i) for i in range(len(after)))
        if op.name in ("squeeze", "reshape") and math.prod(before) == math.prod(after):
            kept = [a for a, n in zip(axes, before, strict=True) if n != 1]
            if [n for n in before if n != 1] != [n for n in after if n != 1]:
                return None
            rest = iter(kept)
            return tuple(None if n == 1 else next(rest) for n in after)
        return axes if op.name in _KEEPS_AXES and before == after else None


def _along(op: Op, operand: int, source: Source, raw: Raw) -> set[Seen]:
    """The axes of an array of the state that a product sums, if they are known."""
    summed = summed_axes(op, operand)
    if summed is None or raw.axes is None:
        return set()
    axes = sorted(raw.axes[k] or 0 for k in summed)
    return {Seen(f"along {axes}", source, raw.quality)}


def _without_zeros(op: Op, values: Sequence[Value]) -> Value | None:
    """The result of an operation on entries that are all 0, if it is simple."""
    zeros = [v is ZERO for v in values]
    if not any(zeros):
        return None
    if op.name == "div":
        return ZERO if zeros[0] and not zeros[1] else None
    if all(zeros) and op.name in _KEEPS_ZEROS:
        return ZERO
    if op.name in _LINEAR or op.name == "mul":
        return ZERO
    if op.name == "select_n":
        return ZERO if all(zeros[1:]) else None
    if op.name in ("add", "add_any", "sub") and sum(zeros) == 1:
        (other,) = [v for v in values if v is not ZERO]
        return other
    return None


def zero_or_nothing(value: Any) -> Value:
    """What is known of a constant."""
    concrete = is_concrete(value) and jnp.issubdtype(jnp.result_type(value), jnp.number)
    return ZERO if concrete and not np.any(np.asarray(value)) else NOTHING


def _gap(values: Sequence[Value], before: float) -> float:
    """How much later than the first factor the second was ready, of two signals."""
    depths = [v.depth for v in values if v.signal]
    if len(depths) < 2 or any(v.raw for v in values):
        return before
    low, high = min(depths), max(depths)
    # The input itself is there all the time.
    return before if low == 0 else 0.0 if low == high else high - low


def output_marks(ops: Sequence[Op]) -> dict[int, int]:
    """For each value of a body whose reader is the mark of a use, the use's number."""
    found: dict[int, int] = {}
    for op in ops:
        if op.name == "name" and not isinstance(op.inputs[0], Literal):
            name = str(op.params["name"])
            if name.startswith(USE_MARKS.result):
                found[op.inputs[0]] = int(name.removeprefix(USE_MARKS.result))
    return found
