"""Windowed synthetic gradients: a critic at the end of each window of a long sequence.

    dW = d/dW [ L_k + <M(c_k), c_k> ]         c_k the carry at the end of window k
    M learns from                             |M(c_{k-1}) - g_k|^2 / 2,
    g_k = d/dc_{k-1} [ L_k + <M(c_k), c_k> ]

M(c) predicts the gradient of the loss of all later windows. Jaderberg et al. 2017.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit, at_path, carry_of, inner
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._field_checks import check_positive, check_transformation
from .._inner_optimizers import adam, apply_optimizer, init_optimizer
from .._numerics import fold_in_name, squared_norm
from ._critic import Critic, as_critic, weights_for
from ._synthetic_gradients import CriticState

_NAME = "WindowedSyntheticGradients"


class CutCriticism(NamedTuple):
    """Diagnostics of the critic between windows.

    Attributes:
      loss: half the squared distance of the prediction to its target, averaged over the
        examples, in units of one example's gradient.
    """

    loss: jax.Array


@rule
class WindowedSyntheticGradients(Rule):
    """Backpropagate through each window of a sequence, plus a critic's prediction.

        dW = d/dW [ L + <M(c_out), c_out> ],     M(c_in) learns from the gradient there

    Within a window this is backpropagation through time; M predicts the gradient of the
    rest of the sequence at the end of the window. Truncated backpropagation (without M)
    ignores the effects of the parameters after the window.

    Windows are consecutive: argument `carry[0]` of a call is the value that the
    previous call returned in `aux` at `carry[1]`. M reads only the carry, so it
    predicts the mean over everything that the carry does not determine (such as later
    inputs). M is not told where a sequence ends: start the next one from a recognisable
    carry (zeros), or use long sequences.

    State: `CriticState`.

    Args:
      critic_rate: the learning rate of the critic (Adam).
      critic: `Critic()` (linear, initially zero), or a pair `(init, apply)`, as in
        `SyntheticGradients`; it reads the concatenated arrays of the carry.
      optimizer: an optax transformation in place of Adam; `critic_rate` is then unused.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, h, x):
      ...     h, _ = jax.lax.scan(lambda h, x: (jnp.tanh(h @ w + x), None), h, x)
      ...     return jnp.mean(h**2), {"h": h}
      >>> w, h, x = jnp.eye(2), jnp.zeros((3, 2)), jnp.ones((4, 3, 2))
      >>> learner = apical.value_and_grad(
      ...     loss_fn, apical.rules.WindowedSyntheticGradients(), has_aux=True,
      ...     batch_axes=(0, 1), carry=(0, "h"))
      >>> state = learner.init(jax.random.key(0), w, h, x)
      >>> for _ in range(3):
      ...     credit = learner(w, state, h, x)
      ...     h, state = credit.aux["h"], credit.state

    Raises:
      ValueError: in `init`, without `carry=` and `has_aux`, or if the carry at the end
        of a window differs in structure or shapes from the one at its start.

    Source: Jaderberg et al. 2017, ICML, section 2.2 and figure 4.
    """

    critic_rate: float = 1e-3
    critic: Any = static(default=Critic())
    optimizer: optax.GradientTransformation | None = static(default=None)

    citation: ClassVar[str] = (
        "@inproceedings{jaderberg2017decoupled, title={Decoupled Neural Interfaces "
        "using Synthetic Gradients}, author={Jaderberg, Max and Czarnecki, Wojciech "
        "Marian and Osindero, Simon and Vinyals, Oriol and Graves, Alex and Silver, "
        "David and Kavukcuoglu, Koray}, booktitle={ICML}, year={2017}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
        "signed error units",
        "second network",
        "backward through time",
    )
    search_space: ClassVar[SearchSpace] = {"critic_rate": (1e-4, 1e-1, "log")}

    def __post_init__(self) -> None:
        check_positive(self.critic_rate, "critic_rate", or_zero=True)
        as_critic(self.critic)
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Initialise the critic."""
        position, path = carry_of(circuit.spec, args, _NAME)
        ended = jax.eval_shape(lambda: circuit.run(params, args, sites=()).aux)
        _require_same(args[position], at_path(ended, path), position, path)
        inputs = jax.eval_shape(_side_by_side, args[position])
        own = fold_in_name(key, "apical.WindowedSyntheticGradients")
        weights = weights_for(
            as_critic(self.critic), own, inputs, inputs.shape[-1], "the carry"
        )
        _ = circuit.scale
        return CriticState(weights, init_optimizer(self._optimizer, weights))

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return adam(self.critic_rate) if self.optimizer is None else self.optimizer

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Backpropagate from the window's end; then train the critic at its start."""
        learned, fixed = circuit.leaves.split(params)
        position, _ = carry_of(circuit.spec, args, _NAME)

        def total(learned: Any, carry: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            given = (*args[:position], carry, *args[position + 1 :])
            run = circuit.run(here, given, sites=())
            return self._total(circuit, state, given, run), (run.loss, run.aux)

        (grads, slope), (value, aux) = jax.grad(total, (0, 1), has_aux=True)(
            learned, args[position]
        )
        target = circuit.scale * _side_by_side(slope)
        predicted, back = jax.vjp(
            lambda w: self._predict(w, _side_by_side(args[position])), state.weights
        )
        off, share = predicted - target, 1 / circuit.batch_size
        moved = apply_optimizer(
            self._optimizer, back(share * off)[0], state.optimizer, state.weights
        )
        info = CutCriticism(share * squared_norm(off) / 2)
        grads = circuit.leaves.combine(grads)
        return Credit(value, aux, grads, CriticState(*moved), info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The gradient at each node, including the critic's prediction at the end."""

        def total(errors: Any) -> Any:
            run = circuit.run(params, args, tap="offset", inject=errors)
            return self._total(circuit, state, args, run), run.sites

        slopes, values = jax.grad(total, has_aux=True)(circuit.zeros())
        return {n: Signal(v, v, slopes[n]) for n, v in values.items()}

    def _total(self, circuit: Circuit, state: Any, args: Any, run: Any) -> jax.Array:
        """The loss of the window, plus the critic's prediction for the rest."""
        _, path = carry_of(circuit.spec, args, _NAME)
        ended = _side_by_side(at_path(run.aux, path))
        predicted = jax.lax.stop_gradient(self._predict(state.weights, ended))
        rest = inner(predicted, ended) / circuit.scale
        return run.loss + rest.astype(run.loss.dtype)

    def _predict(self, weights: Any, carry: jax.Array) -> jax.Array:
        return as_critic(self.critic).apply(weights, carry).astype(carry.dtype)


def _require_same(init_optimizer: Any, ended: Any, position: int, path: Any) -> None:
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (init_optimizer, ended)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"A window starts from {shapes[0]} (argument {position} after `params`) "
            f"and ends with {shapes[1]} (in `aux` at {path}): the next one could not "
            "start from that. Let both have one structure and shape."
        )
    leaves = jax.tree.leaves(init_optimizer)
    fine = all(jnp.issubdtype(jnp.result_type(x), jnp.floating) for x in leaves)
    if not leaves or not fine or len({jnp.shape(x)[:-1] for x in leaves}) > 1:
        raise ValueError(
            f"The carry (argument {position} after `params`) has shapes {shapes[0]}: a "
            "critic reads arrays of floating-point numbers that differ in their last "
            "axis alone."
        )


def _side_by_side(carry: Any) -> jax.Array:
    """All arrays of a carry, joined along their last axis."""
    return jnp.concatenate(jax.tree.leaves(carry), axis=-1)
