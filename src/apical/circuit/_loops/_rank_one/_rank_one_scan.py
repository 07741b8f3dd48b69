"""A scan whose derivative is estimated forwards in time by a product of two vectors.

The derivative of the states with respect to the weights, a matrix, is estimated without
bias by one product s w^T (UORO; Tallec & Ollivier 2018, equations 8 to 10):

    s' = rho0 J s + rho1 nu,       w' = w / rho0 + nu^T (d step / d weights) / rho1
    dL/dW = sum over t [ direct_t + (lambda_t . s_{t-1}) w_{t-1} ]

with nu of random signs (one for each part of a complex state), J the derivative of the
step with respect to the states, and rho0, rho1 such that both terms have equal size. No
structure of the loop is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..._evaluate._automatic_axes import automatic
from ..._evaluate._manual_axes import (
    all_varying,
    axes_of,
    cotangents_apart,
    cotangents_joined,
    key_of_device,
)
from ..._evaluate._manual_axes import scan as scan_of_types
from .._steps._cotangents import given_cotangent, zero_cotangent
from .._steps._step import Step
from .._steps._step_evaluation import evaluate
from .._steps._weight_values import Fixed, fixed_values, plain_scan, replaced

_SMALL = 1e-7


class RankOne(NamedTuple):
    """An estimate of the derivative of the states with respect to the weights.

    Attributes:
      states: an array like each active carry.
      weights: an array like each weight.
    """

    states: list[jax.Array]
    weights: list[jax.Array]


@dataclass(frozen=True, eq=False)
class PlainLoop:
    """A loop as one step.

    Attributes:
      step: the step.
      length: the number of steps.
      reverse: whether the loop runs from the last input to the first.
      unroll: as in `lax.scan`.
      learned_start: whether the first carry depends on parameters.
    """

    step: Step
    length: int
    reverse: bool
    unroll: int | bool
    learned_start: bool

    def zeros(self) -> RankOne:
        """No influence, at the start of a sequence."""
        step = self.step
        numbers = [step.carries[i] for i in step.active]
        make = lambda n: jnp.zeros(step.shape(n), step.dtype(n))  # noqa: E731
        return RankOne(list(map(make, numbers)), list(map(make, step.weights)))


class _State(NamedTuple):
    carry: list[Any]
    estimate: RankOne
    start: list[Any]  # the estimate's part for the first carry
    grads: list[Any]
    of_start: list[Any]


def rank_one_scan(
    loop: PlainLoop,
    fixed: Fixed,
    carry: Sequence[Any],
    xs: Sequence[Any],
    key: jax.Array,
    estimate: RankOne | None,
) -> tuple[list[Any], list[Any], RankOne | None]:
    """Run a loop.

    Args:
      loop: the loop.
      fixed: what is the same at every step.
      carry: the first carry.
      xs: the inputs, stacked.
      key: a random key.
      estimate: the estimate that the carry comes with; None at the start of a sequence.

    Returns:
      The last carry, the outputs, and the estimate after it if one was given.
    """
    # As plain numbers: a cotangent of a key is awkward to make.
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    given, impl = jax.random.key_data(key), jax.random.key_impl(key)

    @jax.custom_vjp
    def scan(fixed: Any, carry: Any, xs: Any, key: Any, estimate: Any) -> Any:
        return primal(fixed, carry, xs, key, estimate)

    def plain(fixed: Any, carry: Any, xs: Any) -> Any:
        how = {"reverse": loop.reverse, "unroll": loop.unroll}
        return plain_scan(loop.step, fixed, carry, xs, loop.length, **how)

    def shapes(fixed: Any, carry: Any, xs: Any, key: Any, estimate: Any) -> Any:
        del key
        return *jax.eval_shape(plain, fixed, carry, xs), estimate

    def primal(fixed: Any, carry: Any, xs: Any, key: Any, estimate: Any) -> Any:
        last, ys = plain(fixed, carry, xs)
        if estimate is None:
            return last, ys, None
        zeros = [jnp.zeros_like(y) if _inexact(y) else None for y in ys]
        state, _ = _forwards(
            loop, fixed, carry, xs, zeros, [None] * len(carry), key, estimate, impl
        )
        return last, ys, jax.lax.stop_gradient(state.estimate)

    def backward(args: Any, cotangents: Any) -> Any:
        axes = axes_of((args, cotangents))
        fixed, carry, xs, key, estimate = all_varying(args, axes)
        last, ys, _ = cotangents_apart(cotangents, axes)
        last, ys = ([given_cotangent(x) for x in each] for each in (last, ys))
        begun = all_varying(loop.zeros(), axes) if estimate is None else estimate
        state, moved = _forwards(loop, fixed, carry, xs, ys, last, key, begun, impl)
        zeros = jax.tree.map(zero_cotangent, args)
        first = list(zeros[1])
        for i, grad in zip(loop.step.active, state.of_start, strict=True):
            first[i] = grad.astype(first[i].dtype)
        inputs = [moved.get(i, z) for i, z in enumerate(zeros[2])]
        weights = zeros[0]._replace(weights=state.grads)
        found = weights, first, inputs, zeros[3], zeros[4]
        return cotangents_joined(found, args)

    scan.defvjp(lambda *args: (primal(*args), args), backward)
    return automatic(scan, shapes)(fixed, list(carry), list(xs), given, estimate)


def _forwards(
    loop: PlainLoop,
    fixed: Fixed,
    carry: Any,
    xs: Any,
    ybar: Any,
    last: Any,
    key: Any,
    estimate: RankOne,
    impl: Any,
) -> tuple[_State, dict[int, Any]]:
    """The gradients and the estimate after the last step; the inputs' cotangents."""
    step, active = loop.step, loop.step.active
    learned = [i for i, n in enumerate(step.xs) if step.learns(n)]
    end = 0 if loop.reverse else loop.length - 1
    keys = jax.random.split(jax.random.wrap_key_data(key, impl=impl), loop.length + 1)

    def one(state: _State, given: Any) -> Any:
        x, ybar, key, t = given

        def run(weights: Any, acts: Any, inputs: Any) -> Any:
            found = evaluate(
                step,
                fixed_values(step, fixed._replace(weights=weights)),
                fixed.copies,
                replaced(state.carry, dict(zip(active, acts, strict=True))),
                replaced(x, inputs),
            )
            ys = [y for y in found.ys if _inexact(y)]
            return ([found.carry[i] for i in active], ys), found.carry

        acts = [state.carry[i] for i in active]
        inputs = {i: x[i] for i in learned}
        (after, ys), pull, carry = jax.vjp(
            run, list(fixed.weights), acts, inputs, has_aux=True
        )
        at_end = [
            jnp.zeros_like(a) if last[i] is None else jnp.where(t == end, last[i], 0)
            for i, a in zip(active, after, strict=True)
        ]
        outs = [b for b in ybar if b is not None]
        direct, slopes, moved = pull((at_end, outs))
        signal = _dot(slopes, state.estimate.states)
        grads = _plus(_plus(state.grads, direct), state.estimate.weights, signal)
        of_start = _plus(state.of_start, state.start, signal)
        # The estimate after this step.
        _, jump = jax.jvp(
            lambda a: run(list(fixed.weights), a, inputs)[0][0],
            (acts,),
            (state.estimate.states,),
        )
        signs = _signs(key, after)
        zeros = [jnp.zeros_like(y) for y in ys]
        drawn, _, drawn_inputs = pull(([jnp.conj(s) for s in signs], zeros))
        before = [*state.estimate.weights, *state.start]
        rho0 = _ratio(_size(before), _size(jump))
        rho1 = _ratio(_size([drawn, drawn_inputs]), _size(signs))
        new = RankOne(
            [
                (rho0 * a + rho1 * b).astype(a.dtype)
                for a, b in zip(jump, signs, strict=True)
            ],
            [
                (a / rho0 + b / rho1).astype(a.dtype)
                for a, b in zip(state.estimate.weights, drawn, strict=True)
            ],
        )
        start = [(a / rho0).astype(a.dtype) for a in state.start]
        kept = signal, rho0, rho1, drawn_inputs, moved
        return _State(carry, new, start, grads, of_start), kept

    start = [jnp.zeros_like(carry[i]) for i in active]
    if loop.learned_start:
        signs = _signs(keys[-1], start)
        start = [jnp.conj(s) for s in signs]
        estimate = estimate._replace(states=signs)
    state = _State(
        list(carry),
        estimate,
        start,
        [jnp.zeros_like(w) for w in fixed.weights],
        [jnp.zeros_like(s) for s in start],
    )
    steps = jnp.arange(loop.length)
    state, kept = scan_of_types(
        one, state, (list(xs), ybar, keys[:-1], steps), reverse=loop.reverse
    )
    return state, _inputs(loop, *kept)


def _signs(key: jax.Array, like: Sequence[jax.Array]) -> list[jax.Array]:
    """Random signs nu like some arrays, with c = E[Re(c . nu) conj(nu)] for every c.

    A complex number gets a sign for each part: with one sign alone, its imaginary part
    would be lost. nu is a tangent and conj(nu) the cotangent that goes with it.
    """

    def draw(key: jax.Array, x: jax.Array) -> jax.Array:
        if not jnp.iscomplexobj(x):
            return jax.random.rademacher(key, x.shape, jnp.float32).astype(x.dtype)
        real, imag = jax.random.rademacher(key, (2, *x.shape), jnp.float32)
        return jax.lax.complex(real, imag).astype(x.dtype)

    keys = (key_of_device(jax.random.fold_in(key, i), x) for i, x in enumerate(like))
    return [draw(key, x) for key, x in zip(keys, like, strict=True)]


def _inputs(
    loop: PlainLoop, signal: Any, rho0: Any, rho1: Any, drawn: Any, moved: Any
) -> dict[int, Any]:
    """The cotangents of the inputs: of the step itself, and estimates of later ones.

    The part of the estimate that is due to input t is drawn_t / rho1_t, divided by
    every later rho0; each later signal adds its multiple of it.
    """

    def back(later: Any, given: Any) -> Any:
        signal, rho0, rho1 = given
        return signal + later / rho0, later / rho1

    given = signal, rho0, rho1
    _, factor = scan_of_types(back, jnp.zeros(()), given, reverse=not loop.reverse)

    def total(direct: Any, drawn: Any) -> Any:
        spread = factor.reshape(-1, *[1] * (drawn.ndim - 1))
        return (direct + spread * drawn).astype(direct.dtype)

    return {i: total(moved[i], drawn[i]) for i in moved}


def _plus(one: Any, other: Any, factor: Any = 1.0) -> list[Any]:
    pairs = zip(one, other, strict=True)
    return [(a + factor * b).astype(a.dtype) for a, b in pairs]


def _dot(one: Any, other: Any) -> jax.Array:
    """The real part of a sum of products, as cotangents meet tangents."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    parts = (jnp.sum(a * b).real.astype(jnp.float32) for a, b in pairs)
    return sum(parts, start=jnp.zeros(()))


def _size(tree: Any) -> jax.Array:
    squares = (
        jnp.sum(jnp.abs(x).astype(jnp.float32) ** 2) for x in jax.tree.leaves(tree)
    )
    return jnp.sqrt(sum(squares, start=jnp.zeros(())))


def _ratio(one: jax.Array, other: jax.Array) -> jax.Array:
    """The factor that makes two terms equal in size; 1 where either is zero."""
    usual = jnp.sqrt((one + _SMALL) / (other + _SMALL))
    return jnp.where((one < _SMALL) | (other < _SMALL), 1.0, usual)


def _inexact(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)
