"""Slopes of each example's loss along random directions in the space of its activities.

    delta_n = mean_k (slope of L_i along u_k) u_kn,     dW_n = the pull-back of delta_n

for every example i by itself, at all nodes and at the output at once. E delta_n is the
true teaching signal dL_i/dn, and for normal u with N entries at the nodes of an example

    E|delta - dL_i/dn|^2 = (N + 1)/K |dL_i/dn|^2        (all nodes together).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, OneByOne, drive_sites
from .._rule import Credit, Signal
from ._noise import correlation, draw, require_real

OUTPUT = "output"
Tree = dict[str, jax.Array]
Losses = Callable[[Tree], jax.Array]


class Taught(NamedTuple):
    """One tick: what it computed, and what it taught; examples in front."""

    value: jax.Array
    aux: Any
    grads: Any
    values: Tree
    delta: Tree
    slopes: jax.Array


def require_perturbable(circuit: Circuit, params: Any, args: Any, rule: str) -> None:
    """Refuse what cannot be perturbed, example by example, at nodes and output."""
    # Paths that bypass a node are fine: every path is cut where it first meets a site.
    circuit.require_reversible()
    circuit.require_output()
    each = OneByOne(circuit)
    each.require_same_nodes()
    each.require_independent(params, args)
    require_real(node_types(circuit), rule)


def node_types(circuit: Circuit) -> list[tuple[str, Any]]:
    """Each node and the output as a message names it, with its dtype."""
    found = [(f"node {n.name!r}", n.dtype) for n in circuit.nodes]
    return [*found, ("the output", circuit.output_shape.dtype)]


def sites_of(circuit: Circuit, at: str) -> dict[str, str]:
    """For each node, and the output if it is none, the site that is perturbed."""
    if at == "drive":
        found = drive_sites(circuit)
    else:
        found = {n.name: n.name for n in circuit.nodes}
    # The node that is the output must not be perturbed twice.
    return found if circuit.output_node else {**found, OUTPUT: OUTPUT}


def teach(
    circuit: Circuit,
    params: Any,
    args: Any,
    key: jax.Array,
    *,
    sites: dict[str, str],
    count: int,
    kind: str,
    slopes_of: Callable[[Losses, Tree], jax.Array],
) -> Taught:
    """Perturb all sites at once, and pull what correlates back to the parameters.

    Args:
      circuit: the circuit of the batch.
      params: the parameters.
      args: the arguments after them.
      key: what the directions are drawn from.
      sites: as `sites_of` finds them.
      count: how many directions.
      kind: of which kind.
      slopes_of: given the losses of all examples as a function of what is added at the
        sites, and the directions: the slopes, `[count, examples]`.
    """
    each, places = OneByOne(circuit), list(dict.fromkeys(sites.values()))
    learned, fixed = circuit.leaves.pick(params)

    def walled(learned: Any) -> Any:
        here = circuit.leaves.build(learned, fixed)

        def alone(args: Any) -> Any:
            run = each.circuit.run(here, args, tap="stop", sites=places)
            return run.loss, run.sites

        return each(alone, args)

    def losses(errors: Tree) -> jax.Array:
        def alone(args: Any, errors: Tree) -> jax.Array:
            run = each.circuit.run(params, args, tap="offset", inject=errors, sites=())
            return run.loss

        return each(alone, args, errors)

    (alone, values), transposed = jax.vjp(walled, learned)
    directions = draw(key, values, count, kind)
    slopes = slopes_of(losses, directions)
    share = slopes / (count * circuit.scale)
    delta = {n: correlated(share, u) for n, u in directions.items()}
    grads = transposed((jnp.full_like(alone, 1 / circuit.scale), delta))[0]
    value, aux = whole(circuit, params, args, alone)
    return Taught(value, aux, circuit.leaves.build(grads), values, delta, slopes)


def correlated(slopes: jax.Array, directions: jax.Array) -> jax.Array:
    """The sum over the draws of each example's slope times its direction."""
    product = jax.vmap(lambda s, u: jnp.tensordot(s, u, axes=1), in_axes=1)
    return product(slopes.astype(directions.dtype), directions)


def whole(circuit: Circuit, params: Any, args: Any, losses: jax.Array) -> Any:
    """The loss of the batch and its aux, from the losses of single examples."""
    if circuit.setting.has_aux:
        run = circuit.run(params, args, sites=())
        return run.loss, run.aux
    return jnp.sum(losses) / circuit.scale, None


def credit_of(taught: Taught, state: Any) -> Credit:
    """The credit of one tick."""
    info = correlation(taught.slopes)
    return Credit(taught.value, taught.aux, taught.grads, state, info)


def signals_of(
    circuit: Circuit, params: Any, args: Any, taught: Taught, sites: dict[str, str]
) -> dict[str, Signal]:
    """The teaching signal at each node's site, beside the node's value."""
    each, values = OneByOne(circuit), circuit.run(params, args).sites
    return {
        name: Signal(
            values[name],
            values[name],
            each.together(name, taught.delta[sites[name]], shared="sum"),
        )
        for name in values
    }
