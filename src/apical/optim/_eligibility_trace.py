"""Eligibility traces of gradients, which temporal-difference errors turn into updates.

    F_t = discount F_{t-1} + g_t,        update_t = td_error_t F_t

Summed over an episode with fixed parameters, the updates are the gradients g_t, each
times the discounted sum of all errors from its step on. Sutton & Barto 2018, section
13.5; reward-based e-prop has this form (Bellec et al. 2020).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ._argument_checks import check_number


class EligibilityTraceState(NamedTuple):
    """The trace F of each parameter."""

    trace: Any


def eligibility_trace(discount: float) -> optax.GradientTransformationExtraArgs:
    """Gradients that are remembered until a temporal-difference error comes.

        F_t = discount F_{t-1} + g_t,      update_t = td_error_t F_t

    For learning from rewards at each step: g_t is the gradient of what step t adds to
    an actor-critic loss without its advantage,

        l_t = -log pi(a_t) - c V_t,    td_error_t = r_t + discount V_{t+1} - V_t,

    by any rule; with `apical.rules.EProp` and `carry=` it is e-prop with reward. With
    the parameters of one moment, the updates of an episode add up to the gradient of

        sum over t [ (R_t - V_t) l_t ]     R_t - V_t held constant (`stop_gradient`),

    with R_t the discounted sum of the rewards from step t on. V_{t+1} is known one step
    later, so hand `update` the gradient and the error of the step before.

    An error multiplies the whole trace, so each agent needs a trace of its own: the
    gradients of several agents must not be averaged before. Use `jax.vmap` over the
    states of the agents (of the learner and of this transformation), then average the
    updates; the parameters may be shared. What comes after in a chain, such as
    `optax.adam`, sees the updates.

    Args:
      discount: how much of the trace is kept from step to step, in [0, 1]: gamma, or
        gamma lambda for TD(lambda).

    Returns:
      An `optax.GradientTransformationExtraArgs`, whose `update` takes two more
      arguments by keyword: `td_error`, a number, and `last`, whether the step is the
      last one of an episode (False by default): the trace after it is then zero.

    Raises:
      ValueError: for a discount outside [0, 1]; in `update`, without `td_error`, or if
        it or `last` is not one number.

    Example:
      >>> import jax.numpy as jnp, optax, apical
      >>> optimizer = apical.optim.eligibility_trace(0.5)
      >>> w = jnp.zeros(2)
      >>> state = optimizer.init(w)
      >>> for gradient, error in [([4.0, 0.0], 0.0), ([0.0, 1.0], 1.0)]:
      ...     updates, state = optimizer.update(
      ...         jnp.array(gradient), state, w, td_error=error
      ...     )
      >>> print(updates)
      [2. 1.]

    Source: Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, Nature
    Communications 11:3625; Sutton & Barto 2018, Reinforcement Learning.
    """
    check_number(discount, "discount", 0, math.inf)
    if isinstance(discount, (int, float)) and discount > 1:
        raise ValueError(f"`discount` must be at most 1, not {discount!r}.")

    def init(params: Any) -> EligibilityTraceState:
        return EligibilityTraceState(jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        td_error: Any = None,
        last: Any = False,
        **more: Any,
    ) -> Any:
        del params, more
        if td_error is None:
            raise ValueError(
                "`eligibility_trace` multiplies its trace by an error: call "
                "`optimizer.update(grads, state, params, td_error=error)`."
            )
        for name, value in (("td_error", td_error), ("last", last)):
            if jnp.ndim(value):
                raise ValueError(
                    f"`{name}` must be one number, not of shape {jnp.shape(value)}: "
                    "each agent has a trace of its own. Use `jax.vmap` over agents."
                )

        def moved(f: jax.Array, g: jax.Array) -> jax.Array:
            return (discount * f + g).astype(f.dtype)

        trace = jax.tree.map(moved, state.trace, updates)
        found = jax.tree.map(lambda f: (td_error * f).astype(f.dtype), trace)
        after = jax.tree.map(lambda f: jnp.where(last, jnp.zeros_like(f), f), trace)
        return found, EligibilityTraceState(after)

    return optax.GradientTransformationExtraArgs(init, update)
