"""Which nodes are stochastic, and where drives are."""

from __future__ import annotations

from ._circuit import Circuit, drive_of
from ._dataflow import draws


def stochastic_nodes(circuit: Circuit) -> tuple[str, ...]:
    """The names of the nodes that `apical.bernoulli` marks."""
    flow, names = circuit._flow, circuit._names
    return tuple(names[n] for n in circuit._numbers if draws(flow.maker[n][0]))


def drive_sites(circuit: Circuit) -> dict[str, str]:
    """For each node the site of its drive; nodes of one drive have one site."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for number in circuit._numbers:
        name = circuit._names[number]
        found[name] = first.setdefault(circuit._drive(number), drive_of(name))
    return found
