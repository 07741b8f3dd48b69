"""Layers with weights: linear maps, scales and convolutions."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import numpy as np
from jax import lax

from ._layer import (
    Layer,
    Shape,
    Simulation,
    cast,
    check_elementwise,
    layer,
    name_of,
    static,
)

# Spikes that are exact need products that are: by default an accelerator rounds the
# factors of a float32 product to fewer bits.
PRECISION = lax.Precision.HIGHEST


class Weights(Layer):
    """A layer whose output is linear in its input, up to a bias."""


def check_vector(value: Any, length: int, what: str) -> None:
    """Refuse a field that is not a vector of a length."""
    if np.shape(value) != (length,):
        raise ValueError(
            f"{what} has the shape {np.shape(value)}; it must be ({length},)."
        )


def _matrix_shape(of: Linear | Affine, shape: Shape, where: str) -> Shape:
    weight = np.shape(of.weight)
    if len(weight) != 2:
        raise ValueError(
            f"{where}: {name_of(of)}.weight has the shape {weight}; it must be "
            "(outputs, inputs)."
        )
    if shape != weight[1:]:
        raise ValueError(
            f"{where}: {name_of(of)}.weight has the shape (outputs, inputs) = {weight}"
            f", and its input {shape}. Transpose the weight, or put Flatten before it."
        )
    return weight[:1]


def _matrix_input(of: Linear | Affine) -> Shape | None:
    weight = np.shape(of.weight)
    return weight[1:] if len(weight) == 2 else None


def _product(x: jax.Array, weight: Any) -> jax.Array:
    return jax.numpy.matmul(x, cast(weight, x.dtype).T, precision=PRECISION)


@layer
class Linear(Weights):
    """A linear map, y = W x.

    Args:
      weight: W, of shape (outputs, inputs).
    """

    weight: Any

    def input_shape(self) -> Shape | None:
        """The number of columns."""
        return _matrix_input(self)

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The number of rows."""
        return _matrix_shape(self, shape, where)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Multiply."""
        return state, _product(x, self.weight)


@layer
class Affine(Weights):
    """A linear map with a bias, y = W x + b.

    Args:
      weight: W, of shape (outputs, inputs).
      bias: b, of shape (outputs,); it is added at every time step.
    """

    weight: Any
    bias: Any

    def input_shape(self) -> Shape | None:
        """The number of columns."""
        return _matrix_input(self)

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The number of rows."""
        (outputs,) = _matrix_shape(self, shape, where)
        check_vector(self.bias, outputs, f"{where}: Affine.bias")
        return (outputs,)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Multiply and add."""
        return state, _product(x, self.weight) + cast(self.bias, x.dtype)


@layer
class Scale(Weights):
    """One factor for each unit, y = s x.

    Args:
      scale: s, a number or an array of the shape of the input.
    """

    scale: Any

    def input_shape(self) -> Shape | None:
        """The shape of the scale, where it is an array."""
        return np.shape(self.scale) or None

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The shape of the input."""
        check_elementwise(self, shape, where)
        return shape

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Multiply."""
        return state, x * cast(self.scale, x.dtype)


def as_tuple(value: Any, length: int) -> tuple[int, ...]:
    """One whole number for each axis, from a number, a sequence or an array."""
    numbers = [int(each) for each in np.ravel(value)]
    return tuple(numbers * length if len(numbers) == 1 else numbers)


class Convolution(Weights):
    """A convolution over the last axes of (channels, *space)."""

    axes: ClassVar[int]
    weight: Any
    bias: Any
    stride: Any
    padding: Any
    dilation: Any
    groups: int

    def __post_init__(self) -> None:
        for name in ("stride", "padding", "dilation"):
            value = getattr(self, name)
            if isinstance(value, bytes):
                value = value.decode()
            whole = value if isinstance(value, str) else as_tuple(value, self.axes)
            object.__setattr__(self, name, whole)
        object.__setattr__(self, "groups", int(self.groups))

    def pads(self) -> list[tuple[int, int]]:
        """The zeros before and after each axis of space."""
        if self.padding == "valid":
            return [(0, 0)] * self.axes
        if self.padding == "same":
            kernel = np.shape(self.weight)[2:]
            whole = [d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True)]
            return [(each // 2, each - each // 2) for each in whole]
        return [(each, each) for each in self.padding]

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """(channels out, *space)."""
        name = f"{where}: {name_of(self)}"
        weight = np.shape(self.weight)
        if len(weight) != self.axes + 2:
            raise ValueError(
                f"{name}.weight has the shape {weight}; it must be (channels out, "
                f"channels in / groups, *kernel) with {self.axes} axes of the kernel."
            )
        for each in ("stride", "dilation", "padding"):
            value = getattr(self, each)
            named = each == "padding" and value in ("same", "valid")
            if not named and (isinstance(value, str) or len(value) != self.axes):
                raise ValueError(f"{name}.{each} is {value!r}, with {self.axes} axes.")
            least = 0 if each == "padding" else 1
            if not named and min(map(int, value)) < least:
                raise ValueError(f"{name}.{each} is {value!r}; the least is {least}.")
        if self.padding == "same" and set(self.stride) != {1}:
            raise ValueError(
                f"{name}.padding is 'same' with stride {self.stride}; 'same' is "
                "defined for stride 1. Give the padding in numbers."
            )
        if self.groups < 1 or weight[0] % self.groups:
            raise ValueError(
                f"{name}.groups is {self.groups}; it must divide {weight[0]} channels."
            )
        if len(shape) != self.axes + 1 or shape[0] != weight[1] * self.groups:
            raise ValueError(
                f"{name}.weight has the shape {weight} with groups={self.groups}, and "
                f"its input {shape}; the input must be ({weight[1] * self.groups}, "
                f"*space) with {self.axes} axes of space."
            )
        check_vector(self.bias, weight[0], f"{name}.bias")
        space = []
        for size, kernel, stride, dilation, pad in zip(
            shape[1:], weight[2:], self.stride, self.dilation, self.pads(), strict=True
        ):
            space.append((size + sum(pad) - dilation * (kernel - 1) - 1) // stride + 1)
        if min(space) < 1:
            raise ValueError(
                f"{name}.weight has a kernel {weight[2:]} that is larger than its input"
                f" {shape[1:]} with padding {self.padding!r}."
            )
        return (weight[0], *space)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Convolve and add the bias."""
        letters = "HW"[: self.axes]
        y = lax.conv_general_dilated(
            x,
            cast(self.weight, x.dtype),
            self.stride,
            self.pads(),
            rhs_dilation=self.dilation,
            feature_group_count=self.groups,
            dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
            precision=PRECISION,
        )
        bias = cast(self.bias, x.dtype)
        return state, y + bias.reshape(-1, *[1] * self.axes)


@layer
class Conv1d(Convolution):
    """A convolution in one dimension, as torch has it (no kernel is flipped).

    Args:
      weight: of shape (channels out, channels in / groups, kernel).
      bias: of shape (channels out,).
      stride: a whole number.
      padding: zeros on both sides, or `"same"`, `"valid"`.
      dilation: a whole number.
      groups: the number of groups of channels.
    """

    axes: ClassVar[int] = 1
    weight: Any
    bias: Any
    stride: Any = static(default=1)
    padding: Any = static(default=0)
    dilation: Any = static(default=1)
    groups: int = static(default=1)


@layer
class Conv2d(Convolution):
    """A convolution in two dimensions, as torch has it (no kernel is flipped).

    Args:
      weight: of shape (channels out, channels in / groups, height, width).
      bias: of shape (channels out,).
      stride: a whole number, or one for each axis.
      padding: zeros on both sides of each axis, or `"same"`, `"valid"`.
      dilation: a whole number, or one for each axis.
      groups: the number of groups of channels.
    """

    axes: ClassVar[int] = 2
    weight: Any
    bias: Any
    stride: Any = static(default=1)
    padding: Any = static(default=0)
    dilation: Any = static(default=1)
    groups: int = static(default=1)
