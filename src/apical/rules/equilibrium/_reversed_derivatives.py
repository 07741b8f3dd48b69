"""Units whose nonlinearity has a derivative of the opposite sign.

A unit responds to feedback by its nonlinearity, s_n = rho_n(z_n + ...), of which no
derivative is taken. So a derivative that the user wrote inside rho_n has no effect. A
surrogate or a clipped gradient only approximates what the unit does; but a reversed
gradient (of players that oppose each other) would be lost, and the update would ascend
where it should descend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit, Op, is_concrete, nonlinearity, trace_program

# Drives at which the derivatives are compared; kinks are rarely here.
_DRIVES = (0.7, -0.6, 1.9, -1.7, 0.23, -0.31, 3.1, -2.8)


def require_no_reversal(
    circuit: Circuit, params: Any, args: tuple[Any, ...], rule: str
) -> None:
    """Raise for a unit whose derivative is opposite to that of its nonlinearity."""
    for node in circuit.nodes:
        shape = node.shape[len(node.loops) :]
        rho = nonlinearity(circuit, params, args, node.name)
        try:
            program, _ = trace_program(rho, jax.ShapeDtypeStruct(shape, node.dtype))
        except ValueError:  # another nonlinearity at every step of a loop
            continue
        written = _written(program.body.ops)
        if written is not None and _is_reversed(rho, shape, node.dtype):
            raise ValueError(
                f"{rule} takes no derivative of a unit's nonlinearity, so the reversed "
                f"one of `{written.name}` at {written.where} would have no effect at "
                f"the unit {node.name!r}. For players that oppose each other write one "
                "term for each, with `jax.lax.stop_gradient` on the parameters and "
                "values of the others; else use a rule that takes derivatives."
            )


def _written(ops: Sequence[Op]) -> Op | None:
    """The first operation with a derivative that somebody wrote."""
    for op in ops:
        if op.name.startswith(("custom_jvp", "custom_vjp")):
            return op
    return None


def _is_reversed(rho: Callable[..., Any], shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether the derivative opposes central differences at many drives."""
    step = float(jnp.finfo(dtype).eps) ** (1 / 3)
    with jax.ensure_compile_time_eval():  # the numbers are known under `jit` too
        drives = jnp.asarray(np.resize(_DRIVES, shape), dtype)
        value, back = jax.vjp(rho, drives)
        (derivative,) = back(jnp.ones_like(value))
        change = (rho(drives + step) - rho(drives - step)) / (2 * step)
        found = jnp.mean(derivative * change < -1e-3) > 0.25
    return bool(found) if is_concrete(found) else False
