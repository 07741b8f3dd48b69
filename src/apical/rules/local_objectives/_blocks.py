"""Where blocks end: the nodes at which an objective stands and no gradient passes.

A parameter belongs to the block whose end it reaches first. Were there two such ends,
the objective of the upper one would teach below the lower one, through a path beside
it: such blocks are refused.
"""

from __future__ import annotations

from ...circuit import LOSS, Circuit


def ends_of(circuit: Circuit, blocks: int | tuple[str, ...]) -> tuple[str, ...]:
    """The nodes at which blocks end, in the order of the forward computation."""
    hidden = [n.name for n in circuit.nodes if n.name != circuit.output_node]
    if isinstance(blocks, int):
        last = len(hidden) - 1
        found = [n for i, n in enumerate(hidden) if (i + 1) % blocks == 0 or i == last]
    else:
        unknown = sorted(set(blocks) - set(hidden))
        if unknown:
            raise ValueError(
                f"`blocks` names {unknown[0]!r}, and the hidden nodes are {hidden}."
            )
        found = [n for n in hidden if n in blocks]
    if not found:
        raise ValueError(
            "No hidden node was found, so there is no place for a local objective: the "
            "only node is the output."
        )
    _require_one_end(circuit, found, hidden)
    return tuple(found)


def _require_one_end(circuit: Circuit, ends: list[str], hidden: list[str]) -> None:
    for name in hidden:
        reached = {repr(name)} if name in ends else _reached(circuit, name, ends)
        if len(reached) > 1:
            first, second = sorted(reached)[:2]
            raise ValueError(
                f"Node {name!r} reaches the end of more than one block ({first} and "
                f"{second}), so a gradient would cross a block. Let a block end at "
                f"{name!r} too: `blocks=1`, or name it in `blocks`."
            )


def _reached(circuit: Circuit, name: str, ends: list[str]) -> set[str]:
    """The ends, or the loss, that a node reaches through nodes that are no ends.

    Each as a message calls it.
    """
    found, seen, waiting = set[str](), {name}, [name]
    while waiting:
        for node, _ in circuit.reach[waiting.pop()]:
            if node is LOSS or node == circuit.output_node:
                found.add(LOSS.value)
            elif node in ends:
                found.add(repr(node))
            elif node not in seen:
                seen.add(node)
                waiting.append(node)
    return found
