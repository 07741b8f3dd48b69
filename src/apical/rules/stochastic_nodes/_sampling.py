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

from ...circuit import OUTPUT, Circuit, beside, is_concrete, stochastic_nodes
from .._base import Credit, Rule, Signal
from .._checks import check_whole
from .._numerics import fold_in_name

Tree = dict[str, jax.Array]


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
        return fold_in_name(key, f"apical.{name}")

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output at the rates, or the mean output of `readout` spiking networks."""
        if self.readout == 0:
            return super().predict(circuit, params, state, args)
        names = stochastic_nodes(circuit)
        key = fold_in_name(state, "apical.readout")
        noise = uniforms(key, node_shapes(circuit, names), self.readout)

        def output(noise: Tree) -> jax.Array:
            def tap(site: str, computed: Any, injected: Any) -> Any:
                return fires(computed, injected) if site in names else computed

            sites = (*names, OUTPUT)
            run = circuit.run(params, args, tap=tap, inject=noise, sites=sites)
            return run.sites[OUTPUT]

        return circuit.batch.split_outputs(jnp.mean(jax.vmap(output)(noise), axis=0))


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


# ---- Estimators that pass the derivative through the spike, as if it had one.
#
# Each draws its networks, differentiates the mean of their losses, and differs from the
# others in what consumers read of a node and in what derivative that has.


class PathwiseRule(StochasticRule):
    """A rule that gives the spike a derivative."""

    def spike(self, probability: jax.Array, uniform: jax.Array) -> jax.Array:
        """What consumers read, with a derivative by the probability."""
        raise NotImplementedError(f"{type(self).__name__} does not define `spike`.")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One forward and one backward pass for each draw, side by side."""
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
        """What each node reads in the first draw, and the signal at its probability."""
        now, _ = jax.random.split(state)
        names = stochastic_nodes(circuit)
        noise = uniforms(now, node_shapes(circuit, names), self.draws)
        noise = {n: u[0] for n, u in noise.items()}
        given = {**circuit.zeros(), **noise}

        def loss(errors: Any) -> Any:
            def tap(site: str, computed: Any, injected: Any) -> Any:
                # One array holds both: its value draws the spike, its gradient is the
                # teaching signal.
                here = added(computed, injected)
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
