"""Score function (REINFORCE): was firing, on this example, better than usual?

    d/dtheta E L = E[ (L - b) d log P(s)/dtheta + dL/dtheta ]

    d log P(s_n)/dp_n = (s_n - p_n) / (p_n (1 - p_n))

Williams 1992. The second term is what the parameters do past the last stochastic node.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, Run, stochastic_nodes
from .._base import Credit, Signal, rule, static
from .._checks import check_choice
from .._numerics import fold_in_name
from ..perturbation._activity_space import along, require_examples
from ._sampling import (
    Spiking,
    StochasticRule,
    Tree,
    added,
    check_draws,
    fires,
    uniforms,
)

_BASELINES = ("rates", "draws", "none")


class Drawn(NamedTuple):
    """Networks of spikes: gradients, teaching signals, values; draws in front.

    Of the losses the last column is that of the whole batch.
    """

    grads: Any
    teaching: Tree
    values: Tree
    means: Tree
    losses: jax.Array


@rule
class ScoreFunction(StochasticRule):
    """Correlate spikes with how much better than a baseline that example came out.

        delta_n = mean_k (L_i^k - b_i) (s_n^k - p_n^k) / (p_n^k (1 - p_n^k))

    for each example i and stochastic node n, whose probability it is the gradient of.
    Parameters from which the loss is reached without a spike between (a readout) take
    the true gradient of the loss, given the spikes.

    Unbiased for the gradient of the expected loss, whatever follows the spikes, also
    what has no derivative. Its variance grows with the number of stochastic nodes, and
    without a baseline with the square of the loss itself. (Two layers of 64 spikes
    learn digits slowly with one draw, and well with sixteen.) With the baseline "rates"
    it is a perturbation: what spikes did beyond their means, times the change of the
    loss against the undisturbed pass.

    The value of the credit is the loss at the rates, `info.loss` that of the spikes.

    State: a key.

    Args:
      draws: how many networks of spikes for each example, in one mapped call.
      baseline: b, of each example: `"rates"`, the loss where every stochastic node
        passes on its probability; `"draws"`, the mean loss of the other draws (two or
        more); or `"none"`. None of them adds a bias.
      readout: how many networks of spikes `predict` averages over; 0: it reads the
        rates, so that each node passes on its probability.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     spikes = apical.bernoulli(jax.nn.sigmoid(x @ w["a"]))
      ...     return jnp.mean(spikes @ w["b"])
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.ScoreFunction(draws=3000)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> credit = learner(w, learner.init(jax.random.key(0), w, x), x)
      >>> bool(jnp.allclose(credit.grads["a"], jax.grad(loss_fn)(w, x)["a"], atol=0.05))
      True

    Raises:
      ValueError: in `init`, where no node is marked by `apical.bernoulli`, where
        what is marked is no probability (seen where `init` is not under `jit`), and
        where activities of several examples meet (batch normalisation).

    Source: Williams 1992, Machine Learning 8 (REINFORCE for Bernoulli units).
    """

    draws: int = static(default=1)
    baseline: str = static(default="rates")
    readout: int = static(default=0)

    citation: ClassVar[str] = (
        "@article{williams1992simple, title={Simple Statistical Gradient-Following "
        "Algorithms for Connectionist Reinforcement Learning}, author={Williams, "
        "Ronald J.}, journal={Machine Learning}, volume={8}, year={1992}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "global reward",
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
    )
    derivative_free: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_draws(self.draws, self.readout)
        check_choice(self.baseline, "baseline", _BASELINES)
        if self.baseline == "draws" and self.draws < 2:
            raise ValueError(
                "`baseline='draws'` compares a draw with the others: pass `draws=` of "
                "at least 2, or `baseline='rates'`."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key of its own."""
        state = super().init(circuit, key, params, args)
        require_examples(circuit, params, args, "ScoreFunction")
        return state

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Every example's spikes, drawn anew, and what they did to its loss."""
        now, later = jax.random.split(state)
        run, at_rates, noise = self._prepared(circuit, params, now, args)
        drawn = self._drawn(circuit, params, args, at_rates, noise)
        spiking = jnp.mean(drawn.losses[:, -1]) / circuit.scale
        grads = circuit.leaves.combine(drawn.grads)
        return Credit(run.loss, run.aux, grads, later, Spiking(spiking))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The first draw's spikes and probabilities, and the signal at these."""
        now, _ = jax.random.split(state)
        _, at_rates, noise = self._prepared(circuit, params, now, args)
        drawn = self._drawn(circuit, params, args, at_rates, noise)
        return {
            n: Signal(value[0], drawn.means[n][0], jnp.sum(drawn.teaching[n], axis=0))
            for n, value in drawn.values.items()
        }

    def _prepared(
        self, circuit: Circuit, params: Any, key: jax.Array, args: Any
    ) -> tuple[Run, jax.Array, Tree]:
        """The losses at the rates, and what decides which nodes fire."""
        names = stochastic_nodes(circuit)
        run, losses = circuit.by_example(params, args, sites=names)
        return run, losses, uniforms(fold_in_name(key, "spikes"), run.sites, self.draws)

    def _drawn(
        self, circuit: Circuit, params: Any, args: Any, at_rates: Any, noise: Tree
    ) -> Drawn:
        names = stochastic_nodes(circuit)
        learned, fixed = circuit.leaves.split(params)
        count = next(iter(noise.values())).shape[0]
        every = [n.name for n in circuit.nodes]

        def tap(site: str, computed: Any, injected: Any) -> Any:
            if site in names:
                return fires(computed, injected)
            return added(computed, injected)

        def network(learned: Any, given: Tree) -> Any:
            here = circuit.leaves.combine(learned, fixed)

            def once(given: Tree) -> Any:
                run, losses = circuit.by_example(
                    here, args, tap=tap, inject=given, sites=every
                )
                return (run.loss, run.sites), losses

            return jax.vmap(once)(given)

        still = {n: x for n, x in circuit.zeros().items() if n not in names}
        given = {n: jnp.stack([x] * count) for n, x in still.items()}
        (whole, means), transposed, losses = jax.vjp(
            network, learned, {**given, **noise}, has_aux=True
        )
        values = {n: fires(p, noise[n]) if n in names else p for n, p in means.items()}
        share = (losses - self._usual(at_rates, losses)) / (count * circuit.scale)
        scores = jax.tree.map(jnp.zeros_like, means)
        for n in names:
            own = along(circuit, n, share, means[n])
            scores[n] = own * score(means[n], values[n])
        grads, errors = transposed((jnp.full_like(whole, 1 / count), scores))
        teaching = {n: scores[n] if n in names else errors[n] for n in means}
        return Drawn(grads, teaching, values, means, losses)

    def _usual(self, at_rates: jax.Array, losses: jax.Array) -> jax.Array:
        if self.baseline == "none":
            return jnp.zeros_like(losses)
        if self.baseline == "rates":
            return jnp.broadcast_to(at_rates, losses.shape)
        return (jnp.sum(losses, axis=0) - losses) / (losses.shape[0] - 1)


def score(probability: jax.Array, spike: jax.Array) -> jax.Array:
    """The derivative of the log probability of what happened; 0 where it was sure."""
    room = probability * (1 - probability)
    return jnp.where(room > 0, (spike - probability) / jnp.where(room > 0, room, 1), 0)
