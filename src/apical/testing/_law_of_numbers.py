"""The law about the rule's own numbers: rates, decays, fractions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..rules import Rule
from ._case import CLOSE, SEEDS, Case, Tick, is_array, require_close, require_finite

# Slopes by finite differences are rough.
ROUGH = 0.05


def numbers(case: Case) -> None:
    """The rule's numbers may be traced; `jax.grad` by them is their slope, or zero."""
    paths, treedef = jax.tree.flatten_with_path(case.rule)
    leaves = [leaf for _, leaf in paths]
    moved = [i for i, x in enumerate(leaves) if jnp.issubdtype(_type(x), jnp.inexact)]

    def rule_at(given: list[Any]) -> Rule:
        filled = [*leaves]
        for i, x in zip(moved, given, strict=True):
            filled[i] = x
        return jax.tree.unflatten(treedef, filled)

    given = [jnp.asarray(leaves[i], float) for i in moved]
    if not moved or _refuses(case, rule_at, given):
        return
    names = [jax.tree_util.keystr(paths[i][0]) for i in moved]
    effect = jax.jit(jax.value_and_grad(_effect(case, rule_at), has_aux=True))
    (_, found), slopes = effect(given)
    require_close(found, _reached(case, case.eager), "with its numbers traced", CLOSE)
    for i, name in enumerate(names):
        require_finite(slopes[i], f"the derivative by the rule's {name}")
        _compare_slopes(effect, given, i, float(jnp.sum(slopes[i])), name)


def _type(leaf: Any) -> Any:
    return leaf.dtype if is_array(leaf) else type(leaf)


def _refuses(case: Case, rule_at: Callable[..., Rule], given: list[Any]) -> bool:
    """Whether a problem is refused for other numbers, or unknown ones."""

    def start(given: list[Any]) -> Any:
        key = jax.random.key(SEEDS[0])
        return case.init(key, case.params, case.step_of(rule_at(given)))

    try:
        jax.eval_shape(start, given)
    except ValueError:
        return True
    return False


def _effect(case: Case, rule_at: Callable[..., Rule]) -> Callable[..., Any]:
    """A sum, with unequal weights, of the gradients (or of the parameters, moved)."""

    def effect(given: list[Any]) -> Any:
        step = case.step_of(rule_at(given))
        state = case.init(jax.random.key(SEEDS[0]), case.params, step)
        found = _reached(case, case.tick(case.params, state, case.args, step))
        flat = jnp.concatenate([jnp.ravel(x) for x in found])
        return jnp.sum(jnp.sin(1.0 + jnp.arange(flat.size)) * flat).real, found

    return effect


def _reached(case: Case, tick: Tick) -> list[jax.Array]:
    moved = tick.params if case.rule.coupled else tick.credit.grads
    return case.circuit.leaves.pick(moved)[0]


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
