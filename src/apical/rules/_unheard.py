"""Which nodes no signal from the loss comes to, in as few steps as a rule takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from ..circuit import Circuit

_NAMED = 4


def steps_across(circuit: Circuit, least: int, whole: bool = False) -> int:
    """The number of steps where none is given: enough for a signal to cross.

    Steps of about half the way need twice the longest path; of whole ones, one more
    than that path shows that they rest.
    """
    return max(least, circuit.depth + 1 if whole else 2 * circuit.depth)


def warn_of_unheard(
    rule: str, steps: int, distances: Mapping[str, int], argument: str = "steps"
) -> None:
    """Warn where steps are too few for a signal to come to some node.

    What makes such a node takes a gradient of exactly 0, or, in a loop, none from its
    first steps, and no residual tells.

    Args:
      rule: what it is called.
      steps: how many it takes.
      distances: the steps that a signal needs to come to each node, in forward order.
      argument: which of the rule's arguments says how many.
    """
    unheard = [repr(name) for name, needed in distances.items() if needed > steps]
    if not unheard:
        return
    more = len(unheard) - _NAMED
    listed = ", ".join(unheard[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    needed = max(distances.values())
    warnings.warn(
        f"With `{argument}={steps}` of {rule} no signal from the loss comes to the "
        f"nodes {listed} (in a loop: to its first steps), so that what makes them is "
        f"not taught. It takes `{argument}={needed}` here: pass that or more"
        + (", or leave it at None." if argument.endswith("steps") else "."),
        stacklevel=4,
    )
