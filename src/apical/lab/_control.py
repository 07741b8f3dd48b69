"""The control: random hidden layers that never learn, under a readout that does.

Pictures as easy as the digits are told apart well on random features. A rule that does
not beat this row has not been shown to teach a hidden layer anything.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from apical import measure
from apical.lab._models import training_loss


def only_readout(
    optimizer: optax.GradientTransformation, params: Any
) -> optax.GradientTransformation:
    """The optimiser, with everything held still but the last layer."""
    still = jax.tree.map(lambda leaf: "still", params)
    learns = jax.tree.map(lambda leaf: "learns", params.readout)
    labels = eqx.tree_at(lambda model: model.readout, still, learns)
    # A model can be called, and optax would call it: hence the function.
    return optax.partition(
        {"learns": optimizer, "still": optax.set_to_zero()}, lambda params: labels
    )


def readout_alignment(params: Any, state: Any, *args: Any) -> measure.Alignment:
    """How much of backprop's gradient is left when only the last layer moves."""
    del state
    grads, _ = jax.grad(training_loss, has_aux=True)(params, *args)
    nothing = jax.tree.map(jnp.zeros_like, grads)
    kept = eqx.tree_at(lambda model: model.readout, nothing, grads.readout)
    paths = jax.tree_util.tree_leaves_with_path(grads)
    pairs = zip(paths, jax.tree.leaves(kept), strict=True)
    return measure.Alignment(
        _agreement(kept, grads),
        {
            jax.tree_util.keystr(path): _agreement(mine, whole)
            for (path, whole), mine in pairs
        },
    )


def _agreement(mine: Any, whole: Any) -> measure.Agreement:
    a, b = (
        jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(t)])
        for t in (mine, whole)
    )
    norm_a, norm_b = jnp.linalg.norm(a), jnp.linalg.norm(b)
    cosine = a @ b / jnp.maximum(norm_a * norm_b, jnp.finfo(a.dtype).tiny)
    return measure.Agreement(
        cosine, norm_a / norm_b, jnp.mean(jnp.sign(a) == jnp.sign(b))
    )
