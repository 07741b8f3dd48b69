"""The marks of `apical.node`, `apical.bernoulli` and `apical.output` in a program."""

from __future__ import annotations

from typing import Any

import jax
import jax.ad_checkpoint

from ._jaxpr import Op

NODE_MARK = "apical.node:"
BERNOULLI_MARK = "apical.bernoulli:"
OUTPUT_MARK = "apical.output"
# The site of the network's output, and the suffix of drive sites; no node has them.
OUTPUT, DRIVE = "output", ":drive"
# The first character of internal sites. `apical.node` refuses it in names, and names of
# leaves never contain it.
INTERNAL = "\0"
NODE_MARKS = (NODE_MARK, BERNOULLI_MARK)


def drive_of(name: str) -> str:
    """The name of the drive site of a node."""
    return f"{name}{DRIVE}"


def output_of(synapse: int) -> str:
    """The name of the site of a synapse's output, before anything is added to it.

    Args:
      synapse: its position among `circuit.synapses`.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from apical.circuit import output_of
      >>> loss_fn = lambda w, x: jnp.mean((x @ w + 1) ** 2)
      >>> w, x = jnp.ones((2, 1)), jnp.ones((3, 2))
      >>> circuit = apical.trace(loss_fn)(w, x)
      >>> site = output_of(0)
      >>> circuit.run(w, (x,), sites=[site]).sites[site].tolist()
      [[2.0], [2.0], [2.0]]
    """
    return f"{INTERNAL}output of synapse {synapse}"


def mark_of(op: Op) -> str | None:
    """The mark of `apical.node`, `apical.bernoulli` or `apical.output`, if any."""
    name = str(op.params["name"]) if op.name == "name" else ""
    return name if name.startswith((*NODE_MARKS, OUTPUT_MARK)) else None


def output_key(op: Op) -> str:
    """The place in the pytree that `apical.output` marked; empty for other values."""
    return str(op.params["name"]).removeprefix(OUTPUT_MARK) if marks_output(op) else ""


def marks_output(op: Op) -> bool:
    """Whether the operation is the mark of an output."""
    return (mark_of(op) or "").startswith(OUTPUT_MARK)


def marks_node(op: Op) -> bool:
    """Whether the operation is the mark of a node, stochastic or not."""
    return (mark_of(op) or "").startswith(NODE_MARKS)


def draws(op: Op) -> bool:
    """Whether the operation is the mark of a stochastic node."""
    return (mark_of(op) or "").startswith(BERNOULLI_MARK)


def _require_name(name: Any, call: str) -> None:
    """Refuse reserved names."""
    if not isinstance(name, str):
        raise ValueError(
            f"`name` must be a text, as in `{call}`, not a {type(name).__name__}."
        )
    if name == OUTPUT or name.endswith(DRIVE):
        raise ValueError(
            f"A node cannot be called {name!r}: {OUTPUT!r} is the output of the "
            f"network (`apical.output`) and '...{DRIVE}' the drive of a node. Choose "
            "another `name`."
        )
    if INTERNAL in name:
        raise ValueError(
            f"A node cannot be called {name!r}, with the character {INTERNAL!r} in it. "
            "Choose another `name`."
        )


def node(x: Any, name: str) -> Any:
    """Mark an activity as a node, by name; an identity.

    A parameter alone may be a node too (a prior, a bias that generates), with a value
    for each example: `node(jnp.broadcast_to(prior, (len(x), *prior.shape)), "prior")`.

    Args:
      x: an activity (an array) inside a loss function.
      name: the node's name; each mark needs a different one.

    Returns:
      `x`.

    Raises:
      ValueError: for a name that is not a text, or that is reserved.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> float(apical.node(jnp.float32(2.0), "half way"))
      2.0
    """
    _require_name(name, "apical.node(x, 'hidden')")
    if not name:
        raise ValueError("A node cannot be called ''. Choose another `name`.")
    return jax.ad_checkpoint.checkpoint_name(x, NODE_MARK + name)


def output(y: Any) -> Any:
    """Mark an activity as the output of the network; an identity.

    Needed only if the output is not the end of the affine operations after a synapse
    that reaches only the loss. Rules treat several outputs (heads, an actor and its
    critic) as one, concatenated per example; marks select some of them. Of a pytree the
    keys are kept, so that `target=` may return a dictionary with the same keys.

    Args:
      y: an activity inside a loss function: an array, or a pytree of them.

    Returns:
      `y`.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> float(apical.output(jnp.float32(2.0)))
      2.0
    """

    def mark(path: Any, each: Any) -> Any:
        name = OUTPUT_MARK + jax.tree_util.keystr(path)
        return jax.ad_checkpoint.checkpoint_name(each, name)

    return jax.tree_util.tree_map_with_path(mark, y)


def bernoulli(probability: Any, name: str = "") -> Any:
    """Mark a stochastic binary node: a spike, 1 with this probability, else 0.

    By itself it is an identity: the loss function reads the mean of the spike, its
    rate. Rules for stochastic nodes (`apical.rules.ScoreFunction`, `StraightThrough`,
    `Concrete`) draw the spike from the key in their state. Operations that read the
    probability before this mark still read the probability.

    Args:
      probability: an activity (an array) inside a loss function, between 0 and 1.
      name: the node's name; by default from the paths of its parameters.

    Returns:
      `probability`.

    Raises:
      ValueError: for a name that is not a text, or that is reserved.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     spikes = apical.bernoulli(jax.nn.sigmoid(x @ w["a"]), "hidden")
      ...     return jnp.mean((spikes @ w["b"] - y) ** 2)
      >>> w = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}
      >>> circuit = apical.trace(loss_fn)(w, jnp.ones((3, 2)), jnp.ones((3, 1)))
      >>> [node.name for node in circuit.nodes]
      ['hidden']
    """
    _require_name(name, "apical.bernoulli(p, 'hidden')")
    return jax.ad_checkpoint.checkpoint_name(probability, BERNOULLI_MARK + name)
