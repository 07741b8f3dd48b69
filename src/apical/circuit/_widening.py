"""Traces in which frozen weights are learned leaves, with the nodes of the first trace.

The nodes are those of the circuit without them, so that a rule holds the same values
and reports the same names, whether a frozen network has feedback weights or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ._analysis._graph import walk
from ._batching._batch import Batch
from ._jaxpr import Program
from ._program_constants import constant_arrays, reading
from ._structure import Structure


class Widening(NamedTuple):
    """What a trace takes from the trace without frozen weights.

    Attributes:
      structure: its structure.
      retrace: its batch at other parameters (with the frozen weights) and arguments.
      constants: for learned leaves by name, the number of the array, among those that
        the loss function closes over, that the leaf replaces.
    """

    structure: Structure
    retrace: Callable[[Any, Any], Batch]
    constants: Mapping[str, int]

    def at(self, params: Any, args: Any) -> Widening:
        """The same at other shapes of parameters and arguments."""
        return self._replace(structure=self.retrace(params, args).structure)

    def program(self, program: Program, names: Sequence[str]) -> Program:
        """The program that reads these constants from its inputs."""
        at = {name: program.body.inputs[i] for i, name in enumerate(names)}
        arrays = constant_arrays(program)
        inputs = {
            number: at[name]
            for name, i in self.constants.items()
            for number in arrays[i]
        }
        return reading(program, inputs)


def same_nodes(ours: Structure, theirs: Program) -> dict[int, str]:
    """The names of our nodes, by the variables of their program of the same loss.

    Args:
      ours: the structure of the loss function.
      theirs: the program of the same loss function with more learned leaves.
    """
    pairs = zip(_made(ours.flow.program), _made(theirs), strict=True)
    at = dict(pairs)
    return {at[n]: name for n, name in ours.names.items()}


def _made(program: Program) -> Iterator[int]:
    """The variables that operations make, in the order of the computation."""
    for site in walk(program.body):
        yield from site.op.outputs
