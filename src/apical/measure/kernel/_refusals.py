"""Refusals of the path kernel: where the equation does not hold, and why."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit
from ...rules._call_checks import difference
from ...rules._learner import Learner
from ._example_updates import unit_gradients
from ._result import PathKernel
from ._step import Report

_WITHOUT = "For the contributions alone: `path_kernel(kernel=False)`."


def outputs_of_one(learner: Learner, params: Any, alone: tuple[Any, ...]) -> int:
    """The number of outputs of one example; refuse what has no derivative L'.

    Args:
      learner: the loss function and the rule.
      params: the parameters.
      alone: the arguments with one example.
    """
    rule, circuit = learner.rule, learner.circuit(params, *alone)
    if rule.descends != "loss":
        raise ValueError(
            f"{type(rule).__name__} descends {rule.descends!r} and not the loss "
            f"function, so L' is not what it follows, and K is not defined. {_WITHOUT}"
        )
    try:
        shape = circuit.output_shape
    except ValueError as error:
        raise ValueError(f"{error} {_WITHOUT}") from error
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(
            f"K is defined for real outputs, not {shape.dtype}. {_WITHOUT}"
        )
    return math.prod(shape.shape)


def require_single_examples(
    learner: Learner, params: Any, args: tuple[Any, ...], alone: tuple[Any, ...]
) -> None:
    """Require a rule that can be called with one example and the state of a batch."""
    name = type(learner.rule).__name__

    def state(given: tuple[Any, ...]) -> Any:
        return jax.eval_shape(
            lambda key: learner.init(key, params, *given), jax.random.key(0)
        )

    try:
        single = state(alone)
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be called with one example alone, so the update of a "
            f"batch is not a sum over its examples. ({error})"
        ) from error
    reason = difference(single, state(args))
    if reason is not None:
        raise ValueError(
            f"The state of {name} holds values of each example of a batch ({reason}), "
            "so an update depends on what the examples did before, and is not a sum "
            "over the examples of its batch."
        )


def require_sum(learner: Learner, circuit: Circuit, report: Report) -> None:
    """Require that the updates of the examples sum to that of their batch."""
    missed, name = float(report.sum_missed), type(learner.rule).__name__
    joined, numbers = circuit.batch.mixing is not None, (float(report.loss), missed)
    if not joined and not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"The training diverged: the loss is {numbers[0]}, and the updates are not "
            "finite numbers. Use a smaller rate."
        )
    if not missed <= allowed(report.sum_missed.dtype):
        raise ValueError(
            "The updates of single examples do not sum to the update of their batch "
            f"(off by {missed:.1e} of it): {_reason(circuit, name)}"
        )


def has_units(
    single: Learner,
    learner: Learner,
    params: Any,
    state: Any,
    alone: tuple[Any, ...],
    outputs: int,
) -> bool:
    """Whether the rule is defined for single outputs.

    Args:
      single: the learner of single outputs.
      learner: that of the loss function.
      params: the parameters.
      state: the rule's state.
      alone: the arguments with one example.
      outputs: the number of outputs of one example.

    Raises:
      ValueError: if it is not and the network has several outputs.
    """
    shape = learner.circuit(params, *alone).output_shape
    units = jnp.eye(outputs, dtype=shape.dtype)
    try:
        jax.eval_shape(
            lambda params, state: unit_gradients(single, params, state, alone, units),
            params,
            state,
        )
    except ValueError as error:
        if outputs == 1:
            return False
        raise ValueError(
            f"K is not defined for {type(learner.rule).__name__} on this loss "
            f"function: {error} {_WITHOUT}"
        ) from error
    return True


def is_linear(learner: Learner, report: Report, outputs: int) -> bool:
    """Whether G_i was linear in L'_i in an update.

    Raises:
      ValueError: if it was not and the network has several outputs.
    """
    missed = float(report.unit_missed)
    if missed <= allowed(report.unit_missed.dtype):
        return True
    if outputs == 1:
        return False
    raise ValueError(
        f"K is not a matrix for {type(learner.rule).__name__} on this loss function: "
        "its update for an example is not linear in the derivative of the loss by the "
        f"outputs (off by {missed:.1e}). {_WITHOUT} A network with one output has a "
        "K for any rule."
    )


def _reason(circuit: Circuit, name: str) -> str:
    if circuit.batch.mixing is not None:
        return (
            f"{circuit.batch.mixing} joins several examples (as batch normalisation "
            "does)."
        )
    return (
        f"either {name} draws noise for each example of a batch, or treats a batch as "
        "a whole, or trains by more than one update of its gradient (a decay of "
        "weights, several updates in one step); "
        "or the loss is not the `reduction=` over the examples that `batch_axes=` "
        "says; or the optimiser clips."
    )


def require_identity(found: PathKernel, tolerance: float) -> None:
    """Require that the contributions sum to the change of the predictions."""
    initial, final, error = map(np.asarray, (found.initial, found.final, found.error))
    moved, size = np.linalg.norm(final - initial), np.linalg.norm(final)
    rounding = 100 * jnp.finfo(found.final.dtype).eps * size
    if not error * (moved or 1.0) <= tolerance * moved + rounding:
        raise ValueError(
            "The contributions miss the change of the predictions by "
            f"{100 * float(found.error):.2g} % (`tolerance={tolerance}`). Along an "
            "update the predictions have kinks (relu: more `points`, or a smaller "
            "rate), change too much (a smaller rate), or have a derivative that is "
            "not theirs (the surrogate gradient of a spike, `stop_gradient`)."
        )


def allowed(dtype: Any) -> float:
    """The relative error up to which two sums of updates count as equal."""
    return max(1e-6, 4 * float(jnp.finfo(dtype).eps) ** 0.5)
