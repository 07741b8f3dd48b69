"""Gradients of a chunk of steps, from eligibility traces with two factors.

As in `_unit_credit`, all steps of a chunk are differentiated at once. The factors of
the traces are then filtered from step to step, which costs little beside the products
of the steps, and one product of both factors over all steps remains for each synapse.
The result does not depend on the number of steps in a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._evaluate._manual_axes import all_varying, axes_of, scan, vary_as
from ..._jaxpr import Literal
from .._steps._cotangents import inner
from .._steps._step import reads
from .._steps._step_evaluation import evaluate
from .._steps._weight_values import (
    Fixed,
    add_at_synapse,
    add_at_use,
    added,
    fixed_values,
    replaced,
)
from .._traces._unit_credit import Apart, cut_step, end_rows, learned_inputs, still
from .._traces._unit_loop import UnitLoop
from ._factor_traces import Drives, DriveSteps


class DriveCredit(NamedTuple):
    """The derivatives of each step by itself, with those by drives apart.

    Attributes:
      weights: with respect to the weights, other than through drives.
      carry: with respect to the active carries before each step: `lambda`.
      xs: with respect to the inputs, by position.
      drives: with respect to the drives, `[steps, ...]`: `delta`.
    """

    weights: list[Any]
    carry: list[Any]
    xs: dict[int, Any]
    drives: list[Any]


class UnitPaths(NamedTuple):
    """The derivatives of the states after each step, along units alone.

    Attributes:
      through: `[steps, slots, states]`, of the state at each slot of a unit, by each
        state before that belongs to the same unit.
      fresh: `[steps, slots, ...]`, by each drive.
    """

    through: jax.Array
    fresh: list[jax.Array]


def run_apart(
    loop: UnitLoop, fixed: Fixed, carry: Sequence[Any], xs: Sequence[Any], length: int
) -> tuple[list[Any], list[Any], Apart]:
    """The steps in turn: the last carry, those before each step, values at synapses."""
    values = fixed_values(loop.step, fixed)

    def step(carry: Any, x: Any) -> Any:
        found = evaluate(loop.step, values, fixed.copies, carry, x, taps=loop.taps)
        return found.carry, (carry, Apart(found.inputs, found.outputs))

    last, (before, apart) = scan(step, list(carry), list(xs), length=length)
    return last, before, apart


@jax.custom_jvp
def _known(computed: Any, value: Any) -> Any:
    """A value that is known, with the derivative of the same value as it is computed.

    What only the value needs is not computed again.
    """
    del computed
    return value


@_known.defjvp
def _known_jvp(primals: Any, tangents: Any) -> Any:
    return primals[1], tangents[0]


def drive_credit(
    loop: UnitLoop,
    fixed: Fixed,
    before: Sequence[Any],
    xs: Sequence[Any],
    apart: Apart,
    ybar: Sequence[Any],
    last: Sequence[Any],
) -> DriveCredit:
    """The derivatives of each step by itself.

    Args:
      loop: the loop.
      fixed: what is fixed.
      before: the carries before each step.
      xs: the inputs of the steps.
      apart: the values at synapses.
      ybar: the cotangents of the outputs; None where there is none.
      last: the cotangents of the carries after the last step; None alike.
    """
    step, alone = loop.step, _read_by_drives_alone(loop)
    learned = learned_inputs(loop, xs)

    def total(weights: Any, acts: Any, inputs: Any, ds: Any, du: Any) -> Any:
        weights = [
            jax.lax.stop_gradient(w) if n in alone else w
            for n, w in zip(step.weights, weights, strict=True)
        ]
        values = fixed_values(step, fixed._replace(weights=weights))

        def one(carry: Any, x: Any, outputs: Any, ds: Any, du: Any) -> Any:
            def output(i: int, y: Any) -> Any:
                y = _known(y, outputs[i])
                return y + ds[i] if i in ds else y

            def use(j: int, w: Any) -> Any:
                return added(jax.lax.stop_gradient(w), du[j]) if j in du else w

            found = evaluate(
                step,
                values,
                fixed.copies,
                carry,
                x,
                recurrence=loop.recurrence,
                output=output,
                use=use,
                taps=loop.taps,
            )
            return found.last, found.ys

        carry, ys = jax.vmap(one)(
            replaced(before, dict(zip(loop.active, acts, strict=True))),
            replaced(xs, inputs),
            apart.outputs,
            ds,
            du,
        )
        parts = [inner(b, y) for b, y in zip(ybar, ys, strict=True)]
        parts += [inner(b, c[-1]) for b, c in zip(last, carry, strict=True)]
        return sum(parts, start=jnp.zeros(()))

    acts, inputs = [before[i] for i in loop.active], {i: xs[i] for i in learned}
    still = Drives(loop).zeros(len(jax.tree.leaves((before, xs))[0]))
    ds, du, _ = all_varying(still, axes_of((before, xs)))
    slopes = jax.grad(total, (0, 1, 2, 3, 4))(list(fixed.weights), acts, inputs, ds, du)
    weights, carry, inputs, ds, du = slopes
    driving = [inputs[i] for i in loop.driving_inputs]
    drives = [*ds.values(), *du.values(), *driving]
    return DriveCredit(_apart(loop, weights, ds, apart), carry, inputs, drives)


def _read_by_drives_alone(loop: UnitLoop) -> frozenset[int]:
    """The weights that traced synapses read, and nothing else."""
    step = loop.step
    traced = {id(step.synapses[i].op) for i in loop.traced}
    others = {n for op in step.ops if id(op) not in traced for n in reads(op)}
    others |= {a for a in (*step.carried, *step.ys) if not isinstance(a, Literal)}
    return frozenset(step.weights) - others


def _apart(
    loop: UnitLoop, weights: list[Any], ds: dict[int, Any], apart: Apart
) -> list[Any]:
    """The derivatives of weights without the part through traced synapses.

    Of weights that something else reads too, that part has to be taken away.
    """
    step, alone, found = loop.step, _read_by_drives_alone(loop), list(weights)
    for i in loop.traced:
        synapse = step.synapses[i]
        if synapse.op.inputs[synapse.weight] not in alone:
            add_at_synapse(loop, found, i, -_product(loop, i, ds[i], apart.inputs[i]))
    return found


def _product(loop: UnitLoop, i: int, credit: Any, inputs: Any) -> jax.Array:
    """The sum over steps of the credit of a synapse's outputs times its inputs."""
    axes = loop.traced[i]
    e, x = jax.vmap(axes.made)(credit), jax.vmap(axes.read)(inputs)
    return jnp.einsum(f"z{axes.output},z{axes.input}->{axes.weight}", e, x)


def factor_gradients(
    loop: UnitLoop, direct: list[Any], credit: Sequence[Any], inputs: Sequence[Any]
) -> list[Any]:
    """The gradients of the weights from the steps of a chunk.

    Args:
      loop: the loop.
      direct: the gradients other than through drives.
      credit: what meets the filtered inputs, for each drive and step.
      inputs: the filtered input of each traced synapse at each step.
    """
    found = list(direct)
    ds, du, _ = Drives(loop).grouped(credit)
    for x, (i, e) in zip(inputs, ds.items(), strict=True):
        add_at_synapse(loop, found, i, _product(loop, i, e, x))
    for j, e in du.items():
        add_at_use(loop, found, j, jnp.sum(e, 0))
    return found


def unit_paths(
    loop: UnitLoop, fixed: Fixed, before: Sequence[Any], xs: Sequence[Any], apart: Apart
) -> UnitPaths:
    """The derivatives of the states after each step, along units alone."""
    values = fixed_values(loop.step, fixed)
    rows = end_rows(loop, credit=False, slots=True)

    def one(carry: Any, x: Any, outputs: Any) -> Any:
        def after(*moved: Any) -> Any:
            found = cut_step(loop, values, fixed.copies, carry, x, outputs, *moved)
            return [found.carry[i] for i in loop.active]

        dx = {i: jnp.zeros_like(x[i]) for i in loop.driving_inputs}
        ends, pull = jax.vjp(after, *still(loop, carry, outputs), dx)
        back = jax.vmap(lambda row: pull(vary_as(loop.unflat(row), ends)))
        acts, *drives = back(rows)
        return jax.vmap(loop.flat)(acts), jax.tree.leaves(drives)

    return UnitPaths(*jax.vmap(one)(list(before), list(xs), apart.outputs))


def drive_steps(
    loop: UnitLoop, paths: UnitPaths, credit: DriveCredit | None
) -> list[DriveSteps]:
    """What each drive does in each step, at the slots of the units of its entries."""
    rows = None if credit is None else jax.vmap(loop.flat)(credit.carry)
    found = []
    for k, units in enumerate(Drives(loop).units):
        through = at_slots(loop, paths.through, units)
        before = None if rows is None else at_slots(loop, rows, units)
        here = None if credit is None else credit.drives[k]
        found.append(DriveSteps(through, paths.fresh[k], before, here))
    return found


def at_slots(loop: UnitLoop, rows: jax.Array, units: np.ndarray) -> jax.Array:
    """The states of some units: `[..., states]` to `[..., slots, *units.shape]`."""
    where = np.moveaxis(loop.units.table[units], -1, 0)
    if (slices := _slices(where, rows.shape[-1])) is not None:
        found = [
            rows[..., each].reshape(*rows.shape[:-1], *units.shape) for each in slices
        ]
        return jnp.stack(found, rows.ndim - 1)
    padded = jnp.concatenate([rows, jnp.zeros((*rows.shape[:-1], 1), rows.dtype)], -1)
    return padded[..., where]


def _slices(where: np.ndarray, states: int) -> list[slice] | None:
    """The slice of the states that each row of positions is; None if one is none.

    So it is where entries of a drive and of a carry have the same order. A slice costs
    nothing, where a gather costs as much as a step.
    """
    flat = where.reshape(len(where), -1)
    if (np.diff(flat) != 1).any() or flat.max(initial=0) >= states:
        return None
    return [slice(row[0], row[-1] + 1) for row in flat]
