"""Activity space: slopes of each example's loss along random directions at its nodes.

    delta_n = mean_k (slope of L_i along u_k) u_kn,     dW_n = the pull-back of delta_n,

for every example i, at all nodes and at the output at once; at a node that all examples
share, the slope is that of the whole loss. E delta_n is the true teaching signal
dL_i/dn, and for normal u with N entries at the nodes of an example

    E|delta - dL_i/dn|^2 = (N + 1)/K |dL_i/dn|^2        (all nodes together).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, beside, drive_sites, require_reduction
from .._base import Credit, Signal
from .._numerics import NodeArrays
from ._random_directions import correlation, draw, require_real

Losses = Callable[[NodeArrays], jax.Array]


class ActivityEstimate(NamedTuple):
    """One evaluation, with the estimated teaching signals and gradients."""

    value: jax.Array
    aux: Any
    grads: Any
    delta: NodeArrays
    slopes: jax.Array


def require_perturbable(circuit: Circuit, params: Any, args: Any, rule: str) -> None:
    """Require a circuit that can be perturbed per example at its nodes and output."""
    # Paths that bypass a node are allowed: every path is cut at its first site.
    circuit.require_reversible()
    require_examples(circuit, params, args, rule)
    circuit.require_output()
    require_real(node_types(circuit), rule)


def require_examples(circuit: Circuit, params: Any, args: Any, rule: str) -> None:
    """Require a loss that is a sum (or mean) of per-example losses."""
    circuit.require_separate(rule)
    require_reduction(circuit, params, args)
    _ = circuit.batch.example_places  # raises if no axis holds the examples alone


def node_types(circuit: Circuit) -> list[tuple[str, Any]]:
    """Each node and the output, as named in error messages, with its dtype."""
    found = [(f"node {n.name!r}", n.dtype) for n in circuit.nodes]
    return [*found, ("the output", circuit.output_shape.dtype)]


def perturbed_sites(circuit: Circuit, at: str) -> dict[str, str]:
    """The perturbed site of each node, and of the output if it is not a node."""
    if at == "drive":
        found = drive_sites(circuit)
    else:
        found = {n.name: n.name for n in circuit.nodes}
    # A node that is the output must not be perturbed twice.
    return found if circuit.output_node else {**found, OUTPUT: OUTPUT}


def estimate(
    circuit: Circuit,
    params: Any,
    args: Any,
    key: jax.Array,
    *,
    sites: dict[str, str],
    count: int,
    kind: str,
    slopes_of: Callable[[Losses, NodeArrays], jax.Array],
) -> ActivityEstimate:
    """Perturb all sites at once, and pull the estimates back to the parameters.

    Args:
      circuit: the circuit of the batch.
      params: the parameters.
      args: the arguments after them.
      key: the key for the directions.
      sites: as `perturbed_sites` returns them.
      count: the number of directions.
      kind: the kind of directions, one of `KINDS`.
      slopes_of: returns the slopes, `[count, examples + 1]`, given the losses of all
        examples (and of the batch) as a function of the offsets at the sites, and given
        the directions.
    """
    places = list(dict.fromkeys(sites.values()))
    learned, fixed = circuit.leaves.split(params)

    def stopped(learned: Any) -> Any:
        here = circuit.leaves.combine(learned, fixed)
        run = circuit.run(here, args, tap="stop", sites=places)
        return (run.loss, run.sites), (run.loss, run.aux)

    def losses(errors: NodeArrays) -> jax.Array:
        return circuit.by_example(params, args, tap="offset", inject=errors)[1]

    (loss, values), transposed, (value, aux) = jax.vjp(stopped, learned, has_aux=True)
    directions = draw(key, values, count, kind)
    slopes = slopes_of(losses, directions)
    share = slopes / (count * circuit.scale)
    of = {site: name for name, site in sites.items()}
    delta = {s: sum_of_slopes(circuit, of[s], share, u) for s, u in directions.items()}
    grads = transposed((jnp.ones_like(loss), delta))[0]
    return ActivityEstimate(
        value, aux, circuit.leaves.combine(grads), delta, slopes[:, :-1]
    )


def sum_of_slopes(
    circuit: Circuit, name: str, slopes: jax.Array, directions: jax.Array
) -> jax.Array:
    """sum_k slope_k u_kn: each example's slope times its direction, summed over draws.

    Args:
      circuit: the circuit of the batch.
      name: the name of the node, or `"output"`.
      slopes: `[count, examples + 1]`; the last column is that of the whole loss.
      directions: `[count, ...]`, with the node's shape.
    """
    return jnp.sum(
        broadcast_to_examples(circuit, name, slopes, directions) * directions, axis=0
    )


def broadcast_to_examples(
    circuit: Circuit, name: str, numbers: jax.Array, like: jax.Array
) -> jax.Array:
    """Numbers `[count, examples + 1]`, broadcast along the examples of a node.

    A node without an axis of examples takes the last column, that of the whole batch.
    """
    count, axis = len(like), circuit.example_axes[name]
    numbers = numbers.astype(like.dtype)
    if axis is None:
        return numbers[:, -1].reshape(count, *[1] * (like.ndim - 1))
    form = circuit.unfolded(name, like.shape[1:])
    ones = [numbers.shape[1] - 1 if i == axis else 1 for i in range(len(form))]
    each = numbers[:, :-1].reshape(count, *ones)
    whole = jnp.broadcast_to(each, (count, *form)).reshape(like.shape)
    return beside(whole, like)


def credit_of(found: ActivityEstimate, state: Any) -> Credit:
    """The credit of one evaluation."""
    info = correlation(found.slopes)
    return Credit(found.value, found.aux, found.grads, state, info)


def signals_of(
    circuit: Circuit,
    params: Any,
    args: Any,
    found: ActivityEstimate,
    sites: dict[str, str],
) -> dict[str, Signal]:
    """The value of each node, with the teaching signal at its site."""
    values = circuit.run(params, args).sites
    return {n: Signal(v, v, found.delta[sites[n]]) for n, v in values.items()}
