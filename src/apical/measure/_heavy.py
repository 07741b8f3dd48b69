"""Which operations of a program are the work: products, convolutions, solvers."""

from __future__ import annotations

from ..circuit._jaxpr import Body, Op
from ..circuit._primitives import LINEAR_NOT_REWRITTEN, SYNAPTIC

HEAVY = (
    SYNAPTIC
    | LINEAR_NOT_REWRITTEN
    | {"cholesky", "eig", "eigh", "fft", "householder_product", "lu", "qr", "schur"}
    | {"svd", "tridiagonal"}
)

# Calls whose body stands for the operation, with the same inputs and outputs.
_CALLS = frozenset({"custom_jvp_call", "custom_vjp_call", "remat"})


class NotKnown(Exception):
    """How often something heavy runs, or how much work it is, cannot be read."""


def holds_heavy(op: Op) -> bool:
    """Whether an operation is heavy, or holds one that is, at any depth."""
    inner = (o for body in op.bodies for o in body.ops)
    return op.name in HEAVY or any(holds_heavy(o) for o in inner)


def called(op: Op) -> Body:
    """The body that stands for an operation other than a loop or a choice."""
    if op.name in _CALLS and len(op.bodies) == 1:
        (body,) = op.bodies
        if len(body.inputs) == len(op.inputs):
            return body
    raise NotKnown(op.name)
