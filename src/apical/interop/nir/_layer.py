"""What every layer description has: fields as a pytree, its shape, its step in time."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from ...spiking import SpikeFunction
from ._discrete_time import step_fraction

C = TypeVar("C")
Shape = tuple[int, ...]


class Simulation(NamedTuple):
    """How the continuous equations are simulated.

    Attributes:
      dt: the time step, in seconds.
      method: `"euler"` or `"exact"`.
      spike: the spike as a function of the potential minus the threshold.
      detach_reset: whether the derivative of the reset by the spike counts as 0.
    """

    dt: float
    method: str
    spike: SpikeFunction
    detach_reset: bool

    def fraction(self, tau: Any, dtype: Any) -> jax.Array:
        """The part of the way to its asymptote that a variable goes in one step."""
        return jnp.asarray(step_fraction(tau, self.dt, self.method), dtype)


def static(*, default: Any) -> Any:
    """A field that is no array: it is not traced and not a leaf."""
    return field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(field, static))
def layer(cls: type[C]) -> type[C]:
    """Make a class a frozen dataclass and a pytree, whose arrays are its leaves."""
    made: Any = dataclass(frozen=True, eq=False)(cls)
    kept = [f.name for f in fields(made) if f.metadata.get("static")]
    arrays = [f.name for f in fields(made) if f.name not in kept]
    jax.tree_util.register_dataclass(made, data_fields=arrays, meta_fields=kept)
    return made


class Layer(abc.ABC):
    """A layer of a network: what those below are.

    It is a frozen dataclass and a pytree, whose arrays are its leaves. Its name and its
    fields are those of NIR; a field of neurons that is the same for all units may be a
    number. Make another with `dataclasses.replace`. Shapes are those of one example;
    arrays in time have the axes (batch, *shape).
    """

    positive: ClassVar[tuple[str, ...]] = ()  # fields that are times, in seconds

    def input_shape(self) -> Shape | None:
        """The shape of its input, or None where its fields do not tell."""
        return None

    @abc.abstractmethod
    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The shape of its output.

        Args:
          shape: the shape of its input.
          where: the layer's place, for messages.

        Raises:
          ValueError: where a field does not fit the shape.
        """

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """What it remembers before the first step."""
        del shape, batch, dtype, dt
        return ()

    @abc.abstractmethod
    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """One time step: its new state and its output."""


def name_of(layer: Any) -> str:
    """The kind of a layer, for messages."""
    return type(layer).__name__


def array_fields(layer: Layer) -> dict[str, Any]:
    """The fields that are arrays or numbers, by name."""
    there_are: Any = fields(layer)  # pyright: ignore[reportArgumentType]
    names = [f.name for f in there_are if not f.metadata.get("static")]
    values = {name: getattr(layer, name) for name in names}
    return {n: value for n, value in values.items() if not isinstance(value, Layer)}


def known(value: Any) -> np.ndarray | None:
    """A value as an array of numpy, or None where it is traced."""
    try:
        return np.asarray(value)
    except jax.errors.TracerArrayConversionError:
        return None


def check_arrays(layer: Layer, where: str) -> None:
    """Refuse fields that are no arrays, not finite, or times that are not positive."""
    for name, value in array_fields(layer).items():
        what = f"{where}: {name_of(layer)}.{name}"
        if not isinstance(value, int | float) and not hasattr(value, "shape"):
            raise TypeError(
                f"{what} is {value!r}; give a number or an array, as "
                f"jnp.asarray({name})."
            )
        array = known(value)
        if array is None:
            continue
        if not np.all(np.isfinite(array.astype(np.float64))):
            raise ValueError(f"{what} has entries that are not finite.")
        if name in layer.positive and not np.all(array > 0):
            raise ValueError(
                f"{what} is a time in seconds and must be positive; its smallest "
                f"entry is {array.min()}."
            )


def check_elementwise(layer: Layer, shape: Shape, where: str) -> None:
    """Refuse fields that cannot be read as one number for each unit of a shape."""
    for name, value in array_fields(layer).items():
        own = np.shape(value)
        try:
            fits = np.broadcast_shapes(own, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{where}: {name_of(layer)}.{name} has the shape {own}, and its input "
                f"{shape}; give a number, or one entry for each unit."
            )


def cast(value: Any, dtype: Any) -> jax.Array:
    """A field in the precision of the simulation."""
    return jnp.asarray(value, dtype)
