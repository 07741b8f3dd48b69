"""The default inverse: a pull-back through a second copy of the weights.

    G_n(u) = rho_n( phi^T u + c_n )

phi^T u is the pull-back of the values above node n through a second copy phi of the
weights, so that convolutions, skip connections, loops and attention have an inverse of
the right shape. The pull-back of a unit starts at its drive. Operations that are
neither a synapse nor the nonlinearity of a unit (pooling, normalisation, softmax) are
transposed at the feed-forward values, as Ernoult et al. invert max pooling by its
switches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit, nonlinearity
from .._numerics import NodeArrays
from ..feedback._feedback_weights import draw_leaves, like_forward, require_different
from ._inverse import AbstractInverse
from ._target_sites import TargetSites


class InverseWeights(NamedTuple):
    """The second copy phi of the weights, and the shift c of each node's drive."""

    feedback: Any
    shift: NodeArrays


class PullBackInverse(AbstractInverse):
    """The pull-back through a second copy of the weights, and the nonlinearities."""

    def __init__(
        self,
        circuit: Circuit,
        params: Any,
        args: Any,
        sites: TargetSites,
        values: NodeArrays,
    ) -> None:
        self.circuit, self.sites, self.values = circuit, sites, values
        self.params, self.args = params, args

    @staticmethod
    def init(
        circuit: Circuit, key: jax.Array, params: Any, sites: TargetSites
    ) -> InverseWeights:
        """Weights at the scale of the forward weights; shifts of 0."""
        leaves = circuit.structure.carrying_leaves
        drawn = draw_leaves(circuit, key, params, leaves, like_forward)
        require_different(circuit, params, drawn)
        nodes = {n.name: n for n in circuit.nodes}
        shift = {
            n: jnp.zeros(_of_one_example(circuit, n), nodes[n].dtype)
            for n in sites.above
        }
        return InverseWeights(drawn, shift)

    @cached_property
    def rho(self) -> dict[str, Callable[[jax.Array], jax.Array]]:
        """The nonlinearity of each unit with an inverse, for one step of a loop."""
        given = (self.circuit, self.params, self.args)
        units = [n.name for n in self.circuit.nodes if n.unit]
        return {n: nonlinearity(*given, n) for n in units if n in self.sites.above}

    def back(self, weights: InverseWeights, above: NodeArrays) -> NodeArrays:
        """G_n of the values above each node."""
        drives = self.drives(weights, above)
        return {n: self._through_rho(n, z) for n, z in drives.items()}

    def _through_rho(self, name: str, drive: jax.Array) -> jax.Array:
        rho = self.rho.get(name, _identity)
        for _ in range(self._loops[name]):
            rho = jax.vmap(rho)
        return rho(drive)

    @cached_property
    def _loops(self) -> dict[str, int]:
        return {n.name: len(n.loops) for n in self.circuit.nodes}

    def drives(self, weights: InverseWeights, above: NodeArrays) -> NodeArrays:
        """phi^T u + c_n."""
        passes, held = self.sites.passes, self._held

        def network(held: NodeArrays) -> NodeArrays:
            run = self._run(weights, tap="clamp", inject=held, parallel=True)
            return {n: run.sites[passes[n]] for n in passes}

        pulled = jax.vjp(network, held)[1](above)[0]
        return {
            n: pulled[n] + _over_examples(self.circuit, n, weights.shift[n])
            for n in self.sites.above
        }

    @property
    def _held(self) -> NodeArrays:
        return {n: v for n, v in self.values.items() if n != OUTPUT}

    def _run(self, weights: InverseWeights, **options: Any) -> Any:
        return self.circuit.run(
            self.params,
            self.args,
            feedback=weights.feedback,
            sites=self.sites.visited,
            **options,
        )

    def changes(
        self, weights: InverseWeights, steps: NodeArrays, difference: bool
    ) -> NodeArrays:
        """Target minus value of each site, in one reverse sweep.

            d_n = G_n(t) - G_n(s) + step_n      or      G_n(t) - s_n + step_n

        As phi^T is linear, G_n(t) = rho_n(a_n + phi^T d) with a_n = phi^T s + c_n. So
        it is a backward pass in which each node replaces the incoming phi^T d by d_n,
        also from step to step of a loop.
        """
        sites, stash = self.sites, dict[str, Any]()

        def tap(site: str, computed: Any, injected: Any) -> Any:
            if injected is not None:
                # A target passes through this site, and a_n is injected. Its value is
                # not used; its gradient is the incoming change.
                drive = jax.lax.stop_gradient(injected)
                stash[site] = (computed + (injected - drive), drive)
            if site not in sites.above:
                return computed
            passing, drive = stash[sites.passes[site]]  # of the drive, seen before
            send = _send_change(self.rho.get(site, _identity), difference)
            return send(jax.lax.stop_gradient(computed), passing, drive)

        def network(drives: NodeArrays) -> NodeArrays:
            inject = {sites.passes[n]: a for n, a in drives.items()}
            run = self._run(weights, tap=tap, inject=inject)
            return {n: run.sites[sites.passes[n]] for n in sites.passes}

        drives = self.drives(weights, self.values)
        arrived = jax.vjp(network, drives)[1](steps)[0]
        return {n: s + arrived[n] if n in arrived else s for n, s in steps.items()}


def _identity(z: jax.Array) -> jax.Array:
    return z


def _send_change(
    rho: Callable[[jax.Array], jax.Array], difference: bool
) -> Callable[[Any, Any, Any], Any]:
    """The identity, whose reverse rule replaces the incoming change phi^T d by d_n.

    See `PullBackInverse.changes`.
    """

    @jax.custom_vjp
    def send(value: Any, passing: Any, drive: Any) -> Any:
        del passing, drive
        return value

    def forward(value: Any, passing: Any, drive: Any) -> Any:
        return send(value, passing, drive), (value, drive)

    def backward(kept: Any, arrived: Any) -> Any:
        value, drive = kept
        rest = rho(drive) if difference else value
        change = rho(drive + arrived) - rest
        return None, change.astype(value.dtype), None

    send.defvjp(forward, backward)
    return send


def _of_one_example(circuit: Circuit, name: str) -> tuple[int, ...]:
    """The shape of a node without the axes of its loops and of the examples."""
    form, loops, axis = _form(circuit, name)
    return tuple(form[i] for i in range(loops, len(form)) if i != axis)


def _over_examples(circuit: Circuit, name: str, shift: jax.Array) -> jax.Array:
    """The shift with a new axis at the position of the examples' axis."""
    form, loops, axis = _form(circuit, name)
    if axis is None or axis < loops:
        return shift
    shape = next(n.shape for n in circuit.nodes if n.name == name)
    beside = jnp.expand_dims(shift, axis - loops)
    if form == shape:
        return beside
    return jnp.broadcast_to(beside, form[loops:]).reshape(shape[loops:])


def _form(circuit: Circuit, name: str) -> tuple[tuple[int, ...], int, int | None]:
    """The shape with a separate axis for the examples, the loops, and that axis."""
    node = next(n for n in circuit.nodes if n.name == name)
    form = circuit.unfolded(name, node.shape)
    return form, len(node.loops), circuit.example_axes[name]
