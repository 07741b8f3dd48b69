"""Programs: a traced function as operations on integer variables, read from a jaxpr.

Only this file uses `jax.core` and `jax.extend`, and depends on the JAX version. It
turns a traced function into a small `Program` (`Body`, `Op`, integer variables), in
which calls of `jit` are inlined and every other equation can be run as a function. Two
devices keep it short and independent of the version (both survived the changes from JAX
0.9 to 0.12):

* an equation is run by evaluating a program that holds nothing else, so no
  parameter of a primitive has to be understood;
* the arity of a scan is read from shapes: its `xs` are the inputs whose rank
  differs from the body's.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.core
import jax.extend as jex
import numpy as np
from jax.extend import source_info_util

from ._evaluate._automatic_axes import as_explicit, explicit_axes, is_automatic
from ._evaluate._manual_axes import as_traced, vary, varying
from ._evaluate._sharding import struct_like

# ---- The line of the user's code that computes something, for messages.
# Most operations are in layers of other packages, where a line number is of little
# help. So messages show the innermost line in the user's code; if there is none (a loss
# function of a package), the innermost line of all.

# Folders in which `pip` and distributions of Linux install packages.
_INSTALLED = ("site-packages", "dist-packages")
_APICAL = Path(__file__).parents[1]
_LINE = re.compile(r"(?P<file>.*?):\d+(:\d+)? \(")


def line_to_show(lines: Iterable[str]) -> str:
    """The first line in the user's code, else the first; empty if there is none.

    Args:
      lines: as JAX writes them, `file:line:column (function)`, from the inside.
    """
    first = ""
    for line in lines:
        found = _LINE.match(line)
        if found is None:  # JAX remembers no line here
            continue
        if not is_installed(found["file"]):
            return line
        first = first or line
    return first


@cache
def is_installed(file: str) -> bool:
    """Whether a file belongs to an installed package, or to apical."""
    return any(
        folder == _APICAL
        or folder.name in _INSTALLED
        or any(folder.glob("*.dist-info"))  # as `pip install --target` leaves it
        for folder in Path(file).parents
    )


# The line of a mark is where the user wrote it, not where `apical.node` is defined.
source_info_util.register_exclusion(str(Path(__file__).with_name("_trace.py")))
# Calls without a meaning of their own: their body is inlined.
_INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "core_closed_call"})
_REMAT = frozenset({"remat2", "remat", "checkpoint"})
# Primitives with state, or whose code cannot be read.
_OPAQUE = frozenset({"get", "swap", "addupdate", "call", "custom_lin", "empty2"})


@dataclass(frozen=True)
class Literal:
    """A constant written into an equation."""

    value: Any


Atom = int | Literal


@dataclass(frozen=True, eq=False)
class Loop:
    """How the inputs and outputs of a scan are divided."""

    consts: int
    carry: int
    length: int
    reverse: bool
    unroll: int | bool

    def carries(self, i: int) -> bool:
        """Whether an operand is carried from step to step."""
        return self.consts <= i < self.consts + self.carry


@dataclass(frozen=True, eq=False)
class Body:
    """A sequence of operations: `outputs` are computed from `inputs`."""

    inputs: tuple[int, ...]
    outputs: tuple[Atom, ...]
    ops: tuple[Op, ...]


@dataclass(frozen=True, eq=False)
class Op:
    """One equation: `outputs = name(inputs)`."""

    name: str
    inputs: tuple[Atom, ...]
    outputs: tuple[int, ...]
    params: Mapping[str, Any]
    bodies: tuple[Body, ...]
    scope: str
    loop: Loop | None
    equation: Any = field(repr=False)
    around: tuple[Any, ...] = field(repr=False)  # equations, from the inside
    parent: Any = field(repr=False)

    @cached_property
    def where(self) -> str:
        """The user's line of code; unknown for some operations (in JAX's solvers)."""
        lines = (line for e in (self.equation, *self.around) for line in _lines(e))
        return line_to_show(lines) or "a line that JAX does not tell"

    @cached_property
    def _function(self) -> tuple[list[int], Any]:
        """A program with only this equation, and the inputs it takes."""
        taken: list[int] = []
        variables: list[Any] = []
        for i, variable in enumerate(self.equation.invars):
            fresh = not isinstance(variable, jex.core.Literal)
            if fresh and not any(variable is v for v in variables):
                taken.append(i)
                variables.append(variable)
        outputs = [v for v in self.equation.outvars if not _dropped(v)]
        program = _opened(self.parent)[0].replace(
            constvars=[], invars=variables, outvars=outputs, eqns=[self.equation]
        )
        return taken, program

    def __call__(self, *values: Any) -> list[Any]:
        """Run the equation; a dropped output is None."""
        taken, program = self._function
        if self.name == "pvary":
            # A known value is the same on all devices; what reads it makes it vary.
            axes = () if is_concrete(values) else self.params["axes"]
            return [vary(x, axes) for x in values]
        differ = self._varies or any(map(varying, values))
        given: Sequence[Any] = values
        if differ and not is_concrete(values):
            given = as_traced(self.equation, values, alike=not self.bodies)
        run = partial(jax.core.eval_jaxpr, program, ())
        if self._explicit_axes and is_automatic():
            run = as_explicit(
                run, [v.aval for v in program.invars], self._explicit_axes
            )
        kept = iter(run(*(given[i] for i in taken)))
        return [None if _dropped(v) else next(kept) for v in self.equation.outvars]

    @cached_property
    def _explicit_axes(self) -> tuple[str, ...]:
        """The explicit axes of the mesh on which it was traced."""
        return explicit_axes([v.aval for v in self._function[1].invars])

    @cached_property
    def _varies(self) -> bool:
        """Whether an operand differs from device to device, by its type."""
        return any(varying(v.aval) for v in self.equation.invars)

    @property
    def enterable(self) -> bool:
        """Whether the body may be evaluated in place of the operation."""
        return self.name in ("scan", "cond", "remat")

    @property
    def operands(self) -> tuple[Atom, ...]:
        """What the inputs of its bodies are bound to."""
        return self.inputs[1:] if self.name == "cond" else self.inputs


@dataclass(frozen=True, eq=False)
class Program:
    """A traced function: its body, the constants it closes over, and shapes."""

    body: Body
    constants: Mapping[int, Any]
    shapes: Mapping[int, jax.ShapeDtypeStruct]

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """The shape of a variable, or of a literal."""
        if isinstance(atom, Literal):
            return np.shape(atom.value)
        return self.shapes[atom].shape

    @property
    def closes_over_tracers(self) -> bool:
        """Whether a constant belongs to a surrounding transformation."""
        return any(isinstance(c, jax.core.Tracer) for c in self.constants.values())


def known_primitives() -> frozenset[str]:
    """Names of the primitives that JAX publishes."""
    rooms = (jax.lax, jex.core.primitives)
    found = (getattr(room, n) for room in rooms for n in dir(room) if n.endswith("_p"))
    names = {p.name for p in found if hasattr(p, "name")}
    return frozenset(names | {"add_any", "copy_p", "random_wrap", "random_unwrap"}) - (
        _OPAQUE
    )


def is_concrete(x: Any) -> bool:
    """Whether a value is known now, rather than traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))


def trace_program(
    fun: Callable[..., Any], *args: Any, derived: bool = False
) -> tuple[Program, Any]:
    """Trace `fun` at the shapes of `args`.

    Returns the program and the structure of what `fun` returned, with shapes. Where all
    derivatives have been taken (`derived`), a function with a user-written derivative
    is inlined too.
    """
    closed, structure = jax.make_jaxpr(fun, return_shape=True)(*args)
    inlined = _INLINED | {"custom_jvp_call"} if derived else _INLINED
    return _Reader(inlined).program(closed), structure


def _opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def _lines(equation: Any) -> list[str]:
    """The lines that led to an equation, from the inside, up to the call around it."""
    lines = source_info_util.summarize(equation.source_info, num_frames=sys.maxsize)
    return lines.splitlines()[::-1]


def _dropped(variable: Any) -> bool:
    return isinstance(variable, jex.core.DropVar)


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")


def _inner(params: Mapping[str, Any]) -> list[Any]:
    values = (v if isinstance(v, (tuple, list)) else (v,) for v in params.values())
    return [x for x in itertools.chain.from_iterable(values) if _is_program(x)]


class _Reader:
    """Reads a jaxpr into a `Program`, numbering variables in program order."""

    def __init__(self, inlined: frozenset[str]) -> None:
        self.inlined = inlined
        self.constants: dict[int, Any] = {}
        self.shapes: dict[int, jax.ShapeDtypeStruct] = {}

    def program(self, closed: Any) -> Program:
        return Program(self.body(closed), self.constants, self.shapes)

    def variable(self, variable: Any) -> int:
        number = len(self.shapes)
        aval = variable.aval
        # Tokens and references have no shape, and none is needed.
        shape, dtype = getattr(aval, "shape", ()), getattr(aval, "dtype", None)
        self.shapes[number] = struct_like(aval, shape, dtype or bool)
        return number

    def body(self, closed: Any, around: tuple[Any, ...] = ()) -> Body:
        jaxpr, consts = _opened(closed)
        inputs = tuple(self.variable(v) for v in jaxpr.invars)
        names = dict(zip(jaxpr.invars, inputs, strict=True))
        self.bind_constants(names, jaxpr, consts)
        ops = tuple(self.ops(jaxpr, names, "", around))
        return Body(inputs, self.atoms(jaxpr.outvars, names), ops)

    def bind_constants(self, names: dict[Any, Any], jaxpr: Any, consts: Any) -> None:
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            names[variable] = self.variable(variable)
            self.constants[names[variable]] = value

    def atoms(self, variables: Sequence[Any], names: Mapping[Any, Atom]) -> Any:
        return tuple(
            Literal(np.asarray(v.val, getattr(v.aval, "dtype", None)))
            if isinstance(v, jex.core.Literal)
            else names[v]
            for v in variables
        )

    def ops(
        self,
        jaxpr: Any,
        names: dict[Any, Any],
        outer: str,
        around: tuple[Any, ...],
    ) -> Iterator[Op]:
        for equation in jaxpr.eqns:
            stack = str(equation.source_info.name_stack)
            scope = "/".join(s for s in (outer, stack) if s)
            if equation.primitive.name in self.inlined:
                yield from self.inline(equation, names, scope, around)
            else:
                yield self.op(jaxpr, equation, names, scope, around)

    def inline(
        self,
        equation: Any,
        names: dict[Any, Any],
        scope: str,
        around: tuple[Any, ...],
    ) -> Iterator[Op]:
        (closed,) = _inner(equation.params)
        jaxpr, consts = _opened(closed)
        inside = dict(
            zip(jaxpr.invars, self.atoms(equation.invars, names), strict=True)
        )
        self.bind_constants(inside, jaxpr, consts)
        yield from self.ops(jaxpr, inside, scope, (equation, *around))
        results = self.atoms(jaxpr.outvars, inside)
        names.update(zip(equation.outvars, results, strict=True))

    def op(
        self,
        jaxpr: Any,
        equation: Any,
        names: dict[Any, Any],
        scope: str,
        around: tuple[Any, ...],
    ) -> Op:
        inputs = self.atoms(equation.invars, names)
        inner = _inner(equation.params)
        bodies = tuple(self.body(each, (equation, *around)) for each in inner)
        outputs = tuple(self.variable(v) for v in equation.outvars)
        names.update(zip(equation.outvars, outputs, strict=True))
        name = equation.primitive.name
        return Op(
            name="remat" if name in _REMAT else name,
            inputs=inputs,
            outputs=outputs,
            params=equation.params,
            bodies=bodies,
            scope=scope,
            loop=self.loop(equation) if name == "scan" else None,
            equation=equation,
            around=around,
            parent=jaxpr,
        )

    def loop(self, equation: Any) -> Loop:
        inner = _opened(equation.params["jaxpr"])[0]

        def stacked(outer: Sequence[Any], body: Sequence[Any]) -> int:
            pairs = zip(outer, body, strict=True)
            return sum(a.aval.ndim != b.aval.ndim for a, b in pairs)

        xs = stacked(equation.invars, inner.invars)
        carry = len(equation.outvars) - stacked(equation.outvars, inner.outvars)
        return Loop(
            consts=len(equation.invars) - xs - carry,
            carry=carry,
            length=equation.params["length"],
            reverse=equation.params["reverse"],
            unroll=equation.params.get("unroll", 1),
        )
