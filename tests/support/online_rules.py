"""What an online rule says on a loss with loops, and what it should say."""

import warnings
from typing import Any

import jax
import numpy as np

import apical
from support.online_twins import BACKPROPAGATION, EPROP, SNAP, Case, is_array

PATHS = {"EProp": EPROP, "SnAp": SNAP, "RTRL": BACKPROPAGATION}


def gradient_of(rule: Any, case: Any, **options: Any) -> Any:
    """The gradients of one call over whole sequences.

    `case` has `loss_fn`, `params`, `args` and perhaps `batch_axes`.
    """
    axes = getattr(case, "batch_axes", 0)
    learner = apical.value_and_grad(case.loss_fn, rule, batch_axes=axes, **options)
    state = learner.init(jax.random.key(7), case.params, *case.args)
    return jax.jit(learner)(case.params, state, *case.args).grads


def both(rule: Any, case: Case, paths: Any) -> tuple[Any, Any]:
    """What a rule says and what the twin says by `paths`, compiled together."""
    learner = apical.value_and_grad(case.loss_fn, rule, batch_axes=case.batch_axes)
    with warnings.catch_warnings():  # of parameters below another synapse
        warnings.filterwarnings("ignore", ".*keeps no eligibility trace")
        state = learner.init(jax.random.key(7), case.params, *case.args)

    @jax.jit
    def compute(params, state, args):
        return learner(params, state, *args).grads, case.gradient(paths, params, *args)

    return compute(case.params, state, case.args)


def apart(found: Any, expected: Any) -> dict[str, float]:
    """For each learned leaf the largest difference by the largest number of all."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(expected)
    others = [leaf for leaf in jax.tree.leaves(found) if is_array(leaf)]
    size = max(float(np.max(np.abs(leaf))) for _, leaf in leaves)
    return {
        jax.tree_util.keystr(path): float(np.max(np.abs(other - leaf))) / size
        for (path, leaf), other in zip(leaves, others, strict=True)
    }
