"""Multiply-adds of a traced program, and lower bounds for T steps.

XLA's own count (`compiled.cost_analysis()`) counts the body of a loop once, however
often it runs. This walker reads the equations of `jax.make_jaxpr`'s result instead,
multiplies by the lengths of scans, and passes over equations whose results are not
used. Reading equations is fine here, where nothing but a printed figure depends on
it; inside the library only one file may.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

CONSTANT, PARAMETER, DATA, ACTIVITY = 0, 1, 2, 3  # bits: join is `|`


@dataclass(frozen=True)
class Work:
    """Multiply-adds of one evaluation of a loss function and of its derivatives."""

    forward: int = 0  # the whole forward pass
    upper: int = 0  # that part of it whose input is an activity
    data: int = 0  # cotangents of activities
    weight: int = 0  # cotangents of parameters

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.forward + other.forward,
            self.upper + other.upper,
            self.data + other.data,
            self.weight + other.weight,
        )

    def times(self, n: int) -> "Work":
        """The work of n evaluations."""
        return Work(n * self.forward, n * self.upper, n * self.data, n * self.weight)

    @property
    def backprop(self) -> int:
        """One forward and one whole backward pass."""
        return self.forward + self.data + self.weight

    def fixed(self, steps: int) -> float:
        """The lower bound for T steps with fixed predictions, in backprops."""
        return (self.forward + steps * self.data + self.weight) / self.backprop

    def free(self, steps: int) -> float:
        """The lower bound for T steps with free predictions, in backprops."""
        step = self.upper + self.data
        return (self.forward + steps * step + self.weight) / self.backprop


def work(loss: Callable[..., Any], params: Any, *args: Any) -> Work:
    """The work of one evaluation of `loss(params, *args)` and its derivatives."""
    closed = jax.make_jaxpr(loss)(params, *args)
    leaves = len(jax.tree.leaves(params))
    rest = len(jax.tree.leaves(args))
    return _walk(closed.jaxpr, [PARAMETER] * leaves + [DATA] * rest)[1]


def multiply_adds(fun: Callable[..., Any], *args: Any) -> int:
    """The multiply-adds of `fun(*args)`, without unused equations."""
    jaxpr = jax.make_jaxpr(fun)(*args).jaxpr
    return _live(jaxpr, [True] * len(jaxpr.outvars))[1]


def _walk(jaxpr: Any, kinds: list[int]) -> tuple[list[int], Work]:
    """Kinds of the results of `jaxpr`, and its work."""
    env = dict(zip(jaxpr.invars, kinds, strict=True))
    total = Work()
    for eqn in jaxpr.eqns:
        ins = [_kind(env, atom) for atom in eqn.invars]
        outs, cost = _equation(eqn, ins)
        env.update(zip(eqn.outvars, outs, strict=True))
        total += cost
    return [_kind(env, atom) for atom in jaxpr.outvars], total


def _equation(eqn: Any, ins: list[int]) -> tuple[list[int], Work]:
    if eqn.primitive.name == "scan":
        return _scan(eqn, ins)
    bodies = list(_bodies(eqn))
    if bodies:
        results = [_walk(body, ins[-len(body.invars) :]) for body in bodies]
        return max(results, key=lambda result: result[1].forward)
    macs = _own(eqn)
    activities = sum(kind == ACTIVITY for kind in ins)
    parameters = sum(kind == PARAMETER for kind in ins)
    cost = Work(macs, macs * (activities > 0), macs * activities, macs * parameters)
    return [_join(ins)] * len(eqn.outvars), cost if macs else Work()


def _scan(eqn: Any, ins: list[int]) -> tuple[list[int], Work]:
    body, carries, first = _scan_parts(eqn)
    ins = list(ins)
    while True:  # what enters a carry may come from its own past
        outs, cost = _walk(body, ins)
        carried = [a | b for a, b in zip(ins[first:], outs[:carries], strict=False)]
        if carried == ins[first : first + carries]:
            return outs, cost.times(eqn.params["length"])
        ins[first : first + carries] = carried


def _live(jaxpr: Any, wanted: list[bool]) -> tuple[list[bool], int]:
    """Which inputs the wanted results need, and the multiply-adds on the way."""
    needed = {v for v, w in zip(jaxpr.outvars, wanted, strict=True) if w and _var(v)}
    total = 0
    for eqn in reversed(jaxpr.eqns):
        outs = [v in needed for v in eqn.outvars]
        if any(outs):
            ins, cost = _live_equation(eqn, outs)
            pairs = zip(eqn.invars, ins, strict=True)
            needed.update(v for v, live in pairs if live and _var(v))
            total += cost
    return [v in needed for v in jaxpr.invars], total


def _live_equation(eqn: Any, outs: list[bool]) -> tuple[list[bool], int]:
    if eqn.primitive.name == "scan":
        return _live_scan(eqn, outs)
    bodies = list(_bodies(eqn))
    if not bodies:
        return [True] * len(eqn.invars), _own(eqn)
    if len(bodies) == 1 and len(bodies[0].outvars) == len(outs):
        ins, cost = _live(bodies[0], outs)
        head = [True] * (len(eqn.invars) - len(ins))
        return head + ins, cost
    costs = [_live(body, [True] * len(body.outvars))[1] for body in bodies]
    return [True] * len(eqn.invars), max(costs)


def _live_scan(eqn: Any, outs: list[bool]) -> tuple[list[bool], int]:
    body, carries, first = _scan_parts(eqn)
    outs = list(outs)
    while True:  # a carry that the next step reads is wanted too
        ins, cost = _live(body, outs)
        carried = [a or b for a, b in zip(outs, ins[first:], strict=False)][:carries]
        if carried == outs[:carries]:
            return ins, cost * eqn.params["length"]
        outs[:carries] = carried


def _scan_parts(eqn: Any) -> tuple[Any, int, int]:
    """The body, the number of carries and where they start, from shapes alone.

    The parameters that say so were renamed between versions of JAX; that a stacked
    input or output has one axis more than the body sees was not.
    """
    body = next(_bodies(eqn))
    pairs = zip(eqn.outvars, body.outvars, strict=True)
    carries = sum(outer.aval.ndim == inner.aval.ndim for outer, inner in pairs)
    pairs = zip(eqn.invars, body.invars, strict=True)
    stacked = sum(outer.aval.ndim != inner.aval.ndim for outer, inner in pairs)
    return body, carries, len(body.invars) - stacked - carries


def _bodies(eqn: Any) -> Iterator[Any]:
    """The programs inside an equation: of a call, a loop, the branches of a cond."""
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _own(eqn: Any) -> int:
    """Multiply-adds of one equation that holds no program."""
    size = int(np.prod(eqn.outvars[0].aval.shape)) if eqn.outvars else 0
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        shape = eqn.invars[0].aval.shape
        return size * int(np.prod([shape[axis] for axis in contracted]))
    if eqn.primitive.name == "conv_general_dilated":
        return _convolution(eqn, size)
    return 0


def _convolution(eqn: Any, size: int) -> int:
    """Each output number reads one kernel window; holes of a dilation cost nothing.

    The transpose with respect to the data is a convolution whose input is padded, so
    that windows overlap the edge; counting full windows there would overestimate the
    backward pass. The products that are not with padding number
    the same in all three, hence the smaller of what input and output allow.
    """
    lhs, rhs = (v.aval.shape for v in eqn.invars)
    numbers = eqn.params["dimension_numbers"]
    kernel = [rhs[axis] for axis in numbers.rhs_spec[2:]]
    field = int(np.prod(kernel)) * rhs[numbers.rhs_spec[1]]
    reads = int(np.prod(lhs)) * int(np.prod(kernel)) * rhs[numbers.rhs_spec[0]]
    groups = eqn.params["feature_group_count"] * eqn.params["batch_group_count"]
    return min(size * field, reads // groups)


def _kind(env: dict[Any, int], atom: Any) -> int:
    return env.get(atom, CONSTANT) if _var(atom) else CONSTANT


def _var(atom: Any) -> bool:
    return not hasattr(atom, "val")


def _join(kinds: list[int]) -> int:
    joined = CONSTANT
    for kind in kinds:
        joined |= kind
    return joined
