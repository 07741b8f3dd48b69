"""Integrators and spiking neurons, their equations and one step of each.

In each step the synaptic current moves first, then the potential by the new current,
then the spike, then the reset: what a spike resets is seen at the next step.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._layer import (
    Layer,
    Shape,
    Simulation,
    cast,
    check_elementwise,
    layer,
)


class Neurons(Layer):
    """A layer with one state variable or more for each unit."""

    def input_shape(self) -> Shape | None:
        """The shape of the largest field that is an array."""
        return max(map(np.shape, vars(self).values()), key=math.prod) or None

    def output_shape(self, shape: Shape, where: str) -> Shape:
        """The shape of the input."""
        check_elementwise(self, shape, where)
        return shape


def _filled(value: Any, shape: Shape, batch: int, dtype: Any) -> jax.Array:
    return jnp.broadcast_to(cast(value, dtype), (batch, *shape))


def _approach(v: jax.Array, target: jax.Array, tau: Any, how: Simulation) -> jax.Array:
    """One step of tau dv/dt = target - v."""
    return v + how.fraction(tau, v.dtype) * (target - v)


def _fire(of: Any, v: jax.Array, how: Simulation) -> tuple[jax.Array, jax.Array]:
    """The potential after the reset, and the spikes."""
    z = how.spike(v - cast(of.v_threshold, v.dtype)).astype(v.dtype)
    fired = lax.stop_gradient(z) if how.detach_reset else z
    return (1 - fired) * v + fired * cast(of.v_reset, v.dtype), z


@layer
class I(Neurons):  # noqa: E742
    """An integrator, dv/dt = R I; its output is v.

        v' = v + dt R I

    Args:
      r: R, a number or one for each unit.
    """

    r: Any = 1.0

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """The potential 0."""
        return _filled(0.0, shape, batch, dtype)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Integrate."""
        v = state + simulation.dt * (cast(self.r, x.dtype) * x)
        return v, v


@layer
class IF(Neurons):
    """Integrate and fire without a leak, dv/dt = R I.

        v' = v + dt R I,    z = [v' > v_threshold],    v = v_reset where z = 1

    Args:
      r: R, a number or one for each unit, as all fields.
      v_threshold: the threshold.
      v_reset: what a spike sets the potential to.
    """

    r: Any = 1.0
    v_threshold: Any = 1.0
    v_reset: Any = 0.0

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """The potential 0."""
        return _filled(0.0, shape, batch, dtype)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Integrate, fire, reset."""
        v = state + simulation.dt * (cast(self.r, x.dtype) * x)
        return _fire(self, v, simulation)


@layer
class LI(Neurons):
    """A leaky integrator, tau dv/dt = (v_leak - v) + R I; its output is v.

        v' = v + k (v_leak + R I - v),    k = dt / tau, or 1 - exp(-dt / tau)

    Args:
      tau: the time constant in seconds; a number or one for each unit, as all fields.
      r: R.
      v_leak: where the potential rests, and starts.
    """

    tau: Any
    r: Any = 1.0
    v_leak: Any = 0.0
    positive: ClassVar[tuple[str, ...]] = ("tau",)

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """The potential at rest."""
        return _filled(self.v_leak, shape, batch, dtype)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Move the potential."""
        v = _integrate(self, self.tau, state, x, simulation)
        return v, v


@layer
class LIF(Neurons):
    """Leaky integrate and fire, tau dv/dt = (v_leak - v) + R I.

        v' = v + k (v_leak + R I - v),    k = dt / tau, or 1 - exp(-dt / tau)
        z = [v' > v_threshold],           v = v_reset where z = 1

    Args:
      tau: the time constant in seconds; a number or one for each unit, as all fields.
      r: R. With Euler's method `r = tau / dt` adds the input as it is, and 1 adds the
        part k of it.
      v_leak: where the potential rests, and starts.
      v_threshold: the threshold; a spike needs more.
      v_reset: what a spike sets the potential to. NIR has no reset by subtraction.
    """

    tau: Any
    r: Any = 1.0
    v_leak: Any = 0.0
    v_threshold: Any = 1.0
    v_reset: Any = 0.0
    positive: ClassVar[tuple[str, ...]] = ("tau",)

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """The potential at rest."""
        return _filled(self.v_leak, shape, batch, dtype)

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Move the potential, fire, reset."""
        v = _integrate(self, self.tau, state, x, simulation)
        return _fire(self, v, simulation)


def _integrate(
    of: Any, tau: Any, v: jax.Array, current: jax.Array, how: Simulation
) -> jax.Array:
    dtype = v.dtype
    target = cast(of.v_leak, dtype) + cast(of.r, dtype) * current
    return _approach(v, target, tau, how)


class CurrentBased(Neurons):
    """Neurons with a synaptic current in front of the potential."""

    tau_syn: Any
    tau_mem: Any
    r: Any
    v_leak: Any
    w_in: Any
    positive: ClassVar[tuple[str, ...]] = ("tau_syn", "tau_mem")

    def initial_state(self, shape: Shape, batch: int, dtype: Any, dt: float) -> Any:
        """No current, and the potential at rest."""
        current = jnp.zeros((batch, *shape), dtype)
        return current, _filled(self.v_leak, shape, batch, dtype)

    def move(
        self, state: Any, x: jax.Array, how: Simulation
    ) -> tuple[jax.Array, jax.Array]:
        """The current, then the potential by the new current."""
        current, v = state
        driven = cast(self.w_in, x.dtype) * x
        current = _approach(current, driven, self.tau_syn, how)
        return current, _integrate(self, self.tau_mem, v, current, how)


@layer
class CubaLI(CurrentBased):
    """A leaky integrator with a synaptic current; its output is v.

        tau_syn dI/dt = -I + w_in x,     tau_mem dv/dt = (v_leak - v) + R I
        I' = I + k_syn (w_in x - I),     v' = v + k_mem (v_leak + R I' - v)

    Args:
      tau_syn: the time constant of the current in seconds; a number or one for each
        unit, as all fields.
      tau_mem: the time constant of the potential, in seconds.
      r: R.
      v_leak: where the potential rests, and starts.
      w_in: the factor of the input.
    """

    tau_syn: Any
    tau_mem: Any
    r: Any = 1.0
    v_leak: Any = 0.0
    w_in: Any = 1.0

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Move the current and the potential."""
        current, v = self.move(state, x, simulation)
        return (current, v), v


@layer
class CubaLIF(CurrentBased):
    """Leaky integrate and fire with a synaptic current.

        tau_syn dI/dt = -I + w_in x,     tau_mem dv/dt = (v_leak - v) + R I
        I' = I + k_syn (w_in x - I),     v' = v + k_mem (v_leak + R I' - v)
        z = [v' > v_threshold],          v = v_reset where z = 1

    The current is a low-pass of the input and is not reset.

    Args:
      tau_syn: the time constant of the current in seconds; a number or one for each
        unit, as all fields.
      tau_mem: the time constant of the potential, in seconds.
      r: R.
      v_leak: where the potential rests, and starts.
      v_threshold: the threshold; a spike needs more.
      v_reset: what a spike sets the potential to. NIR has no reset by subtraction.
      w_in: the factor of the input.
    """

    tau_syn: Any
    tau_mem: Any
    r: Any = 1.0
    v_leak: Any = 0.0
    v_threshold: Any = 1.0
    v_reset: Any = 0.0
    w_in: Any = 1.0

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Move the current and the potential, fire, reset."""
        current, v = self.move(state, x, simulation)
        v, z = _fire(self, v, simulation)
        return (current, v), z


@layer
class Threshold(Neurons):
    """A spike without a memory, z = [x > threshold].

    Args:
      threshold: a number or one for each unit.
    """

    threshold: Any

    def step(
        self, state: Any, x: jax.Array, simulation: Simulation
    ) -> tuple[Any, jax.Array]:
        """Compare."""
        z = simulation.spike(x - cast(self.threshold, x.dtype))
        return state, z.astype(x.dtype)
