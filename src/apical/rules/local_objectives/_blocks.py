"""Where blocks end: the nodes at which an objective stands and no gradient passes.

A parameter belongs to the block whose end it reaches first. Were there two such ends,
the objective of the upper one would teach below the lower one, through a path beside
it: such blocks are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import LOSS, OUTPUT, Circuit, Run, inner
from .._optimizers import apply_optimizer


def ends_of(circuit: Circuit, blocks: int | tuple[str, ...]) -> tuple[str, ...]:
    """The nodes at which blocks end, in the order of the forward computation."""
    hidden = [n.name for n in circuit.nodes if n.name != circuit.output_node]
    if isinstance(blocks, int):
        last = len(hidden) - 1
        found = [n for i, n in enumerate(hidden) if (i + 1) % blocks == 0 or i == last]
    else:
        unknown = sorted(set(blocks) - set(hidden))
        if unknown:
            raise ValueError(
                f"`blocks` names {unknown[0]!r}, and the hidden nodes are {hidden}."
            )
        found = [n for n in hidden if n in blocks]
    if not found:
        raise ValueError(
            "No hidden node was found, so there is no place for a local objective: the "
            "only node is the output."
        )
    _require_one_end(circuit, found, hidden)
    return tuple(found)


def _require_one_end(circuit: Circuit, ends: list[str], hidden: list[str]) -> None:
    for name in hidden:
        reached = {repr(name)} if name in ends else _reached(circuit, name, ends)
        if len(reached) > 1:
            first, second = sorted(reached)[:2]
            raise ValueError(
                f"Node {name!r} reaches the end of more than one block ({first} and "
                f"{second}), so a gradient would cross a block. Let a block end at "
                f"{name!r} too: `blocks=1`, or name it in `blocks`."
            )


def _reached(circuit: Circuit, name: str, ends: list[str]) -> set[str]:
    """The ends, or the loss, that a node reaches through nodes that are no ends.

    Each as a message calls it.
    """
    found, seen, waiting = set[str](), {name}, [name]
    while waiting:
        for node, _ in circuit.reach[waiting.pop()]:
            if node is LOSS or node == circuit.output_node:
                found.add(LOSS.value)
            elif node in ends:
                found.add(repr(node))
            elif node not in seen:
                seen.add(node)
                waiting.append(node)
    return found


# ---- Walls: nodes that learn by objectives of their own, and let no gradient through.
#
#     total = L + sum_n objective_n(s_n) + sum_n <dL/ds_n, s_n>,   consumers read
# sg(s_n)
#
# with dL/ds_n what the loss reads of a node itself, not through the output (mostly 0).

# From the values at the walls and from read-outs: an objective for each wall.
Objectives = Callable[[dict[str, jax.Array], Any], dict[str, jax.Array]]


class Taught(NamedTuple):
    """One pass: the evaluation, the objectives, and the gradients of their sum."""

    run: Run
    objectives: dict[str, jax.Array]
    grads: Any
    readouts: Any


class Walled(NamedTuple):
    """A circuit with walls at some of its nodes, and an objective at each."""

    circuit: Circuit
    params: Any
    args: Any
    walls: tuple[str, ...]
    objectives: Objectives

    def taught(self, readouts: Any) -> Taught:
        """The gradients by the parameters and by the read-outs, in one pass."""
        learned, _ = self.circuit.leaves.split(self.params)
        (_, (run, objectives)), (grads, by_readout) = jax.value_and_grad(
            self._total(), argnums=(0, 1), has_aux=True
        )(learned, readouts, {})
        return Taught(run, objectives, self.circuit.leaves.combine(grads), by_readout)

    def signals(self, readouts: Any) -> tuple[dict[str, jax.Array], Any]:
        """Every node's value, and the gradient there."""
        learned, _ = self.circuit.leaves.split(self.params)
        teaching, (run, _) = jax.grad(self._total(), argnums=2, has_aux=True)(
            learned, readouts, self.circuit.zeros()
        )
        return run.sites, teaching

    def _total(self) -> Callable[..., Any]:
        """The sum above, of learned leaves, read-outs and errors at the nodes."""
        circuit, direct = self.circuit, self._read_directly()
        _, fixed = circuit.leaves.split(self.params)

        def tap(site: str, computed: Any, injected: Any) -> Any:
            value = computed if injected is None else computed + injected
            return jax.lax.stop_gradient(value) if site in self.walls else value

        def total(learned: Any, readouts: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, self.args, tap=tap, inject=errors)
            values = {n: run.sites[n] + errors.get(n, 0) for n in self.walls}
            objectives = self.objectives(values, readouts)
            penalties = (inner(direct[n], v) for n, v in values.items())
            taught = sum(objectives.values(), start=run.loss)
            return sum(penalties, start=taught), (run, objectives)

        return total

    def _read_directly(self) -> dict[str, jax.Array]:
        """What the loss reads of a wall itself."""
        every = self.circuit.zeros()
        still = {n: every[n] for n in self.walls}
        sites = [*every, OUTPUT]

        def held(site: str, computed: Any, injected: Any) -> Any:
            del site
            value = jax.lax.stop_gradient(computed)
            return value if injected is None else value + injected

        def loss(errors: Any) -> jax.Array:
            given: dict[str, Any] = {"tap": held, "inject": errors, "sites": sites}
            return self.circuit.run(self.params, self.args, **given).loss

        return jax.grad(loss)(still)


# ---- Read-outs of single nodes: drawn once, and learned by an optimiser of their own.

Shapes = dict[str, dict[str, tuple[int, int]]]


class ReadoutState(NamedTuple):
    """What local objectives read a node by, and the state of what learns it.

    Attributes:
      weights: for each node, a matrix `[units, columns]` for each use of it.
      optimizer: the optimiser's state; empty where the matrices are fixed.
    """

    weights: dict[str, dict[str, jax.Array]]
    optimizer: Any


def draw_readouts(key: jax.Array, shapes: Shapes, dtypes: dict[str, Any]) -> Any:
    """Matrices, uniform within 1/sqrt(units)."""
    counts = [r * c for each in shapes.values() for r, c in each.values()]
    # All at once: a generator is compiled anew for every shape.
    numbers = jax.random.uniform(key, (sum(counts),), minval=-1.0, maxval=1.0)
    parts = iter(jnp.split(numbers, list(accumulate(counts))[:-1]))
    return {
        node: {
            use: (next(parts).reshape(shape) * shape[0] ** -0.5).astype(dtypes[node])
            for use, shape in each.items()
        }
        for node, each in shapes.items()
    }


def moved(
    circuit: Circuit,
    optimizer: optax.GradientTransformation,
    state: ReadoutState,
    grads: Any,
) -> ReadoutState:
    """One step, along the gradient of a mean over the examples."""
    share = circuit.scale / circuit.batch_size
    grads = jax.tree.map(lambda g: share * g, grads)
    return ReadoutState(
        *apply_optimizer(optimizer, grads, state.optimizer, state.weights)
    )
