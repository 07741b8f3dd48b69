"""How a network of units settles, shared by all rules that contrast its states.

    s_n <- (1 - rate) s_n + rate rho_n(z_n + feedback_n),
    feedback_n = sum_m (c_m / c_n) <s_m, dz_m/ds_n> + what the loss or the output adds,

all units at once. A step is one forward pass and one backward pass to the units, none
to parameters; nothing of one step is kept for the next. Rates are damping: at 1 a unit
takes its new value, and what oscillates at 1 may settle below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import LOSS, OUTPUT, Circuit, chains, drive_of, require_reduction
from .._iteration import repeat
from .._numerics import root_of_ratio, squared_norm

# ---- A network of units as an energy model: where that is defined, and how units
# count.
#
#     E(s) = sum_n c_n (G_n(s_n) - <s_n, z_n(s)>),      G_n' = rho_n^-1,
#
# has its minima where every unit answers its drive and what comes back from the units
# that it drives:
#
#     s_n = rho_n(z_n + sum_m (c_m / c_n) <s_m, dz_m/ds_n>).
#
# c_n = gain^-k, with k nodes behind n on the longest path to the loss, makes what comes
# back `gain` times weaker from layer to layer (Xie & Seung 2003); all are 1 at gain 1.


def require_units(circuit: Circuit, params: Any, args: Any, rule: str) -> None:
    """Refuse where no energy is defined, or where it is not one for each example."""
    _require_units_alone(circuit, rule)
    circuit.require_nodes()
    if circuit.batch_size > 1:
        _require_axes(circuit, rule)
    circuit.require_separate(rule)
    require_reduction(circuit, params, args)


def _require_units_alone(circuit: Circuit, rule: str) -> None:
    if not circuit.nodes:
        raise ValueError(
            f"{rule} needs units, and none was found: no activity that enters a "
            "synapse is a nonlinearity of one drive. Put one (`jnp.tanh`, ...) after "
            "each layer but the last, and pooling, gates and masks before it; a "
            "nonlinearity that is read otherwise is marked by `apical.node`."
        )
    for node in circuit.nodes:
        if not node.unit:
            raise ValueError(
                f"{rule} needs units, and node {node.name!r} ({node.where}) is not a "
                "nonlinearity of one drive. Leave `nodes=` at 'unit', and mark only "
                "the values of nonlinearities."
            )
    found = chains(circuit)
    if found:
        raise ValueError(
            f"{rule} needs a unit between one synapse and the next, and there is none "
            f"between {found[0]}. Apply a nonlinearity between them, or mark the one "
            "that is there with `apical.node` (before what pools or masks it)."
        )
    if not circuit.separated:
        raise ValueError(
            f"{rule} needs each synapse to drive one unit, or the loss alone, and one "
            "here drives more. Give each unit synapses of its own."
        )


def _require_axes(circuit: Circuit, rule: str) -> None:
    for node in circuit.nodes:
        if circuit.example_axes[node.name] is None:
            raise ValueError(
                f"{rule} has an energy for each example, and unit {node.name!r} "
                f"({node.where}) is the same for all of them. Compute it from "
                "parameters without a unit, or see that `batch_axes` describes the "
                "arguments."
            )


def strengths(circuit: Circuit, gain: Any, behind: int = 0) -> dict[str, Any]:
    """c_n for each node; `behind` counts a linear output that is a unit too."""
    return {n: gain ** -(k + behind) for n, k in levels(circuit).items()}


def levels(circuit: Circuit) -> dict[str, int]:
    """How many nodes stand behind each on its longest path to the loss.

    What a later step of a loop reads does not count: all steps of a unit count alike.
    """

    @cache
    def level(name: str) -> int:
        edges = circuit.reach[name]
        after = [to for to, later in edges if not later and to is not LOSS]
        return 1 + max(map(level, after)) if after else 0

    return {node.name: level(node.name) for node in circuit.nodes}


Values = dict[str, jax.Array]
# Units that are slow to settle are then still up to ten times as far from rest.
SETTLED = 1e-3


class Settling(NamedTuple):
    """Diagnostics of settling, for each state: the free one first.

    Attributes:
      residual: how much the last step still moved the units (over the rate), relative
        to how far apart the states are that are contrasted. Units count as in the
        energy. The error of the update is about that, or more where units are slow.
      settled: whether that is below 1e-3 (never with numbers not finite).
    """

    residual: jax.Array
    settled: jax.Array


class Read(NamedTuple):
    """What a network reads with every unit held."""

    drives: Values
    loss: Any
    output: Any


@dataclass(frozen=True)
class Units:
    """A network whose units are held at given values.

    Attributes:
      circuit: of the loss function, its nodes all units.
      params: the parameters.
      args: the arguments after them.
      strength: c_n of each node.
      with_output: whether the output is read too.
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

    def read(self, values: Values, learned: Any = None, with_loss: bool = True) -> Read:
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

    def answers(self, values: Values, drives: Values) -> Values:
        """What units answer to drives; the values hold the steps of a loop apart."""
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

    def scaled(self, values: Values) -> Values:
        """c_n s_n."""
        return {n: _times(self.strength[n], v) for n, v in values.items()}

    def feedback(
        self,
        values: Values,
        sent: Values,
        nudge: Any = None,
        output: Callable[[Any], Any] | None = None,
    ) -> tuple[Values, Values]:
        """The drives, and what comes back to each unit.

        Args:
          values: what consumers read.
          sent: what each unit sends back through its own drive.
          nudge: how strongly the loss of an example pulls; None: it is not read.
          output: what the output sends back, given what it reads, where it is read.
        """
        nudged = nudge is not None
        found, back = jax.vjp(lambda v: self.read(v, with_loss=nudged), values)
        message = None if output is None else output(found.output)
        pull = nudge * self.circuit.scale if nudged else 0.0
        loss = _times(-pull, jnp.ones_like(found.loss)) if nudged else None
        (came,) = back(Read({n: sent[n] for n in found.drives}, loss, message))
        return found.drives, came

    def step(
        self,
        values: Values,
        rate: Any,
        nudge: Any = None,
        output: Callable[[Any], Any] | None = None,
    ) -> Values:
        """All units move at once."""
        drives, came = self.feedback(values, self.scaled(values), nudge, output)
        total = {
            n: z + _times(1 / self.strength[n], came[n]) for n, z in drives.items()
        }
        return damped(values, self.answers(values, total), rate)

    def product(
        self,
        learned: Any,
        values: Values,
        sent: Values,
        nudge: Any = None,
        output: Any = None,
    ) -> Any:
        """sum_n <sent_n, z_n> + <output, y> - nudge L, with the values held."""
        found = self.read(values, learned, with_loss=nudge is not None)
        parts = [jnp.sum(v * found.drives[n]) for n, v in sent.items()]
        if output is not None:
            parts.append(jnp.sum(output * found.output))
        if nudge is not None:
            parts.append(-nudge * self.circuit.scale * found.loss)
        return sum(parts)

    def at_rest(self, values: Values) -> Any:
        """The run with every unit held: loss, aux, predictions and the output."""
        sites = [*self.names, *([OUTPUT] if self.with_output else [])]
        return self.circuit.run(
            self.params, self.args, tap="clamp", inject=values, sites=sites
        )


def _times(number: Any, array: jax.Array) -> jax.Array:
    return jnp.asarray(number, array.dtype) * array


def damped(values: Values, moved: Values, rate: Any) -> Values:
    """A step of a rate from some values towards others."""

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        part = jnp.asarray(rate, old.dtype)
        return (1 - part) * old + part * new

    return jax.tree.map(mix, values, moved)


class State(NamedTuple):
    """Where a network came to rest: values, and how far the last step went, squared."""

    values: Values
    unrest: jax.Array


def settle(
    units: Units,
    values: Values,
    step: Callable[[Values], Values],
    steps: int,
    rate: Any,
) -> State:
    """Take all steps, and measure the last."""
    before = repeat(units.circuit, step, values, steps - 1)
    after = step(before)
    moved = units.scaled(jax.tree.map(jnp.subtract, after, before))
    return State(after, squared_norm(moved) / jnp.square(jnp.asarray(rate, float)))


def settling(units: Units, free: State, others: State) -> Settling:
    """The diagnostics of a free state and of others, stacked."""
    apart = jax.tree.map(lambda s, f: s - f, others.values, free.values)
    count = len(others.unrest)
    distance = squared_norm(units.scaled(apart)) / count
    unrest = jnp.concatenate([free.unrest[None], others.unrest])
    return judged(unrest, distance)


def judged(unrest: jax.Array, distance: jax.Array) -> Settling:
    """The diagnostics from two squares: how much moved, and how far apart it is."""
    # States that do not differ have settled only where nothing moves.
    apart = jnp.where(unrest == 0, 0, jnp.inf)
    residual = jnp.where(distance == 0, apart, root_of_ratio(unrest, distance))
    return Settling(residual, residual < SETTLED)


def stacked(*states: Any) -> Any:
    """Trees of one structure as one tree, the states in front."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
