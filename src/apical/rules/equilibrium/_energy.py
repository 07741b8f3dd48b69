"""Energy of a network of units: checks that it is defined, and its coefficients c_n.

    E(s) = sum_n c_n (G_n(s_n) - <s_n, z_n(s)>),      G_n' = rho_n^-1

At its minima every unit is the response to its drive plus the feedback from the units
that it drives:

    s_n = rho_n(z_n + sum_m (c_m / c_n) <s_m, dz_m/ds_n>)

With strengths c_n = gain^-k, where k nodes come after n on the longest path to the
loss, feedback is `gain` times weaker than the forward weights in each layer (Xie &
Seung 2003); at gain 1 all strengths are 1.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ...circuit import LOSS, Circuit, chains, require_reduction
from ._reversed_derivatives import require_no_reversal


def require_units(
    circuit: Circuit, params: Any, args: Any, rule: str, may_be_flat: bool = False
) -> None:
    """Raise for circuits without an energy of units for each example.

    With `may_be_flat` a loss without any hidden layer will do: its energy is the loss.
    """
    if not circuit.nodes and may_be_flat and circuit.structure.is_flat:
        circuit.require_nodes(or_flat=True)
        return
    _require_units_alone(circuit, rule)
    circuit.require_nodes()
    if circuit.batch_size > 1:
        _require_axes(circuit, rule)
    circuit.require_separate(rule)
    require_no_reversal(circuit, params, args, rule)
    require_reduction(circuit, params, args)


def _require_units_alone(circuit: Circuit, rule: str) -> None:
    if not circuit.nodes:
        raise ValueError(
            f"{rule} needs units, and none was found: no activity that enters a "
            "synapse is a nonlinearity of one drive. Put one (`jnp.tanh`, ...) after "
            "each layer but the last, and pooling, gates and masks before it; a "
            "nonlinearity that is read otherwise is marked by `apical.node`."
        )
    for node in circuit.nodes:
        if not node.unit:
            raise ValueError(
                f"{rule} needs units, and node {node.name!r} ({node.where}) is not a "
                "nonlinearity of one drive. Leave `nodes=` at 'unit', and mark only "
                "the values of nonlinearities."
            )
    found = chains(circuit)
    if found:
        raise ValueError(
            f"{rule} needs a unit between one synapse and the next, and there is none "
            f"between {found[0]}. Apply a nonlinearity between them, or mark the one "
            "that is there with `apical.node` (before what pools or masks it)."
        )
    if not circuit.separated:
        raise ValueError(
            f"{rule} needs each synapse to drive one unit, or the loss alone, and one "
            "here drives more. Give each unit separate synapses."
        )


def _require_axes(circuit: Circuit, rule: str) -> None:
    for node in circuit.nodes:
        if circuit.example_axes[node.name] is None:
            raise ValueError(
                f"{rule} has an energy for each example, and unit {node.name!r} "
                f"({node.where}) is the same for all of them. Compute it from "
                "parameters without a unit, or see that `batch_axes` describes the "
                "arguments."
            )


def strengths(circuit: Circuit, gain: Any, behind: int = 0) -> dict[str, Any]:
    """c_n for each node; `behind` is 1 if a linear output counts as a unit."""
    return {n: gain ** -(k + behind) for n, k in levels(circuit).items()}


def levels(circuit: Circuit) -> dict[str, int]:
    """The number of nodes after each one on its longest path to the loss.

    Edges to a later step of a loop are left out, so that all steps of a unit have the
    same level.
    """

    @cache
    def level(name: str) -> int:
        edges = circuit.reach[name]
        after = [to for to, later in edges if not later and to is not LOSS]
        return 1 + max(map(level, after)) if after else 0

    return {node.name: level(node.name) for node in circuit.nodes}
