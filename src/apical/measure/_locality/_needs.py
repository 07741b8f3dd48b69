"""From the measured rows to the words of `Rule.needs`.

A need that the network cannot show (a shortcut, where every leaf is next to the output)
is left out, as is one that neither pass decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._result import LeafLocality

_LEVELS = ("full", "scale-free", "sign")
# In one round of a mechanism a unit reads its neighbours: an error goes up and down.
_HOPS_OF_A_MECHANISM = 2
# Heavy operations between neighbours: to a read-out and back.
_NEIGHBOURS = 3


def decided_needs(
    rows: Sequence[LeafLocality],
    *,
    hops_per_round: float | None,
    state_both_ways: bool,
    state_learns: bool,
    backward_in_time: bool | None,
    derivatives: bool,
    outputs: int,
    moves_in_rounds: bool,
) -> dict[str, bool]:
    """Whether the rule has each need; those that were not decided are left out."""
    hidden = [row for row in rows if row.hidden]
    found = {
        "weight transport": _transport(rows, state_both_ways),
        # Of several updates in one call, only the last can be told.
        "separate phases": None if moves_in_rounds else _phases(hidden),
        "global error": _global_error(hidden, hops_per_round, outputs),
        "global reward": _global_reward(hidden, outputs),
        "stored activities": _stored(hidden, backward_in_time),
        "derivative of the nonlinearity": _derivative(rows, derivatives),
        "update locking": None if moves_in_rounds else _locking(hidden),
        "second network": state_learns,
        "labels in every layer": _labels(hidden, outputs),
        "backward through time": _backward(hidden, backward_in_time),
    }
    return {need: bool(each) for need, each in found.items() if each is not None}


def _transport(rows: Sequence[LeafLocality], state_both_ways: bool) -> bool | None:
    levels = [level for row in rows for level in (row.transport, row.copied)]
    if any(level in _LEVELS for level in levels):
        return True
    if any(row.second != "none" for row in rows):
        return None  # forward-mode reads the weights above, but not backwards
    # Through a read-out of the rule's own an error returns by the same weights.
    none = all(level == "none" for level in levels) and not state_both_ways
    return False if none else None


def _phases(hidden: Sequence[LeafLocality]) -> bool | None:
    """False if each unit has one value, and nothing comes back from layers above.

    Several values may be found one after another or side by side, as in two
    compartments of a unit; and a signal may come back beside the activities, or in
    their place. Neither is in the program, which has no clock.
    """
    if not hidden or any(row.values != 1 for row in hidden):
        return None
    back = any(row.output or row.label_number or row.reads_output for row in hidden)
    # A readout of a block of layers sends a signal back within the block.
    waits = any(row.locked == "yes" for row in hidden)
    return None if back or waits else False


def _backward(
    hidden: Sequence[LeafLocality], backward_in_time: bool | None
) -> bool | None:
    """A loop that runs backwards over a fixed number of steps is not decided."""
    grows = [row.stores_more for row in hidden if row.stores_more is not None]
    return None if backward_in_time and grows and not any(grows) else backward_in_time


def _locking(hidden: Sequence[LeafLocality]) -> bool | None:
    if any(row.locked == "yes" for row in hidden):
        return True
    return False if hidden and all(r.locked == "none" for r in hidden) else None


def _derivative(rows: Sequence[LeafLocality], derivatives: bool) -> bool | None:
    if not derivatives:
        return None
    if any(row.slopes for row in rows):
        return True
    return None if any(row.possible_slopes for row in rows) else False


def _global_error(
    hidden: Sequence[LeafLocality], hops_per_round: float | None, outputs: int
) -> bool | None:
    """Whether a vector from the output skips layers."""
    if hops_per_round is not None and hops_per_round > _HOPS_OF_A_MECHANISM:
        return True
    far = [r for r in hidden if r.distance is not None and r.distance >= 2]
    if not far or outputs < 2:
        return None
    if _labels(hidden, outputs):  # the same vector may be an error of the output
        return None
    return any(map(_skips_layers, far)) and not _global_reward(hidden, outputs)


def _skips_layers(row: LeafLocality) -> bool:
    """Whether a path from the output is shorter than the network's: in both passes."""
    if row.output is None or row.distance is None or not row.reads_output:
        return False
    return max(row.output.fewest, row.crossings) < row.distance


def _labels(hidden: Sequence[LeafLocality], outputs: int) -> bool | None:
    """Whether layers are sent the label, and not the error of the output."""
    far = any(row.distance is not None and row.distance >= 2 for row in hidden)
    if not far or outputs < 2:
        return None
    if any(row.label is None or row.reads_output for row in hidden):
        return False
    if _comes_with_the_input(hidden):
        return False
    return any(r.label and r.label.fewest < (r.distance or 0) for r in hidden)


def _global_reward(hidden: Sequence[LeafLocality], outputs: int) -> bool | None:
    """Whether what hidden layers are told is one number for each example."""
    if not hidden or outputs < 2:
        return None
    told = [r for r in hidden if r.label or r.output or r.label_number]
    if not told:
        return None if _compares_inputs(hidden) else False
    if all(r.label is None and r.output is None for r in told):
        return True
    if all(r.rank in (0, 1) for r in told):
        return True if any(r.rank for r in told) else None
    # One number may come beside a vector.
    beside = any(r.label_number for r in hidden)
    return None if beside or _comes_with_the_input(hidden) else False


def _compares_inputs(hidden: Sequence[LeafLocality]) -> bool:
    """Whether a rule without label or output passes several inputs.

    Which of them is to be preferred is a constant of the program, and they are there at
    the same time.
    """
    told = any(row.label or row.output or row.label_number for row in hidden)
    return not told and any((row.values or 1) > 1 for row in hidden)


def _comes_with_the_input(hidden: Sequence[LeafLocality]) -> bool:
    """Whether the label arrives from below, as a part of the input."""
    if any(row.output is not None for row in hidden):
        return False
    paths = [(r.distance or 0, r.label.fewest) for r in hidden if r.label is not None]
    return len(paths) > 1 and max(paths)[1] < min(paths)[1]


def _stored(
    hidden: Sequence[LeafLocality], backward_in_time: bool | None
) -> bool | None:
    """Whether activities are held longer, the farther a layer is from the output."""
    if backward_in_time is not None:
        # Without a backward loop, what is stacked may be used at its own step.
        if any(row.stores_more is not None for row in hidden):
            return any(row.stores_more for row in hidden)
        stored = any(row.stored_bytes for row in hidden)
        return (backward_in_time or None) if stored else False
    held = {row.distance: row.held for row in hidden if row.held > 0}
    ordered = [held[distance] for distance in sorted(held, key=lambda d: d or 0)]
    if len(ordered) > 1 and ordered[-1] > ordered[0]:
        return True
    # A difference of two passes also keeps what the first one found.
    passes = any(row.apart > _NEIGHBOURS for row in hidden)
    # The factor of the lowest leaf is the input, which is there all the time.
    waiting = [row.held for row in hidden if row.locked != "none"]
    longest = max([*ordered, *(row.apart for row in hidden)], default=0)
    alone = len(ordered) < 2 and longest > 1
    unclear = passes or alone or _compares_inputs(hidden)
    return None if unclear or (waiting and not any(waiting)) else False
