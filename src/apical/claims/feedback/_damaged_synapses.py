"""Synapses and feedback paths with delay, noise and wrong signs.

    g'_t = s g_t + sigma rms(g_t) xi_t         what a synapse would do now
    update from g'_(t - d)                     it does d batches later
    feedback weight: s B (1 + sigma xi)        on the way back

with s = -1 at one synapse in ten and 1 at the others, drawn once, and xi normal noise,
drawn anew at every batch, for each synapse alone.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from apical import rules
from apical.circuit import Circuit
from apical.rules import rule
from apical.rules._base import SearchSpace
from apical.rules.feedback._backward_path import BackwardPathRule
from apical.rules.feedback._connection_masks import Connections, FeedbackState
from apical.rules.feedback._feedback_weights import replaceable_weights

WRONG = 0.1  # of the synapses
NOISE = 1.0  # of the size of an update, and of a feedback weight
DELAY = 10  # batches


# ---- Updates that are late, noisy and partly of the wrong sign


class DamagedState(NamedTuple):
    """A key for the noise, the signs, and the updates that have not arrived yet."""

    key: jax.Array
    signs: Any
    late: Any  # each leaf `[delay, ...]`, the oldest first


def damaged_synapses(
    delay: int = DELAY, noise: float = NOISE, wrong: float = WRONG
) -> optax.GradientTransformation:
    """Gradients as damaged synapses use them; the first `delay` updates are 0.

    The damage is drawn from the initial weights: it differs between seeds, and is the
    same for every rule.

    Args:
        delay: batches until an update arrives.
        noise: the standard deviation of the noise, in root mean squares of the leaf.
        wrong: the fraction of synapses that change in the wrong direction.
    """

    def init(params: Any) -> DamagedState:
        drawn, later = jax.random.split(_key_of(params))
        late = jax.tree.map(lambda w: jnp.zeros((delay, *w.shape), w.dtype), params)
        return DamagedState(later, signs_like(params, drawn, wrong), late)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        now, later = jax.random.split(state.key)
        xi = _numbers_like(updates, now, jax.random.normal)

        def noisy(g: jax.Array, sign: jax.Array, xi: jax.Array) -> jax.Array:
            size = noise * jnp.sqrt(jnp.mean(g**2))
            return (sign * g + size * xi).astype(g.dtype)

        wanted = jax.tree.map(noisy, updates, state.signs, xi)
        queue = jax.tree.map(
            lambda old, new: jnp.concatenate([old, new[None]]), state.late, wanted
        )
        arrived = jax.tree.map(lambda each: each[0], queue)
        late = jax.tree.map(lambda each: each[1:], queue)
        return arrived, DamagedState(later, state.signs, late)

    return optax.GradientTransformation(init, update)


def signs_like(tree: Any, key: jax.Array, wrong: float) -> Any:
    """-1 for this fraction of the entries of a tree, drawn at random, and 1 elsewhere.

    Args:
        tree: of arrays; None stays None.
        key: a random key.
        wrong: the fraction.
    """
    drawn = _numbers_like(tree, key, jax.random.uniform)
    return jax.tree.map(
        lambda x, u: jnp.where(u < wrong, -1, 1).astype(x.dtype), tree, drawn
    )


def _numbers_like(tree: Any, key: jax.Array, law: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    drawn = [law(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _key_of(params: Any) -> jax.Array:
    """A key that differs where the weights do."""
    total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))
    bits = jax.lax.bitcast_convert_type(jnp.float32(total), jnp.uint32)
    return jax.random.fold_in(jax.random.key(0), bits)


# ---- Rules whose feedback weights are noisy, and partly of the wrong sign


class _WrongSigns:
    """Multiplies one feedback weight in ten by -1, from the first call on."""

    def connect(
        self, circuit: Circuit, key: jax.Array, params: Any, matrices: Any = None
    ) -> Connections:
        """The usual connections, with these signs as the mask of feedback weights."""
        found = super().connect(circuit, key, params, matrices)  # pyright: ignore
        copies = replaceable_weights(circuit, params) if matrices is None else matrices
        own = jax.random.fold_in(key, 10)
        return found._replace(backward=signs_like(copies, own, WRONG))


@rule
class DamagedBackpropagation(_WrongSigns, BackwardPathRule):
    """Backpropagation through transported weights that are noisy and partly negated."""

    search_space: ClassVar[SearchSpace] = {}
    needs: ClassVar[tuple[str, ...]] = rules.Backpropagation.needs
    citation: ClassVar[str] = rules.Backpropagation.citation

    def draw(self, circuit: Circuit, key: jax.Array, params: Any) -> FeedbackState:
        """The damage; there are no feedback weights of its own."""
        return FeedbackState(None, self.connect(circuit, key, params))

    def backward_path(
        self, circuit: Circuit, params: Any, state: FeedbackState
    ) -> dict[str, Any]:
        """The weights of this call, damaged."""
        copies = replaceable_weights(circuit, params)
        return {"feedback": self.effective_feedback(state, copies)}


@rule
class DamagedFeedbackAlignment(_WrongSigns, rules.FeedbackAlignment):
    """Feedback alignment with damaged feedback weights."""


@rule
class DamagedSignConcordance(_WrongSigns, rules.SignConcordance):
    """Sign concordance with damaged feedback weights."""


@rule
class DamagedKolenPollack(_WrongSigns, rules.KolenPollack):
    """Kolen-Pollack with damaged feedback weights."""


@rule
class DamagedWeightMirror(_WrongSigns, rules.WeightMirror):
    """The weight mirror with damaged feedback weights."""


@rule
class DamagedDirectFeedbackAlignment(_WrongSigns, rules.DirectFeedbackAlignment):
    """Direct feedback alignment with damaged feedback weights."""
