"""Score function (REINFORCE): correlation of spikes with each example's loss.

    d/dtheta E L = E[ (L - b) d log P(s)/dtheta + dL/dtheta ]

    d log P(s_n)/dp_n = (s_n - p_n) / (p_n (1 - p_n))

The second term is the gradient of parameters after the last stochastic node. Williams
1992.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, Run, mean_over_devices, stochastic_nodes
from .._base import Credit, Signal, rule, static
from .._field_checks import check_choice
from .._numerics import NodeArrays, fold_in_name
from ..perturbation._activity_estimates import broadcast_to_examples, require_examples
from ._sampling import (
    Spiking,
    StochasticRule,
    add_gradient,
    check_draws,
    fires,
    uniforms,
)

_BASELINES = ("rates", "draws", "none")


class Drawn(NamedTuple):
    """Sampled networks: gradients, teaching signals, values; samples along axis 0.

    The last column of the losses is the loss of the whole batch.
    """

    grads: Any
    teaching: NodeArrays
    values: NodeArrays
    means: NodeArrays
    losses: jax.Array


@rule
class ScoreFunction(StochasticRule):
    """Correlate spikes with the loss of each example, relative to a baseline.

        delta_n = mean_k (L_i^k - b_i) (s_n^k - p_n^k) / (p_n^k (1 - p_n^k))

    for each example i and stochastic node n: the gradient with respect to its
    probability. Parameters between the last spikes and the loss (a readout) take the
    true gradient of the loss, given the spikes.

    Unbiased for the gradient of the expected loss, for any function after the spikes,
    with or without a derivative. Its variance grows with the number of stochastic
    nodes, and without a baseline with the square of the loss. (Two layers of 64 spikes
    learn digits slowly with one sample, and well with sixteen.) With the baseline
    "rates" it is a perturbation rule: the deviation of spikes from their means, times
    the change of the loss relative to the unperturbed pass.

    The value of the credit is the loss at the rates, `info.loss` that of the spikes.

    State: a key.

    Args:
      draws: the number of samples for each example, in one mapped call.
      baseline: b, per example: `"rates"`, the loss with every stochastic node at its
        probability; `"draws"`, the mean loss of the other samples (requires two or
        more); or `"none"`. No choice adds a bias.
      readout: the number of samples over which `predict` averages; 0: `predict` uses
        the rates (each node has the value of its probability).

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
      ValueError: in `init`, if no node is marked by `apical.bernoulli`, if a marked
        value is not a probability (checked if `init` is not under `jit`), and if
        examples depend on each other (batch normalisation).

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
                "`baseline='draws'` compares a sample with the others: pass `draws=` "
                "of at least 2, or `baseline='rates'`."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key, with the rule's name folded in."""
        state = super().init(circuit, key, params, args)
        require_examples(circuit, params, args, "ScoreFunction")
        return state

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """New spikes for each example, times the change of its loss."""
        now, later = jax.random.split(state)
        run, at_rates, noise = self._prepared(circuit, params, now, args)
        drawn = self._drawn(circuit, params, args, at_rates, noise)
        spiking = mean_over_devices(jnp.mean(drawn.losses[:, -1])) / circuit.scale
        grads = circuit.leaves.combine(drawn.grads)
        return Credit(run.loss, run.aux, grads, later, Spiking(spiking))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The first sample's spikes and probabilities, and the teaching signals."""
        now, _ = jax.random.split(state)
        _, at_rates, noise = self._prepared(circuit, params, now, args)
        drawn = self._drawn(circuit, params, args, at_rates, noise)
        return {
            n: Signal(value[0], drawn.means[n][0], jnp.sum(drawn.teaching[n], axis=0))
            for n, value in drawn.values.items()
        }

    def _prepared(
        self, circuit: Circuit, params: Any, key: jax.Array, args: Any
    ) -> tuple[Run, jax.Array, NodeArrays]:
        """The losses at the rates, and the uniform numbers of the samples."""
        names = stochastic_nodes(circuit)
        run, losses = circuit.by_example(params, args, sites=names)
        return run, losses, uniforms(fold_in_name(key, "spikes"), run.sites, self.draws)

    def _drawn(
        self, circuit: Circuit, params: Any, args: Any, at_rates: Any, noise: NodeArrays
    ) -> Drawn:
        names = stochastic_nodes(circuit)
        learned, fixed = circuit.leaves.split(params)
        count = next(iter(noise.values())).shape[0]
        every = [n.name for n in circuit.nodes]

        def tap(site: str, computed: Any, injected: Any) -> Any:
            if site in names:
                return fires(computed, injected)
            return add_gradient(computed, injected)

        def network(learned: Any, given: NodeArrays) -> Any:
            here = circuit.leaves.combine(learned, fixed)

            def once(given: NodeArrays) -> Any:
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
        share = (losses - self._baseline(at_rates, losses)) / (count * circuit.scale)
        scores = jax.tree.map(jnp.zeros_like, means)
        for n in names:
            own = broadcast_to_examples(circuit, n, share, means[n])
            scores[n] = own * score(means[n], values[n])
        grads, errors = transposed((jnp.full_like(whole, 1 / count), scores))
        teaching = {n: scores[n] if n in names else errors[n] for n in means}
        return Drawn(grads, teaching, values, means, losses)

    def _baseline(self, at_rates: jax.Array, losses: jax.Array) -> jax.Array:
        if self.baseline == "none":
            return jnp.zeros_like(losses)
        if self.baseline == "rates":
            return jnp.broadcast_to(at_rates, losses.shape)
        return (jnp.sum(losses, axis=0) - losses) / (losses.shape[0] - 1)


def score(probability: jax.Array, spike: jax.Array) -> jax.Array:
    """The score d log P(s)/dp; 0 where the outcome is certain."""
    variance = probability * (1 - probability)
    divisor = jnp.where(variance > 0, variance, 1)
    return jnp.where(variance > 0, (spike - probability) / divisor, 0)
