"""The steps of a node in a loop, and those of the output whose error it receives."""

from __future__ import annotations

import warnings

from ...circuit import Circuit, Node, moved_steps
from .._axis_maps import AxisMap, axis_maps_by_output


def require_same_steps(circuit: Circuit, rule: str) -> None:
    """Require that the error of a step can be sent to the nodes of the same step.

    An output without steps is accepted with a warning: its error is sent to every step.

    Raises:
      ValueError: if the output has other steps than the loop, or if steps are moved
        between a node and the output.
    """
    everywhere: list[str] = []
    maps = axis_maps_by_output(circuit)
    for node in circuit.nodes:
        if not node.loops:
            continue
        for axes in maps[node.name]:
            if all(axis in axes.rows for axis in range(len(node.loops))):
                _require_unmoved(circuit, node, rule)
            elif len(axes.columns) > 1:
                _refuse(node, axes, rule)
            else:
                everywhere.append(node.name)
    if everywhere:
        warnings.warn(
            f"The output has no axis of steps, so {rule} sends its error to every step "
            f"of {', '.join(map(repr, dict.fromkeys(everywhere)))}, and not to the "
            "step that made it. Let the loss read an output at each step (with a "
            "weight of 0 for those that do not count), or mark it with "
            "`apical.output` inside the loop.",
            UserWarning,
            stacklevel=4,
        )


def _require_unmoved(circuit: Circuit, node: Node, rule: str) -> None:
    for steps in node.loops:
        moved = moved_steps(circuit, node.name, steps)
        if moved:
            raise ValueError(
                f"{rule} sends the error of a step to node {node.name!r} at the same "
                f"step, and between that node and the output steps are moved, at "
                f"{moved[0]}. Mark the output of each step with `apical.output` inside "
                "the loop, and give the loss weights of 0 where it shall not count."
            )


def _refuse(node: Node, axes: AxisMap, rule: str) -> None:
    raise ValueError(
        f"{rule} sends the error of a step to node {node.name!r} at the same step, and "
        f"the output, of shape {axes.output_unfolded}, has other steps than the loop, "
        f"which has {' x '.join(map(str, node.loops))}. Mark the output of each step "
        "with `apical.output` inside the loop, and give the loss weights of 0 where it "
        "shall not count."
    )
