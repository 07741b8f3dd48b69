"""The callables that are timed: backprop, a learner, a whole step, many seeds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import apical

from ._by_hand import free_predictions
from ._harness import Call, Prepared, prepare
from ._models import Model


def backprop(model: Model) -> Prepared:
    """`jax.value_and_grad`, the reference of all ratios."""
    return prepare(jax.value_and_grad(model.loss), model.params, *model.args)


def learner(
    model: Model, rule: Any, batch_axes: tuple[int, ...] | None = None
) -> Prepared:
    """One call of a learner, with all of the credit that it returns."""
    learn, state = _initialised(model, rule, batch_axes)
    return prepare(learn, model.params, state, *model.args)


def backprop_step(model: Model) -> Prepared:
    """A step of gradient descent on the true gradient."""
    optimizer = optax.sgd(1e-3)

    def step(params: Any, state: Any, *args: Any) -> Any:
        value, grads = jax.value_and_grad(model.loss)(params, *args)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    return prepare(step, model.params, optimizer.init(model.params), *model.args)


def rule_step(model: Model, rule: Any) -> Prepared:
    """A step of gradient descent with a rule; the gradients are not returned."""
    train = apical.train_step(model.loss, rule, optax.sgd(1e-3))

    def step(params: Any, state: Any, *args: Any) -> Any:
        params, state, credit = train(params, state, *args)
        return params, state, credit.value

    state = train.init(jax.random.key(0), model.params, *model.args)
    return prepare(step, model.params, state, *model.args)


def loops_by_hand(steps: int, model: Model) -> dict[str, Prepared]:
    """The hand-written loops, for models that have one."""
    if model.name not in ("mlp", "deep"):
        return {}
    loops = {"by hand, scan": 1, "by hand, scan unrolled by 5": 5}
    return {
        what: prepare(free_predictions(steps, 0.1, unroll), model.params, *model.args)
        for what, unroll in loops.items()
    }


def fresh_backprop(model: Model) -> Call:
    """Backprop through new functions, which JAX has not cached."""
    call = jax.jit(jax.value_and_grad(_renewed(model.loss)))
    return lambda: call(model.params, *model.args)


def fresh_learner(model: Model, rule: Any) -> Call:
    """A new, initialised learner that has not been called."""
    anew = Model(model.name, _renewed(model.loss), model.params, model.args)
    learn, state = _initialised(anew, rule)
    call = jax.jit(learn)
    return lambda: call(model.params, state, *model.args)


def seeds_of_backprop(model: Model, count: int) -> Prepared:
    """Backprop at several parameters and batches at once."""
    gradient = jax.vmap(jax.value_and_grad(model.loss))
    return prepare(gradient, *_stack([(model.params, *model.args)] * count))


def one_and_many(model: Model, rule: Any, count: int) -> tuple[Prepared, Prepared]:
    """A learner, and the same at several parameters, states and batches at once."""
    learn, state = _initialised(model, rule)
    one = prepare(learn, model.params, state, *model.args)
    return one, prepare(jax.vmap(learn), *_stack([one.args] * count))


def _initialised(
    model: Model, rule: Any, batch_axes: tuple[int, ...] | None = None
) -> tuple[Callable[..., Any], Any]:
    axes = {} if batch_axes is None else {"batch_axes": batch_axes}
    learn = apical.value_and_grad(model.loss, rule, **axes)
    return learn, learn.init(jax.random.key(0), model.params, *model.args)


def _renewed(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: fun(*args)


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
