"""The laws: each compares what two ways of asking a rule should agree on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._case import (
    CLOSE,
    SEEDS,
    Case,
    arrays_of,
    is_array,
    jit_arrays,
    require_close,
    require_finite,
    require_same_structure,
)

# For a call made again as it was.
SAME = 1e-6


def untouched(case: Case) -> None:
    """The caller's parameters are what they were."""
    before = jax.tree.map(lambda x: np.array(x) if is_array(x) else x, case.params)
    leaves = jax.tree.leaves(case.params)
    _ = case.eager
    same = jax.tree.structure(case.params) == jax.tree.structure(before)
    kept = same and all(
        a is b for a, b in zip(leaves, jax.tree.leaves(case.params), strict=True)
    )
    if not kept:
        raise AssertionError("a call put other leaves into the caller's `params`")
    require_close(case.params, before, "`params` after a call", 0.0)


def value(case: Case) -> None:
    """Value and aux are those of the undisturbed forward computation."""
    result = case.loss_fn(case.params, *case.args)
    loss, aux = result if case.circuit.setting.has_aux else (result, None)
    found = case.eager.credit
    require_close(found.value, loss, "`credit.value` against the loss", CLOSE)
    require_close(found.aux, aux, "`credit.aux` against that of `loss_fn`", CLOSE)


def grads(case: Case) -> None:
    """The gradients are those of a pytree of `params`, finite, and not all zero."""
    found = case.eager.credit.grads
    require_same_structure(found, case.circuit.learned(case.params), "`credit.grads`")
    require_finite(found, "`credit.grads`")
    if not any(np.any(np.asarray(g)) for g in jax.tree.leaves(found)):
        raise AssertionError("`credit.grads`: every gradient is zero")


def state(case: Case) -> None:
    """The state is a pytree of arrays; calls keep its shapes, a file its effect."""
    for path, leaf in jax.tree.leaves_with_path(case.state):
        if not is_array(leaf):
            name = jax.tree_util.keystr(path)
            raise AssertionError(f"the state's leaf {name} is {leaf!r}, not an array")
    require_same_structure(case.eager.state, case.state, "the state after a call")
    started = case.start(case.state, case.args)
    require_same_structure(started, case.state, "the state after `start`")
    restored = case.tick(case.params, _checkpointed(case.state), case.args)
    same = "a call with the state saved and restored"
    require_close(_outcome(restored), _outcome(case.eager), same, SAME)


def _checkpointed(state: Any) -> Any:
    """A state as it comes back from a file."""
    leaves, treedef = jax.tree.flatten(state)
    return jax.tree.unflatten(treedef, [_saved(leaf) for leaf in leaves])


def _saved(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = jnp.asarray(np.array(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    return np.array(leaf)


def pure(case: Case) -> None:
    """The same inputs give the same outputs, from one call to the next."""
    again = case.tick(case.params, case.state, case.args)
    require_close(_outcome(again), _outcome(case.eager), "a second call", SAME)


def _outcome(tick: Any) -> Any:
    """What a call changes: parameters, state, value, aux and gradients."""
    credit = tick.credit._replace(info=None, state=None)
    return arrays_of((tick.params, tick.state, credit))


def jit(case: Case) -> None:
    """`jax.jit` changes nothing."""
    require_close(_outcome(case.jitted), _outcome(case.eager), "under `jax.jit`", CLOSE)


def vmap(case: Case) -> None:
    """`jax.vmap` over seeds equals a loop over seeds."""
    leaves = case.circuit.leaves
    learned, fixed = leaves.pick(case.params)

    def scaled(scale: Any) -> Any:
        return leaves.build([(scale * x).astype(x.dtype) for x in learned], fixed)

    def run(key: jax.Array, scale: Any) -> Any:
        params = scaled(scale)
        return _outcome(case.tick(params, case.init(key, params), case.args))

    keys = jnp.stack([jax.random.key(seed) for seed in SEEDS])
    scales = jnp.linspace(0.9, 1.1, len(SEEDS))
    side_by_side = jit_arrays(jax.vmap(run))(keys, scales)
    for i, (key, scale) in enumerate(zip(keys, scales, strict=True)):
        params = scaled(scale)
        alone = case.compiled(params, case.init(key, params), case.args)
        mapped = jax.tree.map(lambda x, i=i: x[i], side_by_side)
        what = f"under `jax.vmap`, seed {SEEDS[i]}"
        require_close(mapped, _outcome(alone), what, CLOSE)


def batch(case: Case) -> None:
    """A batch repeated gives the update of the batch (twice it, for a sum)."""
    axes = case.problem.keywords.get("batch", 0)
    twice = _repeated(axes, case.args)
    state = case.start(case.state, twice)
    found = case.compiled(case.params, state, twice).credit.grads
    times = 2.0 if case.circuit.setting.reduction == "sum" else 1.0
    expected = jax.tree.map(lambda g: times * g, case.jitted.credit.grads)
    require_close(found, expected, "with the batch repeated", 10 * CLOSE)


def _repeated(axes: Any, args: Any) -> Any:
    axes = (axes,) * len(args) if axes is None or isinstance(axes, int) else axes

    def repeat(axis: Any, part: Any) -> Any:
        if axis is None:
            return part
        return jax.tree.map(lambda x: jnp.concatenate([x, x], axis), part)

    return jax.tree.map(repeat, axes, args, is_leaf=lambda axis: axis is None)
