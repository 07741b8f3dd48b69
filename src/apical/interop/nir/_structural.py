"""Layers without weights: pooling, flattening, delays."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._layer import (
    Layer,
    Shape,
    Simulation,
    check_elementwise,
    known,
    layer,
    name_of,
    static,
)
from ._weights import as_tuple


class Pool(Layer):
    """Sums over windows of the last two axes of (channels, height, width)."""

    kernel_size: Any
    stride: Any
    padding: Any

    def __post_init__(self) -> None:
        stride = self.kernel_size if self.stride is None else self.stride
        object.__setattr__(self, "stride", as_tuple(stride, 2))
        for name in ("kernel_size", "padding"):
            object.__setattr__(self, name, as_tuple(getattr(self, name), 2))

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """(channels, height, width) after pooling."""
        name = f"{where}: {name_of(self)}"
        for each, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
            value = getattr(self, each)
            if len(value) != 2 or min(value) < least:
                raise ValueError(
                    f"{name}.{each} is {value!r}; give two whole numbers of at least "
                    f"{least}."
                )
        if len(shape) != 3:
            raise ValueError(
                f"{name} has an input of shape {shape}; it must be (channels, height, "
                "width)."
            )
        space = [
            (size + 2 * pad - kernel) // stride + 1
            for size, pad, kernel, stride in zip(
                shape[1:], self.padding, self.kernel_size, self.stride, strict=True
            )
        ]
        if min(space) < 1:
            raise ValueError(f"{name}.kernel_size is larger than its input {shape}.")
        return (shape[0], *space)

    def sums(self, x: jax.Array) -> jax.Array:
        """The sum over each window; what lies outside counts as 0."""
        pads = [(0, 0), (0, 0), *((each, each) for each in self.padding)]
        window, stride = (1, 1, *self.kernel_size), (1, 1, *self.stride)
        return lax.reduce_window(x, 0.0, lax.add, window, stride, pads)


@layer
class SumPool2d(Pool):
    """The sum over each window.

    Args:
      kernel_size: height and width of the window.
      stride: the step from window to window; by default the window's size.
      padding: zeros on both sides.
    """

    kernel_size: Any = static(default=2)
    stride: Any = static(default=None)
    padding: Any = static(default=0)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Add."""
        return state, self.sums(x)


@layer
class AvgPool2d(Pool):
    """The mean over each window; zeros of the padding count, as in torch.

    Args:
      kernel_size: height and width of the window.
      stride: the step from window to window; by default the window's size.
      padding: zeros on both sides.
    """

    kernel_size: Any = static(default=2)
    stride: Any = static(default=None)
    padding: Any = static(default=0)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Add and divide."""
        return state, self.sums(x) / math.prod(self.kernel_size)


@layer
class Flatten(Layer):
    """Join axes of one example. Axes are counted without the batch, as NIR has it.

    Args:
      start_dim: the first axis that is joined.
      end_dim: the last one.
    """

    start_dim: int = static(default=0)
    end_dim: int = static(default=-1)

    def __post_init__(self) -> None:
        for name in ("start_dim", "end_dim"):
            object.__setattr__(self, name, int(getattr(self, name)))

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The shape with the axes joined."""
        axes = len(shape)
        first, last = (
            each + axes if each < 0 else each for each in (self.start_dim, self.end_dim)
        )
        if not 0 <= first <= last < axes:
            raise ValueError(
                f"{where}: Flatten({self.start_dim}, {self.end_dim}) has an input of "
                f"shape {shape}; axes are counted from 0, without the batch."
            )
        return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Reshape."""
        return state, x.reshape(len(x), *self.output_shape(x.shape[1:], "Flatten"))


@layer
class Delay(Layer):
    """A delay, y(t) = x(t - delay); what came before the first step is 0.

    Args:
      delay: in seconds, a whole number of time steps; a number or one for each unit.
    """

    delay: Any

    def input_shape(self) -> Shape | None:
        """The shape of the delays, where they are an array."""
        return np.shape(self.delay) or None

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The shape of the input."""
        check_elementwise(self, shape, where)
        return shape

    def steps(self, dt: float) -> Any:
        """The delays in time steps.

        Raises:
          ValueError: where one is negative or no whole number.
        """
        seconds = known(self.delay)
        if seconds is None:
            return jnp.round(self.delay / dt).astype(int)
        number = seconds.astype(np.float64) / dt
        if np.any(number < 0):
            raise ValueError(f"Delay.delay is {seconds.min()} s; the least is 0.")
        off = np.abs(number - np.round(number))
        if np.any(off > 1e-4):  # float32 holds delays of 1,000 steps to 6e-5
            worst = float(seconds.flat[int(np.argmax(off))])
            raise ValueError(
                f"Delay.delay has {worst:g} s, which is no whole number of steps of "
                f"dt = {dt:g} s. Round the delays to multiples of dt."
            )
        return np.round(number).astype(int)

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """Zeros for as many steps as the longest delay."""
        if known(self.delay) is None:
            raise ValueError(
                "Delay.delay is traced, so its longest is not known. Call init_state "
                "outside jit and grad, and pass state= to run."
            )
        return jnp.zeros((int(np.max(self.steps(dt))), batch, *shape), dtype)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Shift, and read each unit at its delay."""
        past = jnp.concatenate([x[None], state])
        index = jnp.broadcast_to(jnp.asarray(self.steps(simulation.dt)), x.shape)
        return past[:-1], jnp.take_along_axis(past, index[None], axis=0)[0]
