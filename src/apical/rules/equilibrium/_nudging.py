"""Which nudged states are contrasted, and how.

    dL/dtheta ~ -sum_k w_k dPhi_k/dtheta,      Phi_k at the state nudged by b_k

| estimate        | b_k                   | w_k                          | error    |
|-----------------|-----------------------|------------------------------|----------|
| one-sided       | b, 0                  | 1/b, -1/b                    | O(b)     |
| random sign     | the same with b or -b | the same                     | O(b)     |
| centred         | b, -b                 | 1/2b, -1/2b                  | O(b^2)   |
| Holomorphic(N)  | b e^(2 pi i k/N)      | e^(-2 pi i k/N) / (N b)      | O(b^N)   |

The last is a discrete Fourier series: the first coefficient of what depends on b, by
Cauchy's formula on a circle. Points in conjugate pairs give conjugate numbers, so that
one of each pair is settled and counts twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit, not_holomorphic, trace_spec

KINDS = ("one-sided", "random sign", "centred")


@dataclass(frozen=True)
class Holomorphic:
    """Nudges around a circle of the complex plane.

    With N points the error is O(nudge^N) as long as the nudge lies within the radius
    up to which the equilibrium is a power series of it; beyond that it does not shrink
    with N. With N = 2 it is the centred estimate.

    Args:
      points: N, at least 2.

    Example:
      >>> import apical
      >>> estimate = apical.rules.Holomorphic(4)
      >>> rule = apical.rules.EquilibriumPropagation(0.4, estimate=estimate)

    Source: Laborieux & Zenke 2022, NeurIPS.
    """

    points: int = 4

    citation: ClassVar[str] = (
        "@inproceedings{laborieux2022holomorphic, title={Holomorphic Equilibrium "
        "Propagation Computes Exact Gradients Through Finite Size Oscillations}, "
        "author={Laborieux, Axel and Zenke, Friedemann}, booktitle={NeurIPS}, "
        "year={2022}}"
    )

    def __post_init__(self) -> None:
        if not isinstance(self.points, int) or self.points < 2:
            raise ValueError(
                f"`points` must be a whole number of at least 2, not {self.points!r}."
            )


class Stencil(NamedTuple):
    """Nudges and weights; the last nudge is 0 where the free state is one of them."""

    nudges: Any
    weights: Any
    with_free: bool


_LABORIEUX = (
    "@article{laborieux2021scaling, title={Scaling Equilibrium Propagation to"
    " Deep ConvNets by Drastically Reducing Its Gradient Estimator Bias}, "
    "author={Laborieux, Axel and Ernoult, Maxence and Scellier, Benjamin and "
    "Bengio, Yoshua and Grollier, Julie and Querlioz, Damien}, "
    "journal={Frontiers in Neuroscience}, volume={15}, year={2021}}"
)


def source_of(estimate: str | Holomorphic) -> str:
    """The source of an estimate, as BibTeX; of the first one that of the rule."""
    if isinstance(estimate, Holomorphic):
        return estimate.citation
    return "" if estimate == "one-sided" else _LABORIEUX


def stencil(estimate: str | Holomorphic, nudge: Any, key: Any) -> Stencil:
    """The points of an estimate; `key` draws the sign."""
    if isinstance(estimate, Holomorphic):
        return _circle(estimate.points, nudge)
    if estimate == "centred":
        signs = np.array([1.0, -1.0])
        return Stencil(signs * nudge, signs / (2 * nudge), False)
    if estimate == "random sign":
        nudge = nudge * jax.random.rademacher(key, (), float)
    signs = jnp.array([1.0, -1.0])
    return Stencil(jnp.array([1.0, 0.0]) * nudge, signs / nudge, True)


def _circle(points: int, nudge: Any) -> Stencil:
    half = np.arange(points // 2 + 1)
    circle = np.exp(2j * np.pi * half / points)
    alone = (half == 0) | (2 * half == points)
    weights = np.where(alone, 1, 2) / (points * circle)
    dtype = jnp.result_type(complex)
    radius = jnp.asarray(nudge, float)
    return Stencil(
        jnp.asarray(circle, dtype) * radius, jnp.asarray(weights, dtype) / radius, False
    )


# ---- The same network with complex numbers in it, for nudges that are complex.


def complex_network(circuit: Circuit, params: Any, args: Any) -> tuple[Circuit, Any]:
    """The circuit at complex parameters, and these; or refuse.

    Its loss is the real part, the complex loss is its aux: a loss has to be real.
    """
    learned, fixed = circuit.leaves.split(params)
    params = circuit.leaves.combine([_complex(x) for x in learned], fixed)
    setting = replace(circuit.spec, has_aux=True)
    loss_fn = _with_complex_loss(circuit)
    try:
        found = trace_spec(loss_fn, setting, params, args)
        loss = jax.eval_shape(lambda: loss_fn(params, *args)[1])
    except Exception as error:
        culprits = not_holomorphic(circuit)
        _refuse(culprits)
        raise ValueError(
            "`Holomorphic` nudges by complex numbers, and `loss_fn` cannot be traced "
            f"with complex parameters: {error}. Cast nothing to a real dtype in it (as "
            "by `jnp.zeros(..., float)` for the start of a loop), or use "
            "`estimate='centred'`."
        ) from error
    _refuse(not_holomorphic(found))
    if not jnp.issubdtype(loss.dtype, jnp.complexfloating):
        # What makes the loss itself is the real part that is taken here, or this.
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


def _refuse(culprits: tuple[str, ...]) -> None:
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
