"""Target sites: the sites that have a target, and those that it is pulled through.

| site           | has a target              | passes it down through           |
|----------------|---------------------------|----------------------------------|
| a unit         | always                    | its drive: no rho'(z)            |
| any other node | always                    | its prediction                   |
| the output     | where targets begin there | itself                           |
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ...circuit import LOSS, OUTPUT, Circuit, Edge, drive_of, zeros
from .._numerics import NodeArrays, upcast


class TargetSites(NamedTuple):
    """The sites of a circuit that have a target.

    Attributes:
      passes: for each site, the site through which its target is pulled back.
      above: for each site, the sites directly above it, if any: the input of its
        inverse.
    """

    passes: dict[str, str]
    above: dict[str, tuple[str, ...]]

    @property
    def visited(self) -> list[str]:
        """All target sites, and all sites that a target passes through."""
        return list(dict.fromkeys([*self.passes, *self.passes.values()]))


def target_sites(circuit: Circuit, from_output: bool) -> TargetSites:
    """The nodes; and the output, if targets begin there and it is not a node."""
    passes = {n.name: drive_of(n.name) if n.unit else n.name for n in circuit.nodes}
    has_output = from_output and circuit.output_node is None
    if has_output:
        passes[OUTPUT] = OUTPUT
    above = {
        name: _above(reached, has_output) for name, reached in circuit.reach.items()
    }
    return TargetSites(passes, {name: each for name, each in above.items() if each})


def _above(reached: tuple[Edge, ...], has_output: bool) -> tuple[str, ...]:
    nodes = [edge.to for edge in reached if edge.to is not LOSS]
    ends = [OUTPUT] if has_output and Edge(LOSS) in reached else []
    return tuple(dict.fromkeys([*nodes, *ends]))


def zeros_at(circuit: Circuit, sites: TargetSites) -> NodeArrays:
    """Zeros of the shape of each site."""
    found = circuit.zeros()
    if OUTPUT in sites.passes:
        found[OUTPUT] = zeros(circuit.output_shape)
    return found


def first_steps(
    circuit: Circuit, params: Any, args: Any, sites: TargetSites, size: Any
) -> tuple[jax.Array, Any, NodeArrays, NodeArrays]:
    """The loss, aux, all values, and the gradient step of each site on the loss.

        step_n = -size dL/ds_n,     L of one example, every site held

    It is 0 except where the loss reads the site directly.
    """

    def loss(errors: NodeArrays) -> Any:
        run = circuit.run(params, args, tap="hold", inject=errors)
        return run.loss, (run.loss, run.aux, run.sites)

    zero = zeros_at(circuit, sites)
    slopes, (value, aux, values) = jax.grad(loss, has_aux=True)(zero)
    factor = -size * circuit.scale
    steps = {n: (factor * upcast(s)).astype(s.dtype) for n, s in slopes.items()}
    return value, aux, values, steps
