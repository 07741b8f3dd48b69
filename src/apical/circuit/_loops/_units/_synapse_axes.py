"""A synapse as a product over named axes, so that one formula serves every spelling.

    y[..out] = sum over the shared axes of x[..in] w[..weight]

Axes have letters. A convolution is a product of its kernel with patches of its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._steps._step import Step, StepSynapse


@dataclass(frozen=True)
class SynapseAxes:
    """The axes of a synapse's input, weight and output, by letter.

    Attributes:
      input: the letters of the input, as `read` returns it.
      weight: the letters of the weight, as `weigh` returns it.
      output: the letters of the output, as `made` returns it.
      read: rearranges the input.
      weigh: rearranges the weight.
      made: rearranges the output.
      unmade: the inverse of `made`.
      restored: the inverse of `weigh`.
      sizes: the length of each axis.
    """

    input: str
    weight: str
    output: str
    read: Callable[[Any], Any]
    weigh: Callable[[Any], Any]
    made: Callable[[Any], Any]
    unmade: Callable[[Any], Any]
    restored: Callable[[Any], Any]
    sizes: dict[str, int]

    @property
    def free(self) -> str:
        """The axes of the output that are not of the weight: examples, positions."""
        return "".join(a for a in self.output if a not in self.weight)

    def traced(self, states: int) -> tuple[int, ...]:
        """The shape of the eligibility traces: states, free axes, weight."""
        return (states, *(self.sizes[a] for a in self.free + self.weight))

    def spread(self, made: Any) -> Any:
        """An array like the output, with size 1 along the weight's summed axes."""
        order = self.free + "".join(a for a in self.weight if a in self.output)
        there = jnp.einsum(f"{self.output}->{order}", made)
        shape = [self.sizes[a] if a in order else 1 for a in self.free + self.weight]
        return there.reshape(shape)


def synapse_axes(step: Step, synapse: StepSynapse) -> SynapseAxes:
    """The axes of a synapse.

    Raises:
      ValueError: for a convolution in groups or with a dilated input.
    """
    op, weight = synapse.op, synapse.weight
    shapes = [step.shape(a) for a in op.inputs]
    if op.name == "dot_general":
        return _of_product(op.params["dimension_numbers"], weight, shapes)
    if op.name == "conv_general_dilated":
        return _of_convolution(step, synapse)
    return _of_scaling(step, synapse)


def _same(x: Any) -> Any:
    return x


def _of_product(numbers: Any, weight: int, shapes: list[tuple[int, ...]]) -> Any:
    contracted, shared = numbers
    ranks = [len(s) for s in shapes]
    left = [chr(97 + i) for i in range(ranks[0])]
    right = [chr(110 + i) for i in range(ranks[1])]
    for pairs in (contracted, shared):
        for i, j in zip(*pairs, strict=True):
            right[j] = left[i]
    joined = [left[i] for i in shared[0]]
    for side, names in enumerate((left, right)):
        gone = {*contracted[side], *shared[side]}
        joined += [a for i, a in enumerate(names) if i not in gone]
    names = ["".join(left), "".join(right)]
    pairs = zip(names[0] + names[1], (*shapes[0], *shapes[1]), strict=True)
    return SynapseAxes(
        input=names[1 - weight],
        weight=names[weight],
        output="".join(joined),
        read=_same,
        weigh=_same,
        made=_same,
        unmade=_same,
        restored=_same,
        sizes=dict(pairs),
    )


def _of_scaling(step: Step, synapse: StepSynapse) -> SynapseAxes:
    """The axes of an elementwise product whose entries are summed later.

    Axes along which a factor repeats are not among its letters.
    """
    out = step.shape(synapse.output)
    names = "".join(chr(97 + i) for i in range(len(out)))

    def kept(shape: tuple[int, ...]) -> list[int]:
        return [i for i, n in enumerate(shape) if n == out[i]]

    read, weighed = (
        kept(step.shape(synapse.op.inputs[i]))
        for i in (1 - synapse.weight, synapse.weight)
    )
    shape = step.shape(synapse.op.inputs[synapse.weight])

    def narrow(axes: list[int]) -> Callable[[Any], Any]:
        return lambda x: x.reshape([x.shape[i] for i in axes])

    return SynapseAxes(
        input="".join(names[i] for i in read),
        weight="".join(names[i] for i in weighed),
        output=names,
        read=narrow(read),
        weigh=narrow(weighed),
        made=_same,
        unmade=_same,
        restored=lambda g: g.reshape(shape),
        sizes=dict(zip(names, out, strict=True)),
    )


def _of_convolution(step: Step, synapse: StepSynapse) -> SynapseAxes:
    op, params = synapse.op, synapse.op.params
    numbers = params["dimension_numbers"]
    groups = params["feature_group_count"], params["batch_group_count"]
    if groups != (1, 1) or synapse.weight != 1:
        raise ValueError(
            f"The convolution at {op.where} has groups, or a kernel as its first "
            "operand; eligibility traces of such kernels are not implemented. Use "
            "`RTRL` or `UORO`."
        )
    kernel = step.shape(op.inputs[1])
    order = numbers.rhs_spec  # out, in, then space
    back = np.argsort(order)
    out = numbers.out_spec
    last = (out[0], *out[2:], out[1])

    def read(x: Any) -> Any:
        patches = jax.lax.conv_general_dilated_patches(
            x,
            tuple(kernel[i] for i in order[2:]),
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            numbers,
            precision=params["precision"],
        )
        return rows(patches)

    def rows(x: Any) -> Any:
        x = x.transpose(last)
        return x.reshape(-1, x.shape[-1])

    def weigh(w: Any) -> Any:
        w = w.transpose(order)
        return w.reshape(w.shape[0], -1).T

    def restored(g: Any) -> Any:
        return g.T.reshape([kernel[i] for i in order]).transpose(back)

    shape = step.shape(synapse.output)
    channels = shape[out[1]]

    def unmade(y: Any) -> Any:
        return y.reshape([shape[i] for i in last]).transpose(np.argsort(last))

    sizes = {
        "f": math.prod(shape) // channels,
        "k": math.prod(kernel) // channels,
        "o": channels,
    }
    letters = "fk", "ko", "fo"
    return SynapseAxes(*letters, read, weigh, rows, unmade, restored, sizes)
