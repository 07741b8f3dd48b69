"""How close an update is to backpropagation's, leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from ..rules import Rule
from ..rules._learner import Keywords, TrainState, make_learner
from ..rules._signature import Exact


class Agreement(NamedTuple):
    """How two vectors agree.

    Attributes:
      cosine: of the angle between them; 0 where one of them is zero.
      norm_ratio: the norm of the rule's over the norm of backpropagation's; not a
        number where both are zero.
      sign_agreement: the fraction of entries with the same sign.
    """

    cosine: jax.Array
    norm_ratio: jax.Array
    sign_agreement: jax.Array


class Alignment(NamedTuple):
    """Agreement of all parameters as one vector, and of each leaf by its path."""

    overall: Agreement
    leaves: dict[str, Agreement]


def alignment(
    loss_fn: Callable[..., Any],
    rule: Rule,
    **keywords: Unpack[Keywords],
) -> Callable[..., Alignment]:
    """Compare a rule's gradients with backpropagation's, in one compiled call.

        cosine = <g, b> / (|g| |b|),   norm ratio = |g| / |b|

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)`.
      rule: one of `apical.rules`.
      **keywords: `has_aux`, `reduction`, `batch`, `nodes`, `target`, as in
        `apical.value_and_grad`.

    Returns:
      A compiled function of `(params, state, *args)`, with the state of `learner.init`
      or `step.init`, that returns an `Alignment`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.PredictiveCoding(steps=4)
      >>> found = apical.measure.alignment(loss_fn, rule)(w, (), x)
      >>> round(float(found.overall.cosine), 4), sorted(found.leaves)
      (1.0, ['a', 'b'])
    """
    learner = make_learner(loss_fn, rule, **keywords)

    def compare(params: Any, state: Any, *args: Any) -> Alignment:
        state = state.rule if isinstance(state, TrainState) else state
        circuit = learner.circuit(params, args)
        grads = learner(params, state, *args).grads
        truth = rule.reference(circuit, params, state, args)
        ours, theirs = circuit.leaves.pick(grads)[0], circuit.leaves.pick(truth)[0]
        leaves = {
            path: _agreement([g], [b])
            for path, g, b in zip(circuit.leaves.names, ours, theirs, strict=True)
        }
        return Alignment(_agreement(ours, theirs), leaves)

    return _jit_arrays(compare)


def _jit_arrays(compare: Callable[..., Alignment]) -> Callable[..., Alignment]:
    """Compile a function whose arguments may hold leaves that are not arrays."""
    compiled = jax.jit(
        lambda rest, arrays: compare(*_together(*rest.value, arrays=arrays)),
        static_argnums=0,
    )

    def call(*args: Any) -> Alignment:
        flat, treedef = jax.tree.flatten(args)
        dynamic = [isinstance(x, jax.Array) or hasattr(x, "__array__") for x in flat]
        static = tuple(None if d else x for d, x in zip(dynamic, flat, strict=True))
        arrays = [x if d else None for d, x in zip(dynamic, flat, strict=True)]
        return compiled(Exact((treedef, static)), arrays)

    return call


def _together(treedef: Any, static: Any, arrays: Any) -> Any:
    pairs = zip(static, arrays, strict=True)
    return jax.tree.unflatten(treedef, [s if a is None else a for s, a in pairs])


def _agreement(ours: list[jax.Array], theirs: list[jax.Array]) -> Agreement:
    pairs = list(zip(ours, theirs, strict=True))
    product = sum(jnp.vdot(g, b).real for g, b in pairs)
    norms = [jnp.sqrt(sum(jnp.vdot(x, x).real for x in xs)) for xs in (ours, theirs)]
    both = norms[0] * norms[1]
    same = sum(jnp.sum(jnp.sign(g) == jnp.sign(b)) for g, b in pairs)
    entries = sum(g.size for g in ours)
    return Agreement(
        cosine=jnp.where(both == 0, 0.0, product / jnp.where(both == 0, 1, both)),
        norm_ratio=norms[0] / norms[1],
        sign_agreement=jnp.asarray(same / entries),
    )
