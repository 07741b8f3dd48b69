"""Settling of a network of units: parallel steps to an equilibrium, and diagnostics.

    s_n <- (1 - rate) s_n + rate rho_n(z_n + feedback_n),
    feedback_n = sum_m (c_m / c_n) <s_m, dz_m/ds_n> + the pull of the loss or the output

All units move at once. A step is one forward pass and one backward pass to the units
(not to the parameters); nothing of one step is stored for the next. At rate 1 a unit
takes its new value; networks that oscillate at rate 1 may settle at a smaller rate. The
equilibria are minima of the energy in `_energy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, drive_of, mean_over_devices, over_devices
from .._iteration import repeat
from .._numerics import NodeArrays, root_of_ratio, squared_norm

# At this residual, slow units may still be ten times as far from the equilibrium.
SETTLED = 1e-3
# The change of a drive that measures a unit's response, and the least response.
_PROBE, _UNRESPONSIVE = 0.1, 1e-3


class Settling(NamedTuple):
    """Diagnostics of settling, per state; the free state comes first.

    Attributes:
      residual: the distance of the last step (divided by the rate), relative to the
        distance between the contrasted states, with units weighted as in the energy.
        The relative error of the update is about as large, or larger if units settle
        slowly.
      settled: whether the residual is below 1e-3 (never if numbers are not finite).
      unresponsive: of each node, the share of its units whose response to a change of
        drive is below 1e-3 of it, in the free state: saturated units, or ReLU units at
        0. Where it is 1 no signal passes the node, so that nothing before it learns.
        Empty for rules that do not measure it.
    """

    residual: jax.Array
    settled: jax.Array
    unresponsive: Any = ()


class Read(NamedTuple):
    """Drives, loss and output of a network with every unit held."""

    drives: NodeArrays
    loss: Any
    output: Any


@dataclass(frozen=True)
class Units:
    """A network that is evaluated with its units held at given values.

    Attributes:
      circuit: of the loss function; all its nodes are units.
      params: the parameters.
      args: the arguments after them.
      strength: c_n of each node.
      with_output: whether the output is evaluated too.
      loss_of: the loss of a run (that of a complex network is in its aux).
    """

    circuit: Circuit
    params: Any
    args: Any
    strength: Mapping[str, Any]
    with_output: bool = False
    loss_of: Callable[[Any], Any] = lambda run: run.loss

    @property
    def names(self) -> list[str]:
        """The names of the units."""
        return [node.name for node in self.circuit.nodes]

    def read(
        self, values: NodeArrays, learned: Any = None, with_loss: bool = True
    ) -> Read:
        """The drives, the loss and the output, at other parameters if given."""
        circuit, params = self.circuit, self.params
        if learned is not None:
            params = circuit.leaves.combine(learned, circuit.leaves.split(params)[1])
        output = [OUTPUT] if self.with_output else []
        run = circuit.run(
            params,
            self.args,
            tap="clamp",
            inject=values,
            sites=[*map(drive_of, self.names), *output],
            parallel=True,
        )
        drives = {n: run.sites[drive_of(n)] for n in self.names}
        loss = self.loss_of(run) if with_loss else None
        return Read(drives, loss, run.sites.get(OUTPUT))

    def respond(self, values: NodeArrays, drives: NodeArrays) -> NodeArrays:
        """rho_n(drives_n) of each unit; held values separate the steps of a loop."""
        inject = {**values, **{drive_of(n): z for n, z in drives.items()}}
        run = self.circuit.run(
            self.params,
            self.args,
            tap="clamp",
            inject=inject,
            sites=self.names,
            parallel=True,
        )
        return {n: run.sites[n] for n in self.names}

    def unresponsive(self, values: NodeArrays) -> NodeArrays:
        """The share of units of each node that do not respond to their drive."""
        drives, feedback = self.feedback(values, self.scaled(values))

        def moved(change: float) -> NodeArrays:
            total = {
                n: z + change + _times(1 / self.strength[n], feedback[n])
                for n, z in drives.items()
            }
            return self.respond(values, total)

        ends = moved(_PROBE), moved(-_PROBE)
        slopes = jax.tree.map(lambda a, b: jnp.abs(a - b) / (2 * _PROBE), *ends)
        shares = ((n, jnp.mean(s < _UNRESPONSIVE)) for n, s in slopes.items())
        return {n: mean_over_devices(share) for n, share in shares}

    def scaled(self, values: NodeArrays) -> NodeArrays:
        """c_n s_n."""
        return {n: _times(self.strength[n], v) for n, v in values.items()}

    def feedback(
        self,
        values: NodeArrays,
        sent: NodeArrays,
        nudge: Any = None,
        output: Callable[[Any], Any] | None = None,
    ) -> tuple[NodeArrays, NodeArrays]:
        """The drives, and the feedback to each unit.

        Args:
          values: the values that consumers read.
          sent: the feedback signal that each unit sends back through its drive.
          nudge: the strength of the loss of each example; None: the loss is not used.
          output: the feedback signal of the output, as a function of its value, or
            None.
        """
        nudged = nudge is not None
        found, back = jax.vjp(lambda v: self.read(v, with_loss=nudged), values)
        message = None if output is None else output(found.output)
        pull = nudge * self.circuit.scale if nudged else 0.0
        loss = _times(-pull, jnp.ones_like(found.loss)) if nudged else None
        (feedback,) = back(Read({n: sent[n] for n in found.drives}, loss, message))
        return found.drives, feedback

    def step(
        self,
        values: NodeArrays,
        rate: Any,
        nudge: Any = None,
        output: Callable[[Any], Any] | None = None,
    ) -> NodeArrays:
        """One step of all units."""
        drives, feedback = self.feedback(values, self.scaled(values), nudge, output)
        total = {
            n: z + _times(1 / self.strength[n], feedback[n]) for n, z in drives.items()
        }
        return damped_step(values, self.respond(values, total), rate)

    def product(
        self,
        learned: Any,
        values: NodeArrays,
        sent: NodeArrays,
        nudge: Any = None,
        output: Any = None,
    ) -> Any:
        """sum_n <sent_n, z_n> + <output, y> - nudge L, with the values held."""
        found = self.read(values, learned, with_loss=nudge is not None)
        products = [v * found.drives[n] for n, v in sent.items()]
        if output is not None:
            products.append(output * found.output)
        parts = [over_devices(jnp.sum(p)) for p in products]
        if nudge is not None:
            parts.append(-nudge * self.circuit.scale * found.loss)
        return sum(parts)

    def at_rest(self, values: NodeArrays) -> Any:
        """One evaluation with every unit held: loss, aux, predictions and output."""
        sites = [*self.names, *([OUTPUT] if self.with_output else [])]
        return self.circuit.run(
            self.params, self.args, tap="clamp", inject=values, sites=sites
        )


def _times(number: Any, array: jax.Array) -> jax.Array:
    return jnp.asarray(number, array.dtype) * array


def damped_step(values: NodeArrays, moved: NodeArrays, rate: Any) -> NodeArrays:
    """`(1 - rate) values + rate moved`."""

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        part = jnp.asarray(rate, old.dtype)
        return (1 - part) * old + part * new

    return jax.tree.map(mix, values, moved)


class State(NamedTuple):
    """The values after settling, and the squared distance of the last step."""

    values: NodeArrays
    last_step: jax.Array


def settle(
    units: Units,
    values: NodeArrays,
    step: Callable[[NodeArrays], NodeArrays],
    steps: int,
    rate: Any,
) -> State:
    """Take all steps, and measure the size of the last one."""
    before = repeat(units.circuit, step, values, steps - 1)
    after = step(before)
    moved = units.scaled(jax.tree.map(jnp.subtract, after, before))
    return State(after, squared_norm(moved) / jnp.square(jnp.asarray(rate, float)))


def settling(units: Units, free: State, others: State) -> Settling:
    """The diagnostics of a free state and of other states, stacked."""
    moved = jax.tree.map(lambda s, f: s - f, others.values, free.values)
    count = len(others.last_step)
    distance = squared_norm(units.scaled(moved)) / count
    last_step = jnp.concatenate([free.last_step[None], others.last_step])
    return residuals(last_step, distance)


def residuals(last_step: jax.Array, distance: jax.Array) -> Settling:
    """The diagnostics, given the squares of the last step and of the distance."""
    # Equal states count as settled only if the last step is 0.
    same = jnp.where(last_step == 0, 0, jnp.inf)
    residual = jnp.where(distance == 0, same, root_of_ratio(last_step, distance))
    return Settling(residual, residual < SETTLED)


def stack_states(*states: Any) -> Any:
    """Trees of the same structure, stacked along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
