"""Whether a loss is the mean, or the sum, over the examples that it is said to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._circuit import Circuit
from .._jaxpr import is_concrete

# A loss below this says nothing of how it is reduced.
_TINY = 1e-30


def require_reduction(circuit: Circuit, params: Any, args: tuple[Any, ...]) -> None:
    """Refuse a loss that is not of the kind that `reduction` says.

    Every example given twice leaves a mean as it is and doubles a sum, also where
    examples depend on each other: their statistics stay. A loss that does neither (with
    noise of its own, or for one number of examples alone) says nothing. The check needs
    concrete values; under `jit` it is left out.

    Raises:
      ValueError: if a mean doubles, or a sum does not.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.sum((x @ w) ** 2)
      >>> w, x = jnp.ones((1, 1)), jnp.ones((3, 1))
      >>> circuit = apical.trace(loss_fn, reduction="sum")(w, x)
      >>> require_reduction(circuit, w, (x,))
    """
    examples = circuit.batch.examples
    if not is_concrete((params, args)) or all(a is None for a in examples.axes):
        return
    try:
        both = args, examples.twice(args)
        losses = [examples.loss(circuit.loss_fn, params, each) for each in both]
    except Exception:  # whatever it says to another number of examples
        return
    if is_concrete(losses):  # an outer transformation may trace numbers too
        _check(circuit.spec.reduction, *map(float, losses))


def _check(said: str, loss: float, doubled: float) -> None:
    other, factor = ("sum", 2) if said == "mean" else ("mean", 1)
    fix = "divide by the number of examples" if said == "mean" else "do not"
    if abs(loss) > _TINY and np.allclose(doubled, factor * loss, rtol=1e-3, atol=0):
        raise ValueError(
            f"The loss is said to be a {said} over the examples (`reduction`), but "
            f"with every example twice it goes from {loss:.6g} to {doubled:.6g}, as a "
            f"{other} does. Say `reduction={other!r}`, or {fix}, or see that "
            "`batch_axes` describes the arguments."
        )
