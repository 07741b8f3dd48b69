"""The marks of `apical.node`, `apical.bernoulli` and `apical.output` in a program."""

from __future__ import annotations

from ._jaxpr import Op

NODE_MARK = "apical.node:"
BERNOULLI_MARK = "apical.bernoulli:"
OUTPUT_MARK = "apical.output"
NODE_MARKS = (NODE_MARK, BERNOULLI_MARK)


def mark_of(op: Op) -> str | None:
    """The mark of `apical.node`, `apical.bernoulli` or `apical.output`, if any."""
    name = str(op.params["name"]) if op.name == "name" else ""
    return name if name.startswith((*NODE_MARKS, OUTPUT_MARK)) else None


def draws(op: Op) -> bool:
    """Whether the operation is the mark of a stochastic node."""
    return (mark_of(op) or "").startswith(BERNOULLI_MARK)
