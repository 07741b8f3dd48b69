"""Sampling of stochastic nodes, and base classes of the rules that sample them.

    s_n = [u_n < p_n],     u_n uniform in [0, 1)

A node marked by `apical.bernoulli` fires, s = 1, with its probability p; otherwise s =
0. The state of a rule holds a key, from which the spikes of every call are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import (
    OUTPUT,
    Circuit,
    beside,
    is_concrete,
    key_of_device,
    stochastic_nodes,
)
from .._base import Credit, Rule, Signal
from .._field_checks import check_whole
from .._numerics import NodeArrays, fold_in_name


class Spiking(NamedTuple):
    """Diagnostics of the sampled networks.

    Attributes:
      loss: the mean loss over the samples; the credit's value is the loss at the rates.
    """

    loss: jax.Array


def fires(probability: jax.Array, uniform: jax.Array) -> jax.Array:
    """The spike; NaN where the probability is not between 0 and 1."""
    valid = (probability >= 0) & (probability <= 1)
    spike = (uniform < probability).astype(probability.dtype)
    return jax.lax.stop_gradient(jnp.where(valid, spike, jnp.nan))


def add_gradient(value: jax.Array, error: jax.Array | None) -> jax.Array:
    """The value, with the derivative of `value + error` but without adding `error`."""
    if error is None:
        return value
    return value + (error - jax.lax.stop_gradient(error)).astype(value.dtype)


def uniforms(key: jax.Array, shapes: NodeArrays, count: int) -> NodeArrays:
    """Uniform numbers for each node: `[count, ...]`."""
    keys = jax.random.split(key, len(shapes))
    found = {}
    for k, (name, x) in zip(keys, shapes.items(), strict=True):
        # In less than 32 bits, probabilities would be rounded.
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        drawn = jax.random.uniform(key_of_device(k, x), (count, *x.shape), dtype)
        found[name] = beside(drawn, x, axes=1)
    return found


def require_stochastic(circuit: Circuit, params: Any, args: Any, rule: str) -> None:
    """Require stochastic nodes whose marked values are probabilities."""
    names = stochastic_nodes(circuit)
    if not names:
        raise ValueError(
            f"{rule} draws spikes at stochastic nodes, and the loss function marks "
            "none: write `h = apical.bernoulli(jax.nn.sigmoid(z))`."
        )
    circuit.require_reversible()
    means = circuit.run(params, args, sites=names).sites
    if not is_concrete(means):
        return
    for name, p in means.items():
        low, high = float(np.min(p)), float(np.max(p))
        if not (low >= 0 and high <= 1):
            where = next(n.where for n in circuit.nodes if n.name == name)
            raise ValueError(
                f"What `apical.bernoulli` marks as {name!r} at {where} is not a "
                f"probability: it lies between {low:.4g} and {high:.4g}. Map it to "
                "between 0 and 1, as `jax.nn.sigmoid` does."
            )


class StochasticRule(Rule):
    """A rule that samples the stochastic nodes; by default `predict` uses the rates."""

    draws: int
    readout: int

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key, with the rule's name folded in."""
        name = type(self).__name__
        require_stochastic(circuit, params, args, name)
        return fold_in_name(key, f"apical.{name}")

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output at the rates, or the mean output over `readout` samples."""
        if self.readout == 0:
            return super().predict(circuit, params, state, args)
        names = stochastic_nodes(circuit)
        key = fold_in_name(state, "apical.readout")
        noise = uniforms(key, node_shapes(circuit, names), self.readout)

        def output(noise: NodeArrays) -> jax.Array:
            def tap(site: str, computed: Any, injected: Any) -> Any:
                return fires(computed, injected) if site in names else computed

            sites = (*names, OUTPUT)
            run = circuit.run(params, args, tap=tap, inject=noise, sites=sites)
            return run.sites[OUTPUT]

        return circuit.batch.split_outputs(jnp.mean(jax.vmap(output)(noise), axis=0))


def node_shapes(circuit: Circuit, names: Iterable[str]) -> Any:
    """The shape and dtype of each of these nodes."""
    return {n: x for n, x in circuit.zeros().items() if n in names}


def check_draws(draws: Any, readout: Any) -> None:
    """Require whole numbers of samples: `draws` above 0, `readout` at least 0."""
    check_whole(draws, "draws")
    if not isinstance(readout, int) or readout < 0:
        raise ValueError(
            "`readout` must be the number of samples that `predict` averages over (0: "
            f"it uses the rates), not {readout!r}."
        )


class PathwiseRule(StochasticRule):
    """A rule that backpropagates through samples, each with a defined derivative.

    It differentiates the mean loss over the samples. Subclasses define what consumers
    read of a node, and its derivative with respect to the probability.
    """

    def spike(self, probability: jax.Array, uniform: jax.Array) -> jax.Array:
        """What consumers read, with a derivative with respect to the probability."""
        raise NotImplementedError(f"{type(self).__name__} does not define `spike`.")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward and one backward pass for each sample, in one mapped call."""
        now, later = jax.random.split(state)
        run = circuit.run(params, args, sites=())
        learned, fixed = circuit.leaves.split(params)
        names = stochastic_nodes(circuit)
        noise = uniforms(now, node_shapes(circuit, names), self.draws)

        def loss(learned: Any, noise: Any) -> jax.Array:
            here = circuit.leaves.combine(learned, fixed)

            def tap(site: str, computed: Any, injected: Any) -> Any:
                del site
                return self.spike(computed, injected)

            return circuit.run(here, args, tap=tap, inject=noise, sites=()).loss

        def mean(learned: Any) -> jax.Array:
            return jnp.mean(jax.vmap(loss, in_axes=(None, 0))(learned, noise))

        spiking, grads = jax.value_and_grad(mean)(learned)
        grads = circuit.leaves.combine(grads)
        return Credit(run.loss, run.aux, grads, later, Spiking(spiking))

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Each node's value in the first sample, and the signal at its probability."""
        now, _ = jax.random.split(state)
        names = stochastic_nodes(circuit)
        noise = uniforms(now, node_shapes(circuit, names), self.draws)
        noise = {n: u[0] for n, u in noise.items()}
        given = {**circuit.zeros(), **noise}

        def loss(errors: Any) -> Any:
            def tap(site: str, computed: Any, injected: Any) -> Any:
                # One array serves both: its value determines the spike, its gradient is
                # the teaching signal.
                here = add_gradient(computed, injected)
                if site not in names:
                    return here
                return self.spike(here, jax.lax.stop_gradient(injected))

            run = circuit.run(params, args, tap=tap, inject=errors)
            return run.loss, run.sites

        teaching, means = jax.grad(loss, has_aux=True)(given)
        values = {
            n: self.spike(p, noise[n]) if n in names else p for n, p in means.items()
        }
        return {n: Signal(values[n], p, teaching[n]) for n, p in means.items()}
