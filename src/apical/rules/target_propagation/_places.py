"""Where targets stand, and through what they pass on their way down.

| place          | a target stands there     | and passes down through          |
|----------------|---------------------------|----------------------------------|
| a unit         | always                    | its drive: no rho'(z)            |
| any other node | always                    | its prediction                   |
| the output     | where it begins there     | itself                           |
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ...circuit import LOSS, Circuit, Edge, drive_of, zeros
from .._rule import wide

OUTPUT = "output"
Values = dict[str, jax.Array]


class Places(NamedTuple):
    """The places of a circuit at which targets stand.

    Attributes:
      made: for each place the site through which a target passes down.
      above: for each place that has any, the places above it: what its inverse reads.
    """

    made: dict[str, str]
    above: dict[str, tuple[str, ...]]

    @property
    def visited(self) -> list[str]:
        """Every place, and every site that a target passes through."""
        return list(dict.fromkeys([*self.made, *self.made.values()]))


def places(circuit: Circuit, from_output: bool) -> Places:
    """The nodes, and the output where it is none of them and targets begin there."""
    made = {n.name: drive_of(n.name) if n.unit else n.name for n in circuit.nodes}
    has_output = from_output and circuit.output_node is None
    if has_output:
        made[OUTPUT] = OUTPUT
    above = {
        name: _above(reached, has_output) for name, reached in circuit.reach.items()
    }
    return Places(made, {name: each for name, each in above.items() if each})


def _above(reached: tuple[Edge, ...], has_output: bool) -> tuple[str, ...]:
    nodes = [edge.to for edge in reached if edge.to is not LOSS]
    ends = [OUTPUT] if has_output and Edge(LOSS) in reached else []
    return tuple(dict.fromkeys([*nodes, *ends]))


def zeros_at(circuit: Circuit, where: Places) -> Values:
    """A zero for each place, of its shape."""
    found = circuit.zeros()
    if OUTPUT in where.made:
        found[OUTPUT] = zeros(circuit.output_shape)
    return found


def first_steps(
    circuit: Circuit, params: Any, args: Any, where: Places, size: Any
) -> tuple[jax.Array, Any, Values, Values]:
    """The loss, aux, every value, and the loss's own step at each place.

        step_n = -size dL/ds_n,     L of one example, every place held

    It is 0 but where the loss reads the place itself.
    """

    def loss(errors: Values) -> Any:
        run = circuit.run(params, args, tap="hold", inject=errors)
        return run.loss, (run.loss, run.aux, run.sites)

    start = zeros_at(circuit, where)
    slopes, (value, aux, values) = jax.grad(loss, has_aux=True)(start)
    factor = -size * circuit.scale
    steps = {n: (factor * wide(s)).astype(s.dtype) for n, s in slopes.items()}
    return value, aux, values, steps
