"""The printed table of a circuit, and its Mermaid flowchart."""

from __future__ import annotations

import html
from collections.abc import Sequence

from ._analysis._nodes import LOSS, Edge, End
from ._structure import Structure


def table(circuit: Structure) -> str:
    """Nodes, synapses, and the parameters that belong to no synapse."""
    nodes = [
        [n.name, _shape(n.shape), n.why, "unit" if n.unit else "", reach, n.where]
        for n, reach in zip(
            circuit.nodes, (_listed(r) for r in circuit.reach.values()), strict=True
        )
    ]
    synapses = [
        [
            s.name,
            s.operation if s.weight is not None else f"{s.operation} (not rewritten)",
            _shape(s.shape),
            "x".join(map(str, s.loops)),
            s.scope or "-",
            s.where,
        ]
        for s in circuit.synapses
    ]
    leaves = [[path, why] for path, why in circuit.unreached.items()]
    parts = [
        f"{_counted(len(nodes), 'node')}, {_counted(len(synapses), 'synapse')}, "
        f"longest path {_counted(circuit.depth, 'node')}",
        _grid(["node", "shape", "why", "drive", "reaches", "where"], nodes),
        _grid(["synapse", "operation", "weight", "loop", "scope", "where"], synapses),
        _grid(["parameter without a synapse", "why"], leaves),
    ]
    if circuit.fixed:
        parts.append(
            "not learned, so that signals pass back through it as it is: "
            + ", ".join(circuit.fixed)
        )
    if circuit.gains:
        parts.append(_grid(["gain", "where"], [list(g) for g in circuit.gains]))
    if circuit.exact:
        parts.append(
            "products of two activities, so that signals pass back through either as "
            "it is: " + ", ".join(circuit.exact)
        )
    if circuit.frozen:
        parts.append(
            "the same for all examples, acts as a weight, and is not learned: "
            + ", ".join(dict.fromkeys(map(str, circuit.frozen)))
        )
    if circuit.unknown:
        parts.append("not known to apical: " + ", ".join(circuit.unknown))
    return "\n\n".join(p for p in parts if p)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _listed(edges: Sequence[Edge]) -> str:
    return ", ".join(map(str, edges))


def _shape(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    columns = list(zip(header, *rows, strict=True))
    used = [c for c in columns if any(c[1:])]
    widths = [max(map(len, c)) for c in used]
    rule = tuple("-" * w for w in widths)
    lines = [rule_line for rule_line in zip(*used, strict=True)]
    lines.insert(1, rule)
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def mermaid(circuit: Structure) -> str:
    """A Mermaid flowchart: one box per node, one arrow per edge."""
    numbers: dict[str | End, str] = {
        **{n.name: f"n{i}" for i, n in enumerate(circuit.nodes)},
        LOSS: "loss",
    }
    lines = ["flowchart TD"]
    for node in circuit.nodes:
        name = html.escape(node.name.replace('"', "'"), quote=False)
        label = f"{name}<br/>{_shape(node.shape)}"
        lines.append(f'  {numbers[node.name]}["{label}"]')
    lines.append("  loss((loss))")
    for name, reached in circuit.reach.items():
        for target in reached:
            arrow = "-.->" if target.later else "-->"
            lines.append(f"  {numbers[name]} {arrow} {numbers[target.to]}")
    return "\n".join(lines)
