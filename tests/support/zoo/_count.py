"""An independent count of synapses, to compare with the tables.

Every value is a set of two bits: depends on parameters, depends on arguments. A
synapse is a dot or a convolution of a value with the first bit alone and a value
with the second.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ._model import learned

PARAMETER, DATA = 1, 2
LINEAR = ("dot_general", "conv_general_dilated")


def count_synapses(loss_fn: Callable, params: Any, args: tuple[Any, ...]) -> int:
    leaves, rebuild = learned(params)
    closed = jax.make_jaxpr(lambda p, *a: loss_fn(rebuild(p), *a))(leaves, *args)
    bits = [PARAMETER] * len(leaves)
    bits += [DATA] * (len(closed.jaxpr.invars) - len(leaves))
    return _walk(_open(closed), bits)[1]


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _walk(jaxpr: Any, bits: list[int]) -> tuple[list[int], int]:
    """Return the bits of the outputs, and the synapses inside."""
    known = dict(zip(jaxpr.invars, bits, strict=True))

    def read(atom: Any) -> int:
        return 0 if hasattr(atom, "val") else known.get(atom, 0)

    found = 0
    for equation in jaxpr.eqns:
        out, inside = _equation(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, out, strict=True))
        found += inside
    return [read(atom) for atom in jaxpr.outvars], found


def _equation(equation: Any, bits: list[int]) -> tuple[list[int], int]:
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return _scan(equation, bits)
    if name == "while":
        return _while(params, bits)
    if name == "cond":
        return _cond(params["branches"], bits)
    bodies = [params[key] for key in ("jaxpr", "call_jaxpr") if key in params]
    if bodies:
        return _walk(_open(bodies[0]), bits)
    synapse = name in LINEAR and sorted(b & DATA for b in bits[:2]) == [0, DATA]
    synapse = synapse and PARAMETER in bits[:2]
    out = int(np.bitwise_or.reduce(bits)) if bits else 0
    return [out] * len(equation.outvars), int(synapse)


def _cond(branches: Any, bits: list[int]) -> tuple[list[int], int]:
    results = [_walk(_open(branch), bits[1:]) for branch in branches]
    outs = zip(*(out for out, _ in results), strict=True)
    joined = [int(np.bitwise_or.reduce([bits[0], *out])) for out in outs]
    return joined, sum(inside for _, inside in results)


def _scan(equation: Any, bits: list[int]) -> tuple[list[int], int]:
    body = _open(equation.params["jaxpr"])
    # What is scanned over has one axis more outside than inside.
    xs = _of_other_rank(equation.invars, body.invars)
    ys = _of_other_rank(equation.outvars, body.outvars)
    carried = len(body.outvars) - ys
    first = len(bits) - xs - carried
    return _loop(body, bits, slice(first, first + carried), carried)


def _of_other_rank(outside: Any, inside: Any) -> int:
    pairs = zip(outside, inside, strict=True)
    return sum(a.aval.ndim != b.aval.ndim for a, b in pairs)


def _while(params: Any, bits: list[int]) -> tuple[list[int], int]:
    body = _open(params["body_jaxpr"])
    bits = bits[params["cond_nconsts"] :]
    first = params["body_nconsts"]
    return _loop(body, bits, slice(first, len(bits)), len(bits) - first)


def _loop(body: Any, bits: list[int], carry: slice, carried: int):
    """Let what a carry depends on grow until it no longer does."""
    while True:
        out, inside = _walk(body, bits)
        grown = [a | b for a, b in zip(bits[carry], out[:carried], strict=True)]
        if grown == bits[carry]:
            return [*grown, *out[carried:]], inside
        bits = [*bits[: carry.start], *grown, *bits[carry.stop :]]
