"""The laws: each compares what two ways of asking a rule should agree on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..circuit import Circuit
from ..rules import Rule
from ..rules._learner import value_and_grad
from ..rules._rule import Signal
from ._case import (
    SEEDS,
    Case,
    arrays_of,
    is_array,
    jit_arrays,
    require_close,
    require_finite,
    require_same_structure,
)

# float32, and sums in another order; the gradient that Python's steps accumulate.
CLOSE = 1e-4
# Slopes by finite differences are rough.
ROUGH = 0.05


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
    """The value and aux are those of the undisturbed forward computation."""
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
    """The state is a pytree of arrays; calls keep its shapes, checkpoints its effect."""
    for path, leaf in jax.tree.leaves_with_path(case.state):
        if not is_array(leaf):
            name = jax.tree_util.keystr(path)
            raise AssertionError(f"the state's leaf {name} is {leaf!r}, not an array")
    require_same_structure(case.eager.state, case.state, "the state after a call")
    started = case.start(case.state, case.args)
    require_same_structure(started, case.state, "the state after `start`")
    restored = case.compiled(case.params, _checkpointed(case.state), case.args)
    same = "a call with the state saved and restored"
    require_close(restored.credit.grads, case.jitted.credit.grads, same, CLOSE)


def _checkpointed(state: Any) -> Any:
    """A state as it comes back from a file."""
    leaves, treedef = jax.tree.flatten(state)
    return jax.tree.unflatten(treedef, [_saved(leaf) for leaf in leaves])


def _saved(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = np.array(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    return np.array(leaf)


def pure(case: Case) -> None:
    """The same inputs give the same outputs, from one call to the next."""
    again = case.tick(case.params, case.state, case.args)
    require_close(_outcome(again), _outcome(case.eager), "a second call", 1e-6)


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


def numbers(case: Case) -> None:
    """`jax.grad` with respect to the rule's own numbers is their slope, or zero."""
    paths, treedef = jax.tree.flatten_with_path(case.rule)
    leaves = [leaf for _, leaf in paths]
    moved = [i for i, x in enumerate(leaves) if jnp.issubdtype(_type(x), jnp.inexact)]

    def effect(given: list[Any]) -> Any:
        filled = [*leaves]
        for i, x in zip(moved, given, strict=True):
            filled[i] = x
        step = case.step_of(jax.tree.unflatten(treedef, filled))
        state = case.init(jax.random.key(SEEDS[0]), case.params, step)
        tick = case.tick(case.params, state, case.args, step)
        reached = tick.params if case.rule.coupled else tick.credit.grads
        return _shadow(case.circuit, reached)

    if moved:
        slope_of = jax.jit(jax.value_and_grad(effect, has_aux=True))
        names = [jax.tree_util.keystr(paths[i][0]) for i in moved]
        _compare_slopes(slope_of, [jnp.asarray(leaves[i], float) for i in moved], names)


def _type(leaf: Any) -> Any:
    return leaf.dtype if is_array(leaf) else type(leaf)


def _shadow(circuit: Circuit, tree: Any) -> Any:
    """A sum of the learned leaves with unequal weights, and their size."""
    flat = jnp.concatenate([jnp.ravel(x) for x in circuit.leaves.pick(tree)[0]])
    weights = jnp.sin(1.0 + jnp.arange(flat.size))
    return jnp.sum(weights * flat).real, jnp.linalg.norm(flat)


def _compare_slopes(slope_of: Any, given: list[jax.Array], names: list[str]) -> None:
    (_, size), slopes = slope_of(given)
    for i, (name, x, slope) in enumerate(zip(names, given, slopes, strict=True)):
        require_finite(slope, f"the derivative by the rule's {name}")
        along, step = float(jnp.sum(slope)), 0.01 * max(float(jnp.max(jnp.abs(x))), 0.1)
        near = ([*given[:i], x + way, *given[i + 1 :]] for way in (step, -step))
        high, low = (float(slope_of(each)[0][0]) for each in near)
        measured = (high - low) / (2 * step)
        allowed = ROUGH * max(abs(along), abs(measured)) + 1e-5 * float(size) / step
        if along and not abs(along - measured) <= allowed:
            raise AssertionError(
                f"by the rule's {name}, `jax.grad` says {along:.4g} and finite "
                f"differences {measured:.4g}"
            )


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


def signals(case: Case) -> None:
    """There is a finite `Signal` for each node, of the node's shape."""
    nodes = {n.name: n.shape for n in case.circuit.nodes}
    found = _signals(case)
    if set(found) != set(nodes):
        odd = sorted(set(found) ^ set(nodes))
        raise AssertionError(f"missing or unknown: {odd}; the nodes are {sorted(nodes)}")
    for name, shape in nodes.items():
        for field, part in zip(Signal._fields, found[name], strict=True):
            if part.shape != shape:
                raise AssertionError(
                    f"the {field} at {name!r} has shape {part.shape}, the node {shape}"
                )
    require_finite(found, "the signals")


def _signals(case: Case) -> dict[str, Signal]:
    def read(params: Any, state: Any, args: Any) -> dict[str, Signal]:
        return case.rule.signals(case.circuit, params, case.rule_state(state), args)

    return jit_arrays(read)(case.params, case.state, case.args)


def pull(case: Case) -> None:
    """The gradients are the teaching signals, pulled back through each prediction.

    The nodes are held at their values or, by rules whose predictions are fixed, at
    the predictions.
    """
    found = _signals(case)
    delta = {n: s.teaching for n, s in found.items()}

    def product(params: Any, held: Any, args: Any) -> Any:
        return case.circuit.pull(params, args, held, delta, loss=1.0)

    local, problems = jit_arrays(product), []
    for i, where in enumerate(("values", "predictions")):
        held = {n: s[i] for n, s in found.items()}
        what = f"`circuit.pull` with nodes at their {where}, against `credit.grads`"
        try:
            pulled = local(case.params, held, case.args)
            require_close(pulled, case.eager.credit.grads, what, 10 * CLOSE)
            return
        except AssertionError as problem:
            problems.append(str(problem))
    raise AssertionError("; ".join(problems))


def predict(case: Case) -> None:
    """`predict` gives the finite output of the trained network, also under `jax.jit`."""

    def predict(params: Any, state: Any, args: Any) -> Any:
        return case.learner.predict(params, case.rule_state(state), *args)

    given = (case.params, case.state, case.args)
    output = predict(*given)
    require_finite(output, "the output")
    require_close(jit_arrays(predict)(*given), output, "under `jax.jit`", CLOSE)


def train_step(case: Case) -> None:
    """What moves with the parameters goes through `train_step`, and moves them soundly.

    A rule that is not coupled and brings no `train` of its own has nothing to keep.
    """
    if not case.rule.coupled and type(case.rule).train is Rule.train:
        return
    if case.rule.coupled:
        _must_refuse(case)
    state = case.step.init(jax.random.key(SEEDS[0]), case.params, *case.args)
    params, moved, _ = case.step(case.params, state, *case.args)
    require_same_structure(arrays_of(params), arrays_of(case.params), "`params`, moved")
    require_same_structure(moved, state, "the state after a step")
    require_finite(params, "`params`, moved")


def _must_refuse(case: Case) -> None:
    try:
        value_and_grad(case.loss_fn, case.rule, **case.problem.keywords)
    except ValueError as error:
        if "train_step" in str(error):
            return
    raise AssertionError("`value_and_grad` takes a coupled rule without a word")
