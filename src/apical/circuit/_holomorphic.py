"""Which operations keep a function of complex numbers differentiable.

f is holomorphic where its derivative does not depend on the direction, so that it is a
power series. Maxima, absolute values, comparisons and conjugates are not, and give a
number all the same: so what is not known to be holomorphic is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax.numpy as jnp

from ._dataflow import PARAMETER
from ._graph import walk
from ._jaxpr import Literal, Op
from ._places import behind
from ._primitives import STRUCTURAL, SUMS, SYNAPTIC

if TYPE_CHECKING:
    from ._circuit import Circuit

# `pow` has a branch cut and `div`, `log`, `tanh`, ... poles: a matter of the radius.
_HOLOMORPHIC = (
    STRUCTURAL
    | SUMS
    | SYNAPTIC
    | {"add", "add_any", "sub", "neg", "mul", "div", "square", "integer_pow", "pow"}
    | {"exp", "exp2", "expm1", "log", "log1p", "logistic", "sqrt", "rsqrt", "cbrt"}
    | {"sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh"}
    | {"acosh", "atanh", "scan", "cond", "remat", "cumprod", "reduce_prod"}
)


def not_holomorphic(circuit: Circuit) -> tuple[str, ...]:
    """The operations on the way to the loss that are not known to be holomorphic.

    Returns:
      The name and line of each. That which makes the loss itself is left out.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean(jax.nn.relu(x @ w) ** 2)
      >>> circuit = apical.trace(loss_fn)(jnp.eye(2), jnp.ones((3, 2)))
      >>> [found.split(" at ")[0] for found in not_holomorphic(circuit)]
      ['`max`']
    """
    flow = circuit._flow
    last = flow.program.body.outputs[0]
    found = {}
    for site in walk(flow.program.body):
        op = site.op
        live = any(circuit._reacher.reach.get(n) for n in op.outputs)
        moves = any(flow.kind_of(a) & PARAMETER for a in op.inputs)
        if live and moves and last not in op.outputs:
            found |= {
                f"`{name}` at {op.where}": None for name in _culprits(circuit, op)
            }
    return tuple(found)


def _culprits(circuit: Circuit, op: Op) -> Iterator[str]:
    """The names of what is not holomorphic, also inside a user's derivative rule."""
    if op.name.startswith(("custom_jvp", "custom_vjp")):
        for inner in (o for body in op.bodies for o in body.ops):
            yield from _culprits(circuit, inner)
    elif _masks(circuit, op):
        return
    elif op.name not in _HOLOMORPHIC or _becomes_real(circuit, op):
        yield op.name


def _masks(circuit: Circuit, op: Op) -> bool:
    """Whether this is a choice that the activities do not make."""
    flow = circuit._flow
    known = all(a in flow.kind for a in op.inputs if not isinstance(a, Literal))
    return op.name == "select_n" and known and not behind(flow, op.inputs[0])


def _becomes_real(circuit: Circuit, op: Op) -> bool:
    """Whether a complex number loses its imaginary part here."""
    shapes = circuit._flow.program.shapes

    def is_complex(numbers: tuple[int, ...]) -> bool:
        return any(
            jnp.issubdtype(shapes[n].dtype, jnp.complexfloating) for n in numbers
        )

    inputs = tuple(a for a in op.inputs if not isinstance(a, Literal))
    return is_complex(inputs) and not is_complex(op.outputs)
