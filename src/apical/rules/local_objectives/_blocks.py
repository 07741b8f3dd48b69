"""Blocks of nodes that learn by local objectives, with stop-gradients at their ends.

    total = L + sum_n objective_n(s_n) + sum_n <dL/ds_n, s_n>,    n the ends of blocks

where consumers read stop_gradient(s_n), and dL/ds_n is the gradient of terms of the
loss that read a node directly, not through the output (a penalty on activity; usually
0).

A parameter belongs to the block whose end it reaches first. Blocks are refused where a
node reaches two ends: the objective of the upper one would then train parameters below
the lower one, through a path that bypasses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ...circuit import LOSS, OUTPUT, Circuit, Run, inner


def block_ends(circuit: Circuit, blocks: int | tuple[str, ...]) -> tuple[str, ...]:
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
    """The ends of blocks (or the loss) that a node reaches through other nodes.

    As worded in error messages.
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


# Maps the values at the ends of blocks and the read-outs to an objective for each end.
Objectives = Callable[[dict[str, jax.Array], Any], dict[str, jax.Array]]


class BlockGradients(NamedTuple):
    """One evaluation, the objectives, and the gradients of their sum."""

    run: Run
    objectives: dict[str, jax.Array]
    grads: Any
    readouts: Any


class BlockObjectives(NamedTuple):
    """A circuit with a stop-gradient and an objective at the end of each block."""

    circuit: Circuit
    params: Any
    args: Any
    ends: tuple[str, ...]
    objectives: Objectives

    def gradients(self, readouts: Any) -> BlockGradients:
        """The gradients with respect to the parameters and the read-outs."""
        learned, _ = self.circuit.leaves.split(self.params)
        (_, (run, objectives)), (grads, by_readout) = jax.value_and_grad(
            self._total(), argnums=(0, 1), has_aux=True
        )(learned, readouts, {})
        grads = self.circuit.leaves.combine(grads)
        return BlockGradients(run, objectives, grads, by_readout)

    def signals(self, readouts: Any) -> tuple[dict[str, jax.Array], Any]:
        """The value of each node, and the gradient there."""
        learned, _ = self.circuit.leaves.split(self.params)
        teaching, (run, _) = jax.grad(self._total(), argnums=2, has_aux=True)(
            learned, readouts, self.circuit.zeros()
        )
        return run.sites, teaching

    def _total(self) -> Callable[..., Any]:
        """The sum above, as a function of leaves, read-outs and offsets at nodes."""
        circuit, direct = self.circuit, self._direct_gradients()
        _, fixed = circuit.leaves.split(self.params)

        def tap(site: str, computed: Any, injected: Any) -> Any:
            value = computed if injected is None else computed + injected
            return jax.lax.stop_gradient(value) if site in self.ends else value

        def total(learned: Any, readouts: Any, offsets: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, self.args, tap=tap, inject=offsets)
            values = {n: run.sites[n] + offsets.get(n, 0) for n in self.ends}
            objectives = self.objectives(values, readouts)
            penalties = (inner(direct[n], v) for n, v in values.items())
            objective = sum(objectives.values(), start=run.loss)
            return sum(penalties, start=objective), (run, objectives)

        return total

    def _direct_gradients(self) -> dict[str, jax.Array]:
        """The gradient of the loss at each end, except through the output."""
        every = self.circuit.zeros()
        still = {n: every[n] for n in self.ends}
        sites = [*every, OUTPUT]

        def stop(site: str, computed: Any, injected: Any) -> Any:
            del site
            value = jax.lax.stop_gradient(computed)
            return value if injected is None else value + injected

        def loss(offsets: Any) -> jax.Array:
            given: dict[str, Any] = {"tap": stop, "inject": offsets, "sites": sites}
            return self.circuit.run(self.params, self.args, **given).loss

        return jax.grad(loss)(still)
