"""The laws of rules: each compares two computations that should agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..rules import Rule
from ..rules._base import Signal
from ._case import (
    CLOSE,
    SEEDS,
    Call,
    Case,
    arrays_of,
    is_array,
    jit_arrays,
    require_close,
    require_finite,
    require_same_structure,
)

# ---- Laws about signals at the nodes, and about methods that a rule may override.


def signals(case: Case) -> None:
    """Each node has a finite `Signal` of the node's shape."""
    nodes = {n.name: n.shape for n in case.circuit.nodes}
    found = _signals(case)
    if set(found) != set(nodes):
        odd = sorted(set(found) ^ set(nodes))
        raise AssertionError(
            f"missing or unknown: {odd}; the nodes are {sorted(nodes)}"
        )
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

    The nodes are held at their values or, for rules with fixed predictions, at the
    predictions.
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
    """`predict` gives a finite output of the trained network, also under `jit`."""

    def predict(params: Any, state: Any, args: Any) -> Any:
        return case.learner.predict(params, case.rule_state(state), *args)

    given = (case.params, case.state, case.args)
    output = predict(*given)
    require_finite(output, "the output")
    require_close(jit_arrays(predict)(*given), output, "under `jax.jit`", CLOSE)


def train_step(case: Case) -> None:
    """A rule's own training step updates `params`, with the same shapes and dtypes."""
    if not case.rule.coupled and type(case.rule).train is Rule.train:
        return
    state = case.step.init(jax.random.key(SEEDS[0]), case.params, *case.args)
    moved, state_after, _ = case.step(case.params, state, *case.args)
    before, after = arrays_of(case.params), arrays_of(moved)
    require_same_structure(after, before, "`params`, moved")
    require_same_structure(state_after, state, "the state after a step")
    require_finite(after, "`params`, moved")
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    if all(np.array_equal(a, b) for a, b in pairs):
        raise AssertionError("no parameter moved")


# ---- The law about the rule's own numbers: rates, decays, fractions.

# Tolerance of finite differences.
ROUGH = 0.05


def numbers(case: Case) -> None:
    """The rule's numbers may be traced; their `jax.grad` is the slope, or zero."""
    paths, treedef = jax.tree.flatten_with_path(case.rule)
    leaves = [leaf for _, leaf in paths]
    moved = [i for i, x in enumerate(leaves) if jnp.issubdtype(_type(x), jnp.inexact)]

    def rule_at(given: list[Any]) -> Rule:
        filled = [*leaves]
        for i, x in zip(moved, given, strict=True):
            filled[i] = x
        return jax.tree.unflatten(treedef, filled)

    given = [jnp.asarray(leaves[i], float) for i in moved]
    if not moved:
        return
    _require_accepted(case, rule_at, given)
    names = [jax.tree_util.keystr(paths[i][0]) for i in moved]
    effect = jax.jit(jax.value_and_grad(_effect(case, rule_at), has_aux=True))
    (_, found), slopes = effect(given)
    require_close(found, _reached(case, case.eager), "with its numbers traced", CLOSE)
    for i, name in enumerate(names):
        require_finite(slopes[i], f"the derivative by the rule's {name}")
        _compare_slopes(effect, given, i, float(jnp.sum(slopes[i])), name)


def _type(leaf: Any) -> Any:
    return leaf.dtype if is_array(leaf) else type(leaf)


def _require_accepted(
    case: Case, rule_at: Callable[..., Rule], given: list[Any]
) -> None:
    """`init` accepts the rule with traced numbers if it accepts concrete ones."""

    def start(given: list[Any]) -> Any:
        key = jax.random.key(SEEDS[0])
        return case.init(key, case.params, case.step_of(rule_at(given)))

    try:
        jax.eval_shape(start, given)
    except ValueError as refusal:
        raise AssertionError(
            "`init` accepts the rule's numbers, but refuses the same numbers when they "
            "are traced: a number that must be known while tracing is a static field "
            f"(`apical.rules.tools.static`). It said: {refusal}"
        ) from refusal


def _effect(case: Case, rule_at: Callable[..., Rule]) -> Callable[..., Any]:
    """A weighted sum of the gradients (or of the updated parameters)."""

    def effect(given: list[Any]) -> Any:
        step = case.step_of(rule_at(given))
        state = case.init(jax.random.key(SEEDS[0]), case.params, step)
        found = _reached(case, case.call(case.params, state, case.args, step))
        flat = jnp.concatenate([jnp.ravel(x) for x in found])
        return jnp.sum(jnp.sin(1.0 + jnp.arange(flat.size)) * flat).real, found

    return effect


def _reached(case: Case, call: Call) -> list[jax.Array]:
    moved = call.params if case.rule.coupled else call.credit.grads
    return case.circuit.leaves.split(moved)[0]


def _compare_slopes(
    effect: Any, given: list[jax.Array], i: int, slope: float, name: str
) -> None:
    step = 0.01 * max(float(jnp.max(jnp.abs(given[i]))), 0.1)
    near = ([*given[:i], given[i] + way, *given[i + 1 :]] for way in (step, -step))
    ((high, _), _), ((low, found), _) = map(effect, near)
    measured, size = float(high - low) / (2 * step), sum(jnp.sum(abs(x)) for x in found)
    allowed = ROUGH * max(abs(slope), abs(measured)) + 1e-5 * float(size) / step
    if slope and not abs(slope - measured) <= allowed:
        raise AssertionError(
            f"by the rule's {name}, `jax.grad` says {slope:.4g} and finite differences "
            f"{measured:.4g}"
        )


# ---- Laws about one call: parameters, value, gradients, state, transformations.

# Tolerance for the same call made twice.
SAME = 1e-6


def untouched(case: Case) -> None:
    """A call does not change the caller's parameters."""
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
    result = case.learner.loss_fn(case.params, *case.args)
    loss, aux = result if case.circuit.spec.has_aux else (result, None)
    found = case.eager.credit
    require_close(found.value, loss, "`credit.value` against the loss", CLOSE)
    require_close(found.aux, aux, "`credit.aux` against that of `loss_fn`", CLOSE)


def grads(case: Case) -> None:
    """The gradients have the form of `params`, are finite, and not all zero."""
    found = case.eager.credit.grads
    require_same_structure(found, case.circuit.learned(case.params), "`credit.grads`")
    require_finite(found, "`credit.grads`")
    if not any(np.any(np.asarray(g)) for g in jax.tree.leaves(found)):
        raise AssertionError("`credit.grads`: every gradient is zero")


def state(case: Case) -> None:
    """The state is a pytree of arrays of constant shapes, and can be saved."""
    for path, leaf in jax.tree.leaves_with_path(case.state):
        if not is_array(leaf):
            name = jax.tree_util.keystr(path)
            raise AssertionError(f"the state's leaf {name} is {leaf!r}, not an array")
    require_same_structure(case.eager.state, case.state, "the state after a call")
    started = case.reset(case.state, case.args)
    require_same_structure(started, case.state, "the state after `reset`")
    restored = case.call(case.params, _checkpointed(case.state), case.args)
    same = "a call with the state saved and restored"
    require_close(_outcome(restored), _outcome(case.eager), same, SAME)


def _checkpointed(state: Any) -> Any:
    """A state after saving it to a file and loading it."""
    leaves, treedef = jax.tree.flatten(state)
    return jax.tree.unflatten(treedef, [_saved(leaf) for leaf in leaves])


def _saved(leaf: Any) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = jnp.asarray(np.array(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    return np.array(leaf)


def pure(case: Case) -> None:
    """Two calls with the same inputs give the same outputs."""
    again = case.call(case.params, case.state, case.args)
    require_close(_outcome(again), _outcome(case.eager), "a second call", SAME)


def _outcome(call: Call) -> Any:
    """Parameters, state, value, aux and gradients after a call."""
    credit = call.credit._replace(info=None, state=None)
    return arrays_of((call.params, call.state, credit))


def jit(case: Case) -> None:
    """`jax.jit` changes nothing."""
    require_close(_outcome(case.jitted), _outcome(case.eager), "under `jax.jit`", CLOSE)


def vmap(case: Case) -> None:
    """`jax.vmap` over seeds equals a loop over seeds."""
    leaves = case.circuit.leaves
    learned, fixed = leaves.split(case.params)

    def scaled(scale: Any) -> Any:
        return leaves.combine([(scale * x).astype(x.dtype) for x in learned], fixed)

    def run(key: jax.Array, scale: Any) -> Any:
        params = scaled(scale)
        return _outcome(case.call(params, case.init(key, params), case.args))

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
    twice = _repeated(case.circuit.spec.batch_axes, case.args)
    state = case.reset(case.state, twice)
    found = case.compiled(case.params, state, twice).credit.grads
    times = 2.0 if case.circuit.spec.reduction == "sum" else 1.0
    expected = jax.tree.map(lambda g: times * g, case.jitted.credit.grads)
    require_close(found, expected, "with the batch repeated", 10 * CLOSE)


def _repeated(axes: Any, args: Any) -> Any:
    axes = (axes,) * len(args) if axes is None or isinstance(axes, int) else axes

    def repeat(axis: Any, part: Any) -> Any:
        if axis is None:
            return part
        return jax.tree.map(lambda x: jnp.concatenate([x, x], axis), part)

    return jax.tree.map(repeat, axes, args, is_leaf=lambda axis: axis is None)


# In the order in which they are checked.
LAWS_ON_A_PROBLEM: tuple[Callable[[Case], None], ...] = (
    *(untouched, value, grads, pure, state, jit, vmap, batch, numbers),
    *(signals, pull, predict, train_step),
)
