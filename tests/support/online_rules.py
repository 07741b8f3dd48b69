"""What an online rule says on a loss with loops, and what it should say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import apical
from support.online_twins import TIME, Case, Stream, is_array

KEY = jax.random.key(7)


def gradient_of(rule: Any, case: Any, **options: Any) -> Any:
    """The gradients of one call over whole sequences.

    `case` has `loss_fn`, `params`, `args` and perhaps `batch_axes`.
    """
    axes = getattr(case, "batch_axes", 0)
    learner = apical.value_and_grad(case.loss_fn, rule, batch_axes=axes, **options)
    state = learner.init(KEY, case.params, *case.args)
    return jax.jit(learner)(case.params, state, *case.args).grads


def beside(rule: Any, case: Case, paths: Any) -> tuple[Any, Any]:
    """What a rule says and what the twin says by `paths`, compiled together."""
    learner = apical.value_and_grad(case.loss_fn, rule, batch_axes=case.batch_axes)
    state = learner.init(KEY, case.params, *case.args)

    @jax.jit
    def compute(params, state, args):
        return learner(params, state, *args).grads, case.gradient(paths, params, *args)

    return compute(case.params, state, case.args)


def streamed(rule: Any, case: Stream, lengths: tuple[int, ...]) -> Any:
    """Gradients of windows by their share of the sequence; steps for no lengths."""
    loss_fn = case.window if lengths else case.single
    learner = apical.value_and_grad(loss_fn, rule, has_aux=True, carry=(0, "carry"))
    if lengths:
        pieces = case.pieces(*lengths)
    else:
        pieces = [(x[:, 0], y[:, 0]) for x, y in case.pieces(*TIME * [1])]
    state = learner.init(KEY, case.params, case.start, *pieces[0])
    call = jax.jit(learner)
    carry, total = case.start, jax.tree.map(jnp.zeros_like, case.params)
    for (x, y), length in zip(pieces, lengths or TIME * [1], strict=True):
        credit = call(case.params, state, carry, x, y)
        state, carry = credit.state, credit.aux["carry"]
        share = length / TIME
        total = jax.tree.map(lambda t, g, s=share: t + s * g, total, credit.grads)
    return total


def apart(found: Any, expected: Any) -> dict[str, float]:
    """For each learned leaf the largest difference by the largest number of all."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(expected)
    others = [leaf for leaf in jax.tree.leaves(found) if is_array(leaf)]
    size = max(float(np.max(np.abs(leaf))) for _, leaf in leaves)
    return {
        jax.tree_util.keystr(path): float(np.max(np.abs(other - leaf))) / size
        for (path, leaf), other in zip(leaves, others, strict=True)
    }
