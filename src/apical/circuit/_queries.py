"""Queries of rules about a circuit, as functions on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from ._analysis._dataflow import PARAMETER, Flow
from ._analysis._drives_and_outputs import behind
from ._analysis._graph import bound, walk
from ._analysis._naming import makers
from ._analysis._primitives import DEVICE_SUMS, STRUCTURAL, SUMS, SYNAPTIC
from ._circuit import Circuit
from ._jaxpr import Atom, Body, Literal, Op
from ._marks import draws, drive_of
from ._partition import Partition

# ---- Consecutive synapses without a node in between.
# A rule that learns from the values of two nodes cannot train a synapse one end of
# which is neither a node nor data.


def chains(circuit: Circuit) -> tuple[str, ...]:
    """Pairs of synapses, one of which feeds the other without a node in between.

    Returns:
      A string for each: the parameters below, those above, and the line above.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"] @ w["b"]) @ w["c"]) ** 2)
      >>> w = {"a": jnp.eye(2), "b": jnp.eye(2), "c": jnp.eye(2)}
      >>> circuit = apical.trace(loss_fn, nodes="unit")(w, jnp.ones((3, 2)))
      >>> [found.split(" (")[0] for found in chains(circuit)]
      ["'a' and 'b'"]
    """
    flow, nodes = circuit.structure.flow, set(circuit.structure.names)
    weights = {id(m.op): m.leaves for m in circuit.structure.live_ops}
    found = {}
    for synapse in circuit.structure.live_ops:
        entering = [a for a in synapse.activities if not isinstance(a, Literal)]
        for atom in (a for a in entering if a not in nodes):
            below, _, _ = makers(flow, atom, nodes, weights)
            if below:
                pair = _paths(circuit, below), _paths(circuit, synapse.leaves)
                text = f"{pair[0]!r} and {pair[1]!r} ({synapse.op.where})"
                found[text] = None
    return tuple(found)


def _paths(circuit: Circuit, leaves: Iterable[int]) -> str:
    return " + ".join(circuit.leaves.names[i] for i in sorted(leaves))


# ---- Nodes that depend on an argument.


def nodes_depending_on(circuit: Circuit, positions: Collection[int]) -> tuple[str, ...]:
    """The nodes that may depend on one of these arguments, by position after `params`.

    A loop, branch or function call is taken as a whole: each input may reach everything
    in it.
    """
    body = circuit.structure.flow.program.body
    count = len(circuit.leaves.learned) + len(circuit.leaves.arrays)
    given = zip(body.inputs[count:], _argument_of(circuit.structure.args), strict=True)
    found = {number for number, position in given if position in positions}
    for op in body.ops:
        if any(a in found for a in op.inputs if not isinstance(a, Literal)):
            found |= set(_made_by(op))
    return tuple(name for n, name in circuit.structure.names.items() if n in found)


def _argument_of(given: Partition) -> list[int]:
    """For each array of the arguments, the position of the argument that holds it."""
    numbered = given.treedef.unflatten(range(len(given.paths)))
    of = {leaf: i for i, arg in enumerate(numbered) for leaf in jax.tree.leaves(arg)}
    return [of[leaf] for leaf in given.arrays]


def _made_by(op: Op) -> Iterator[int]:
    yield from op.outputs
    for body in op.bodies:
        yield from _inside(body)


def _inside(body: Body) -> Iterator[int]:
    for op in body.ops:
        yield from _made_by(op)


# ---- Stochastic nodes, and the sites of drives.


def stochastic_nodes(circuit: Circuit) -> tuple[str, ...]:
    """The names of the nodes that `apical.bernoulli` marks."""
    maker, names = circuit.structure.flow.maker, circuit.structure.names
    return tuple(name for n, name in names.items() if draws(maker[n][0]))


def drive_sites(circuit: Circuit) -> dict[str, str]:
    """For each node the site of its drive, or of its value if it has no drive.

    Nodes with the same drive share its site; so do a drive and a node that is this
    drive.
    """
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for number, node in zip(circuit.structure.names, circuit.nodes, strict=True):
        at = circuit.structure.drive(number) if node.unit else number
        site = drive_of(node.name) if node.unit else node.name
        found[node.name] = first.setdefault(at, site)
    return found


# ---- The nonlinearity of a unit: the program from its drive z to rho(z).


def nonlinearity(
    circuit: Circuit, params: Any, args: tuple[Any, ...], name: str
) -> Callable[[jax.Array], jax.Array]:
    """The nonlinearity rho of a unit as a function, in one step of a loop.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      name: of a node that has a drive.

    Returns:
      A function from an array of the node's shape, without the lengths of the loops
      around it, to another.

    Raises:
      ValueError: where the node has no drive; when called, where the nonlinearity
        differs from step to step of a loop.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.eye(2)}, jnp.ones((1, 2))
      >>> rho = nonlinearity(apical.trace(loss_fn)(w, x), w, (x,), "a")
      >>> bool(jnp.allclose(rho(3 * x), jnp.tanh(3 * x)))
      True
    """
    node = next(n for n, label in circuit.structure.names.items() if label == name)
    flow, drive = circuit.structure.flow, circuit.structure.drive(node)
    program = flow.program
    inputs = zip(program.body.inputs, circuit.inputs(params, args), strict=True)
    given = {**program.constants, **dict(inputs)}

    def rho(z: jax.Array) -> jax.Array:
        made: dict[int, Any] = {drive: z}

        def read(atom: Atom) -> Any:
            if isinstance(atom, Literal):
                return atom.value
            if atom in made or atom in given:
                return made[atom] if atom in made else given[atom]
            if atom in flow.entry:
                return read(_outside(flow, atom))
            op = flow.maker[atom][0]
            made.update(zip(op.outputs, op(*map(read, op.inputs)), strict=True))
            return made[atom]

        return read(node)

    return rho


def _outside(flow: Flow, number: int) -> Atom:
    """The value to which a constant inside a loop or branch is bound."""
    op, body, i = flow.entry[number]
    if op.loop is not None and i >= op.loop.consts:
        raise ValueError(
            f"The nonlinearity in the loop at {op.where} is another one at every step: "
            "it reads a constant that the loop runs over. Pass that as an argument."
        )
    return bound(op, body, i)[0]


# ---- Operations that are not known to be holomorphic.
#
# A function of complex numbers is holomorphic where its derivative does not depend on
# the direction. Maxima, absolute values, comparisons and conjugates are not
# holomorphic, but evaluate without an error: so all operations not known to be
# holomorphic are listed.

# `pow` has a branch cut and `div`, `log`, `tanh`, ... poles: they limit the radius.
_HOLOMORPHIC = (
    DEVICE_SUMS
    | STRUCTURAL
    | SUMS
    | SYNAPTIC
    | {"add", "add_any", "sub", "neg", "mul", "div", "square", "integer_pow", "pow"}
    | {"exp", "exp2", "expm1", "log", "log1p", "logistic", "sqrt", "rsqrt", "cbrt"}
    | {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh"}
    | {"acosh", "atanh", "scan", "cond", "remat", "cumprod", "reduce_prod"}
)


def reversals(circuit: Circuit, name: str) -> tuple[str, ...]:
    """The lines between a node and the output that reverse an axis."""
    if not circuit.structure.flow.reverses:  # as in most: asked for at every call
        return ()
    found = (op.where for op in _after(circuit, name) if op.name == "rev")
    return tuple(dict.fromkeys(found))


def moved_steps(circuit: Circuit, name: str, steps: int) -> tuple[str, ...]:
    """The lines between a node and the output that move or drop some of its steps.

    Args:
      circuit: the circuit.
      name: of a node in a loop.
      steps: the number of steps.
    """

    def moves(op: Op) -> bool:
        shapes = [circuit.structure.flow.shape(a) for a in (op.inputs[0], *op.outputs)]
        if steps not in (n for shape in shapes for n in shape):
            return False
        if op.name in ("concatenate", "rev", *_ACCUMULATIONS):
            axes = op.params.get("dimensions", [op.params.get("dimension")])
            axes = [op.params["axis"]] if "axis" in op.params else axes
            return any(shapes[-1][axis] == steps for axis in axes)
        changed = (m != n for m, n in zip(shapes[0], shapes[-1], strict=False))
        axis = next((k for k, new in enumerate(changed) if new), None)
        sizes = () if axis is None else (shapes[0][axis], shapes[-1][axis])
        return op.name in _SELECTIONS and (steps in sizes or op.name == "gather")

    found = (op.where for op in _after(circuit, name) if op.inputs and moves(op))
    return tuple(dict.fromkeys(found))


_SELECTIONS = frozenset({"slice", "dynamic_slice", "gather", "pad"})
_ACCUMULATIONS = frozenset({"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"})


def _after(circuit: Circuit, name: str) -> Iterator[Op]:
    """The operations between a node and the output."""
    structure, flow = circuit.structure, circuit.structure.flow
    stack = [n for n, other in structure.names.items() if other == name]
    ends, seen = set(structure.outputs), set[int](stack)
    while stack:
        number = stack.pop()
        if number in ends:
            continue
        for after in flow.after(number):
            if after not in seen and flow.is_activity(after):
                seen.add(after)
                stack.append(after)
                if after in flow.maker:
                    yield flow.maker[after][0]


def not_holomorphic(circuit: Circuit) -> tuple[str, ...]:
    """The operations on the way to the loss that are not known to be holomorphic.

    Returns:
      The name and line of each; the operation that makes the loss itself is left out.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean(jax.nn.relu(x @ w) ** 2)
      >>> circuit = apical.trace(loss_fn)(jnp.eye(2), jnp.ones((3, 2)))
      >>> [found.split(" at ")[0] for found in not_holomorphic(circuit)]
      ['`max`']
    """
    flow = circuit.structure.flow
    last = flow.program.body.outputs[0]
    found = {}
    for site in walk(flow.program.body):
        op = site.op
        live = circuit.structure.live.intersection(op.outputs)
        moves = any(flow.kind_of(a) & PARAMETER for a in op.inputs)
        if live and moves and last not in op.outputs:
            found |= {
                f"`{name}` at {op.where}": None for name in _culprits(circuit, op)
            }
    return tuple(found)


def _culprits(circuit: Circuit, op: Op) -> Iterator[str]:
    """The names of operations that are not holomorphic, also in user-written rules."""
    if op.name.startswith(("custom_jvp", "custom_vjp")):
        for inner in (o for body in op.bodies for o in body.ops):
            yield from _culprits(circuit, inner)
    elif _masks(circuit, op):
        return
    elif op.name not in _HOLOMORPHIC or _becomes_real(circuit, op):
        yield op.name


def _masks(circuit: Circuit, op: Op) -> bool:
    """Whether this is a choice that does not depend on activities."""
    flow = circuit.structure.flow
    known = all(a in flow.kind for a in op.inputs if not isinstance(a, Literal))
    return op.name == "select_n" and known and not behind(flow, op.inputs[0])


def _becomes_real(circuit: Circuit, op: Op) -> bool:
    """Whether a complex number loses its imaginary part here."""
    shapes = circuit.structure.flow.program.shapes

    def is_complex(numbers: tuple[int, ...]) -> bool:
        return any(
            jnp.issubdtype(shapes[n].dtype, jnp.complexfloating) for n in numbers
        )

    inputs = tuple(a for a in op.inputs if not isinstance(a, Literal))
    return is_complex(inputs) and not is_complex(op.outputs)
