"""Which nodes are stochastic, and where drives are."""

from __future__ import annotations

from ._circuit import Circuit, drive_of
from ._marks import draws


def stochastic_nodes(circuit: Circuit) -> tuple[str, ...]:
    """The names of the nodes that `apical.bernoulli` marks."""
    flow, names = circuit._flow, circuit._names
    return tuple(names[n] for n in circuit._numbers if draws(flow.maker[n][0]))


def drive_sites(circuit: Circuit) -> dict[str, str]:
    """For each node the site of its drive, or of its value where it has none.

    Nodes of one drive have one site, and so have a drive and the node that it is.
    """
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for number, node in zip(circuit._numbers, circuit.nodes, strict=True):
        at = circuit._drive(number) if node.unit else number
        site = drive_of(node.name) if node.unit else node.name
        found[node.name] = first.setdefault(at, site)
    return found
