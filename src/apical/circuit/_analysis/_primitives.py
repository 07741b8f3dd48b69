"""Sets of JAX's primitives: linear, elementwise, rearranging, summing, nonlinear."""

from __future__ import annotations

import numpy as np

from .._jaxpr import Literal, Op

# Linear in either operand: an effective weight and an activity.
SYNAPTIC = frozenset({"dot_general", "conv_general_dilated"})
# Linear in one operand given the other, but not rewritten: a weight cannot have a
# second copy for the backward path here.
LINEAR_NOT_REWRITTEN = frozenset(
    {"custom_linear_solve", "ragged_dot_general", "triangular_solve"}
    | {"tridiagonal_solve", "ragged_dot"}
)
# Operations that only rearrange entries: their result is the same activity.
STRUCTURAL = frozenset(
    {"broadcast_in_dim", "concatenate", "convert_element_type", "copy", "copy_p"}
    | {"dynamic_slice", "expand_dims", "gather", "name", "optimization_barrier"}
    | {"pad", "reduce_precision", "reshape", "rev", "sharding_constraint", "slice"}
    | {"split", "squeeze", "stack", "tile", "transpose", "unstack", "device_put"}
    | {"pvary", "reshard", "mesh_cast"}
)
# Sums of an entry over devices, inside `jax.shard_map`.
DEVICE_SUMS = frozenset({"psum", "psum_invariant"})
# Each entry of the result depends on the same entry of the operands, linearly ...
ELEMENTWISE_LINEAR = DEVICE_SUMS | frozenset(
    {"add", "sub", "neg", "mul", "div", "convert_element_type", "copy", "copy_p"}
    | {"add_any", "reduce_precision", "name", "real"}
)
# ... or not.
ELEMENTWISE_NONLINEAR = frozenset(
    {"abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt"}
    | {"ceil", "clamp", "cos", "cosh", "digamma", "erf", "erf_inv", "erfc", "exp"}
    | {"exp2", "expm1", "floor", "integer_pow", "is_finite", "lgamma", "log"}
    | {"log1p", "logistic", "max", "min", "not", "or", "and", "pow", "rem", "round"}
    | {"rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh"}
    | {"eq", "ne", "ge", "gt", "le", "lt", "nextafter", "xor", "log2"}
    | {"one_minus_square", "polynomial", "stop_gradient", "bessel_i1e"}
)
# Linear in the values that they select or split.
LINEAR_SELECTIONS = frozenset({"select_n", "imag", "complex", "conj"})
# Sums of an operand: affine, so an output may come after them.
SUMS = frozenset({"reduce_sum", "reduce_window_sum", "cumsum"})
# Other linear operations that add entries of one operand.
OTHER_SUMS = frozenset(
    {"fft", "scatter-add", "scatter_add", "reduce_window", "select_and_scatter_add"}
    | {"select_and_gather_add", "custom_linear_solve", "triangular_solve"}
)
# Nonlinear, and not elementwise.
NONLINEAR = frozenset(
    {"argmax", "argmin", "cholesky", "cumlogsumexp", "cummax", "cummin", "cumprod"}
    | {"eigh", "lu", "qr", "reduce_and", "reduce_max", "reduce_min", "reduce_or"}
    | {"reduce_prod", "reduce_window_max", "reduce_window_min", "sort", "svd", "top_k"}
)


def is_nonlinear(op: Op) -> bool:
    """Whether an operation, or one inside it, is known not to be linear."""
    if op.name in NONLINEAR or op.name in ELEMENTWISE_NONLINEAR:
        return op.name != "select_n"
    return any(is_nonlinear(o) for body in op.bodies for o in body.ops)


def is_identity(op: Op) -> bool:
    """Whether the operation only rearranges, or multiplies by one or adds zero."""
    if op.name in STRUCTURAL:
        return True
    neutral = {"mul": 1, "div": 1, "add": 0, "sub": 0}.get(op.name)
    if neutral is None:
        return False
    checked = op.inputs if op.name in ("mul", "add") else op.inputs[1:]
    return any(isinstance(a, Literal) and np.all(a.value == neutral) for a in checked)


def holds_synaptic(op: Op) -> bool:
    """Whether a body of the operation contains a linear operation, at any depth."""
    return holds(op, SYNAPTIC | LINEAR_NOT_REWRITTEN)


def holds(op: Op, names: frozenset[str]) -> bool:
    """Whether a body of the operation contains one with such a name, at any depth."""
    inner = [o for body in op.bodies for o in body.ops]
    return any(o.name in names or holds(o, names) for o in inner)


def is_elementwise(op: Op) -> bool:
    """Whether each entry of the result depends only on the same entry of operands."""
    if op.name.startswith("custom_jvp") or op.name.startswith("custom_vjp"):
        return all(is_elementwise(o) for body in op.bodies for o in body.ops)
    if op.name == "broadcast_in_dim":  # of a scalar: the shape of the result is given
        return True
    return op.name in ELEMENTWISE_LINEAR or op.name in ELEMENTWISE_NONLINEAR


def is_linear_elementwise(op: Op) -> bool:
    """Whether an elementwise operation of one activity and constants is affine."""
    return op.name in ELEMENTWISE_LINEAR or op.name == "broadcast_in_dim"
