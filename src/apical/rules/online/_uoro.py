"""UORO: unbiased online recurrent optimisation.

    dL/dW = sum over t [ direct_t + (lambda_t . s_{t-1}) w_{t-1} ]
    s_t = rho0 J_t s_{t-1} + rho1 nu,      w_t = w_{t-1} / rho0 + nu^T F_t / rho1

The influence matrix of real-time recurrent learning is replaced by s w^T, whose mean
over the random signs nu it is. J_t and F_t are the derivatives of a step with respect
to the states and the weights. Tallec & Ollivier 2018, equations 8 to 10.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax

from ...circuit import Circuit, RankOne
from .._base import Credit, Rule, SearchSpace, rule
from .._numerics import fold_in_name
from ..feedback._feedback_weights import through_feedback
from ._online_rule import require_continuing


class RandomInfluenceState(NamedTuple):
    """The state of UORO.

    Attributes:
      key: the random key of the next call.
      estimates: for each loop, the two vectors whose product estimates the influence of
        the weights on the carry; empty without `carry=`.
    """

    key: jax.Array
    estimates: tuple[RankOne, ...]


@rule
class UORO(Rule):
    """An unbiased estimate of the gradient, with memory for two vectors.

        s_t = rho0 J_t s_{t-1} + rho1 nu,      w_t = w_{t-1} / rho0 + nu^T F_t / rho1

    It works on any `lax.scan`, whatever its units share; the mean over calls with
    different keys is the gradient of backpropagation through time. Its variance is
    large: one estimate has a relative standard deviation of about the square root of
    the number of states (times examples), so learning rates are small. Time is about
    four times that of backpropagation, memory that of the states and weights.

    With `carry=`, calls are windows of one sequence: the estimate continues in the
    state, and `learner.reset` begins another sequence.

    State: `RandomInfluenceState(key, estimates)`.

    Raises:
      ValueError: in `init`, if there is no loop; with `carry=`, if a part of it starts
        no loop.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     step = lambda h, x: 2 * (jnp.tanh(h @ w + x),)
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((1, 2)), x)[1] ** 2)
      >>> w, x = jnp.eye(2) / 2, jnp.ones((3, 1, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.UORO(), batch_axes=1)
      >>> def draw(key):
      ...     return learner(w, learner.init(key, w, x), x).grads
      >>> draws = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 2000))
      >>> exact = jax.grad(loss_fn)(w, x)
      >>> error = jnp.abs(draws.mean(0) - exact) / (draws.std(0) / 2000**0.5)
      >>> bool(jnp.all(error < 4))  # standard errors of the mean
      True

    Source: Tallec & Ollivier 2018, ICLR.
    """

    citation: ClassVar[str] = (
        "@inproceedings{tallec2018unbiased, title={Unbiased Online Recurrent "
        "Optimization}, author={Tallec, Corentin and Ollivier, Yann}, "
        "booktitle={ICLR}, year={2018}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "global error",
        "global reward",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
    )
    search_space: ClassVar[SearchSpace] = {}
    through_time: ClassVar[bool] = True

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Require a loop; no influence at first."""
        loops = circuit.loops.of_states()
        if not loops:
            raise ValueError(
                "UORO estimates derivatives of loops, and the loss function has no "
                "`lax.scan` whose carry depends on the parameters. For one step of a "
                "sequence at a time, return the state in `aux` and pass `carry=`."
            )
        estimates: tuple[RankOne, ...] = ()
        if circuit.spec.carry is not None:
            require_continuing(circuit, params, args, None, "UORO")
            estimates = tuple(loop.plain.zeros() for loop in loops)
        return RandomInfluenceState(fold_in_name(key, "apical.UORO"), estimates)

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """No influence: another sequence begins."""
        del params, args
        if not state.estimates:
            return state
        loops = circuit.loops.of_states()  # the batch may have another size
        return state._replace(estimates=tuple(loop.plain.zeros() for loop in loops))

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One estimate of the gradient."""
        after, key = jax.random.split(state.key)
        estimates = state.estimates or None
        view = circuit.with_loops(circuit.loops.rank_one(key, estimates))
        found = through_feedback(view, params, args, ())
        aux, kept = found.aux, state.estimates
        if estimates is not None:
            aux, kept = found.aux[0], tuple(found.aux[1])
        return found._replace(aux=aux, state=RandomInfluenceState(after, kept))
