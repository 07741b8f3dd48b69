"""What the rules for stochastic nodes have in common.

A node that `apical.bernoulli` marks fires, s = 1, with its probability p, else s = 0:

    s_n = [u_n < p_n],     u_n uniform in [0, 1)

The rule's state holds the key; its tap draws the spikes in every forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import Circuit, beside, is_concrete, stochastic_nodes
from .._rule import Rule, check_whole, salted

Tree = dict[str, jax.Array]
OUTPUT = "output"


class Spiking(NamedTuple):
    """Diagnostics of networks of spikes.

    Attributes:
      loss: the mean loss over the draws; the credit's value is the loss at the rates.
    """

    loss: jax.Array


def fires(probability: jax.Array, uniform: jax.Array) -> jax.Array:
    """The spike; not a number where the probability is none."""
    sound = (probability >= 0) & (probability <= 1)
    spike = (uniform < probability).astype(probability.dtype)
    return jax.lax.stop_gradient(jnp.where(sound, spike, jnp.nan))


def added(value: jax.Array, error: jax.Array | None) -> jax.Array:
    """The value, with the gradient of an error that is added to it."""
    if error is None:
        return value
    return value + (error - jax.lax.stop_gradient(error)).astype(value.dtype)


def uniforms(key: jax.Array, shapes: Tree, count: int) -> Tree:
    """What decides which nodes fire: `count` draws for each, in front."""
    keys = jax.random.split(key, len(shapes))
    found = {}
    for k, (name, x) in zip(keys, shapes.items(), strict=True):
        # With fewer bits than 32 a probability would be rounded to them.
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        drawn = jax.random.uniform(k, (count, *x.shape), dtype)
        found[name] = beside(drawn, x, axes=1)
    return found


def require_stochastic(circuit: Circuit, params: Any, args: Any, rule: str) -> None:
    """Refuse where no node is stochastic, or where a probability is none."""
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
                f"What `apical.bernoulli` marks as {name!r} at {where} is no "
                f"probability: it lies between {low:.4g} and {high:.4g}. Put it "
                "between 0 and 1, as `jax.nn.sigmoid` does."
            )


class StochasticRule(Rule):
    """A rule that draws the spikes of stochastic nodes, and reads them out as rates."""

    draws: int
    readout: int

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A key of its own."""
        name = type(self).__name__
        require_stochastic(circuit, params, args, name)
        return salted(key, f"apical.{name}")

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output at the rates, or the mean output of `readout` spiking networks."""
        if self.readout == 0:
            return super().predict(circuit, params, state, args)
        names = stochastic_nodes(circuit)
        key = salted(state, "apical.readout")
        noise = uniforms(key, node_shapes(circuit, names), self.readout)

        def output(noise: Tree) -> jax.Array:
            def tap(site: str, computed: Any, injected: Any) -> Any:
                return fires(computed, injected) if site in names else computed

            sites = (*names, OUTPUT)
            run = circuit.run(params, args, tap=tap, inject=noise, sites=sites)
            return run.sites[OUTPUT]

        return circuit.apart(jnp.mean(jax.vmap(output)(noise), axis=0))


def node_shapes(circuit: Circuit, names: Iterable[str]) -> Any:
    """An array like each of these nodes."""
    return {n: x for n, x in circuit.zeros().items() if n in names}


def check_draws(draws: Any, readout: Any) -> None:
    """Refuse what is no number of draws."""
    check_whole(draws, "draws")
    if not isinstance(readout, int) or readout < 0:
        raise ValueError(
            "`readout` is how many spiking networks `predict` averages over, 0 for the "
            f"rates, not {readout!r}."
        )
