"""Complex networks: a loss function traced with complex parameters, for complex nudges.

L(theta + 0i),      an error unless every operation is holomorphic
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import Circuit, not_holomorphic, trace_spec


def complex_network(circuit: Circuit, params: Any, args: Any) -> tuple[Circuit, Any]:
    """The circuit at complex parameters, and these parameters.

    A loss must be real, so its loss is the real part, and its aux is the complex loss.
    """
    learned, fixed = circuit.leaves.split(params)
    params = circuit.leaves.combine([_complex(x) for x in learned], fixed)
    spec = replace(circuit.spec, has_aux=True)
    loss_fn = _with_complex_loss(circuit)
    try:
        found = trace_spec(loss_fn, spec, params, args)
        loss = jax.eval_shape(lambda: loss_fn(params, *args)[1])
    except Exception as error:
        require_holomorphic(circuit)
        raise ValueError(
            "`Holomorphic` nudges by complex numbers, and `loss_fn` cannot be traced "
            f"with complex parameters: {error}. Cast nothing to a real dtype in it (as "
            "by `jnp.zeros(..., float)` for the start of a loop), or use "
            "`estimate='centred'`."
        ) from error
    require_holomorphic(found)
    if not jnp.issubdtype(loss.dtype, jnp.complexfloating):
        # The trace cannot distinguish this operation from the real part taken here.
        raise ValueError(
            "The last operation of `loss_fn` makes a complex loss real (a cast, "
            "`jnp.real`, `jnp.abs`), so that complex nudges would give a wrong "
            "gradient. Leave it out, or use `estimate='centred'`."
        )
    names = [[node.name for node in each.nodes] for each in (circuit, found)]
    if names[0] != names[1]:
        raise ValueError(
            "`loss_fn` is another network with complex parameters (units "
            f"{names[1]}, not {names[0]}), so `Holomorphic` does not reach it. Use "
            "`estimate='centred'`."
        )
    return found, params


def require_holomorphic(circuit: Circuit) -> None:
    """Refuse operations that are not holomorphic."""
    culprits = not_holomorphic(circuit)
    if culprits:
        raise ValueError(
            f"{culprits[0]} is not holomorphic, so that complex nudges have no "
            "order of error, and may be plainly wrong. Use smooth operations "
            "(`jnp.tanh`, `jax.nn.sigmoid`, `jax.nn.log_softmax`), or "
            "`estimate='centred'`."
        )


def _with_complex_loss(circuit: Circuit) -> Callable[..., Any]:
    def loss_fn(params: Any, *args: Any) -> Any:
        result = circuit.loss_fn(params, *args)
        loss = result[0] if circuit.spec.has_aux else result
        return jnp.real(loss), jnp.asarray(loss)

    return loss_fn


def _complex(x: jax.Array) -> jax.Array:
    return jnp.asarray(x, jnp.result_type(x, jnp.complex64))
