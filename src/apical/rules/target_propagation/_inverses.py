"""The inverse that a circuit brings with it: its own operations, run backwards.

    G_n(u) = rho_n( phi^T u + c_n )

phi^T u is the pull-back of what stands above node n through a second copy phi of the
weights, so that convolutions, skips, loops and attention have an inverse of their own
shape. Units pass u on from their drives. What is neither a synapse nor the nonlinearity
of a unit (a pooling, a normalisation, a softmax) is passed by its derivative at the
feed-forward values, as max pooling is inverted through its switches by Ernoult et al.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import LOSS, OUTPUT, Circuit, Edge, drive_of, nonlinearity, zeros
from .._numerics import wide
from ..feedback._feedback_weights import draw_leaves, like_forward, require_different

# ---- Where targets stand, and through what they pass on their way down.
#
# | place          | a target stands there     | and passes down through          |
# |----------------|---------------------------|----------------------------------|
# | a unit         | always                    | its drive: no rho'(z)            |
# | any other node | always                    | its prediction                   |
# | the output     | where it begins there     | itself                           |

Values = dict[str, jax.Array]


class Places(NamedTuple):
    """The places of a circuit at which targets stand.

    Attributes:
      made: for each place the site through which a target passes down.
      above: for each place that has any, the places above it: what its inverse reads.
    """

    made: dict[str, str]
    above: dict[str, tuple[str, ...]]

    @property
    def visited(self) -> list[str]:
        """Every place, and every site that a target passes through."""
        return list(dict.fromkeys([*self.made, *self.made.values()]))


def places(circuit: Circuit, from_output: bool) -> Places:
    """The nodes, and the output where it is none of them and targets begin there."""
    made = {n.name: drive_of(n.name) if n.unit else n.name for n in circuit.nodes}
    has_output = from_output and circuit.output_node is None
    if has_output:
        made[OUTPUT] = OUTPUT
    above = {
        name: _above(reached, has_output) for name, reached in circuit.reach.items()
    }
    return Places(made, {name: each for name, each in above.items() if each})


def _above(reached: tuple[Edge, ...], has_output: bool) -> tuple[str, ...]:
    nodes = [edge.to for edge in reached if edge.to is not LOSS]
    ends = [OUTPUT] if has_output and Edge(LOSS) in reached else []
    return tuple(dict.fromkeys([*nodes, *ends]))


def zeros_at(circuit: Circuit, where: Places) -> Values:
    """A zero for each place, of its shape."""
    found = circuit.zeros()
    if OUTPUT in where.made:
        found[OUTPUT] = zeros(circuit.output_shape)
    return found


def first_steps(
    circuit: Circuit, params: Any, args: Any, where: Places, size: Any
) -> tuple[jax.Array, Any, Values, Values]:
    """The loss, aux, every value, and the loss's own step at each place.

        step_n = -size dL/ds_n,     L of one example, every place held

    It is 0 but where the loss reads the place itself.
    """

    def loss(errors: Values) -> Any:
        run = circuit.run(params, args, tap="hold", inject=errors)
        return run.loss, (run.loss, run.aux, run.sites)

    start = zeros_at(circuit, where)
    slopes, (value, aux, values) = jax.grad(loss, has_aux=True)(start)
    factor = -size * circuit.scale
    steps = {n: (factor * wide(s)).astype(s.dtype) for n, s in slopes.items()}
    return value, aux, values, steps


class Weights(NamedTuple):
    """The second copy phi of the weights, and the shift c of each node's drive."""

    feedback: Any
    shift: Values


class PullBack:
    """The inverse of one circuit at the values of one forward pass."""

    def __init__(
        self, circuit: Circuit, params: Any, args: Any, where: Places, values: Values
    ) -> None:
        self.circuit, self.where, self.values = circuit, where, values
        self.params, self.args = params, args

    @staticmethod
    def init(circuit: Circuit, key: jax.Array, params: Any, where: Places) -> Weights:
        """Weights of the size of the forward ones; no shift."""
        leaves = circuit.carrying_leaves
        drawn = draw_leaves(circuit, key, params, leaves, like_forward)
        require_different(circuit, params, drawn)
        nodes = {n.name: n for n in circuit.nodes}
        shift = {
            n: jnp.zeros(_of_one_example(circuit, n), nodes[n].dtype)
            for n in where.above
        }
        return Weights(drawn, shift)

    @cached_property
    def rho(self) -> dict[str, Callable[[jax.Array], jax.Array]]:
        """The nonlinearity of each unit that has an inverse, in one step of a loop."""
        given = (self.circuit, self.params, self.args)
        units = [n.name for n in self.circuit.nodes if n.unit]
        return {n: nonlinearity(*given, n) for n in units if n in self.where.above}

    def back(self, weights: Weights, above: Values) -> Values:
        """G_n of what stands above each node."""
        drives = self.drives(weights, above)
        return {n: self._squashed(n, z) for n, z in drives.items()}

    def _squashed(self, name: str, drive: jax.Array) -> jax.Array:
        rho = self.rho.get(name, _same)
        for _ in range(self._loops[name]):
            rho = jax.vmap(rho)
        return rho(drive)

    @cached_property
    def _loops(self) -> dict[str, int]:
        return {n.name: len(n.loops) for n in self.circuit.nodes}

    def drives(self, weights: Weights, above: Values) -> Values:
        """phi^T u + c_n."""
        made, held = self.where.made, self._held

        def network(held: Values) -> Values:
            run = self._run(weights, tap="clamp", inject=held, parallel=True)
            return {n: run.sites[made[n]] for n in made}

        pulled = jax.vjp(network, held)[1](above)[0]
        return {
            n: pulled[n] + _over_examples(self.circuit, n, weights.shift[n])
            for n in self.where.above
        }

    @property
    def _held(self) -> Values:
        return {n: v for n, v in self.values.items() if n != OUTPUT}

    def _run(self, weights: Weights, **options: Any) -> Any:
        return self.circuit.run(
            self.params,
            self.args,
            feedback=weights.feedback,
            sites=self.where.visited,
            **options,
        )

    def changes(self, weights: Weights, steps: Values, difference: bool) -> Values:
        """How far each target lies from the value, in one reverse sweep.

            d_n = G_n(t) - G_n(s) + step_n      or      G_n(t) - s_n + step_n

        As phi^T is linear, G_n(t) = rho_n(a_n + phi^T d) with a_n = phi^T s + c_n. So
        it is a backward pass in which each node turns the phi^T d that arrives into
        what it sends on, also from step to step of a loop.
        """
        where, stash = self.where, dict[str, Any]()

        def tap(site: str, computed: Any, injected: Any) -> Any:
            if injected is not None:
                # A target passes here, and a_n is injected. It adds nothing; its
                # gradient is what passes.
                drive = jax.lax.stop_gradient(injected)
                stash[site] = (computed + (injected - drive), drive)
            if site not in where.above:
                return computed
            made, drive = stash[where.made[site]]  # of the drive, which came before
            send = _sender(self.rho.get(site, _same), difference)
            return send(jax.lax.stop_gradient(computed), made, drive)

        def network(drives: Values) -> Values:
            inject = {where.made[n]: a for n, a in drives.items()}
            run = self._run(weights, tap=tap, inject=inject)
            return {n: run.sites[where.made[n]] for n in where.made}

        drives = self.drives(weights, self.values)
        arrived = jax.vjp(network, drives)[1](steps)[0]
        return {n: s + arrived[n] if n in arrived else s for n, s in steps.items()}


def _same(z: jax.Array) -> jax.Array:
    return z


def _sender(
    rho: Callable[[jax.Array], jax.Array], difference: bool
) -> Callable[[Any, Any, Any], Any]:
    """A node that sends down the change of its target: see `PullBack.changes`."""

    @jax.custom_vjp
    def send(value: Any, made: Any, drive: Any) -> Any:
        del made, drive
        return value

    def forward(value: Any, made: Any, drive: Any) -> Any:
        return send(value, made, drive), (value, drive)

    def backward(kept: Any, arrived: Any) -> Any:
        value, drive = kept
        rest = rho(drive) if difference else value
        change = rho(drive + arrived) - rest
        return None, change.astype(value.dtype), None

    send.defvjp(forward, backward)
    return send


def _of_one_example(circuit: Circuit, name: str) -> tuple[int, ...]:
    """The shape of a node without its loops and without the axis of the examples."""
    form, loops, axis = _form(circuit, name)
    return tuple(form[i] for i in range(loops, len(form)) if i != axis)


def _over_examples(circuit: Circuit, name: str, shift: jax.Array) -> jax.Array:
    """The shift with an axis in the place of the examples'."""
    form, loops, axis = _form(circuit, name)
    if axis is None or axis < loops:
        return shift
    shape = next(n.shape for n in circuit.nodes if n.name == name)
    beside = jnp.expand_dims(shift, axis - loops)
    if form == shape:
        return beside
    return jnp.broadcast_to(beside, form[loops:]).reshape(shape[loops:])


def _form(circuit: Circuit, name: str) -> tuple[tuple[int, ...], int, int | None]:
    """The shape with an axis of the examples alone, its loops, and that axis."""
    node = next(n for n in circuit.nodes if n.name == name)
    form = circuit.unfolded(name, node.shape)
    return form, len(node.loops), circuit.example_axes[name]


# ---- Inverses that the user brings: one function for each node.
#
#     t_n = s_n + G_n(t above) - G_n(s above)
#
# Targets come down node by node, from the loss back to the input.


class Pair(NamedTuple):
    """What a user hands in: how weights are made, and what is done with them."""

    init: Callable[[jax.Array, Any, dict[str, Any]], Any]
    apply: Callable[[Any, Values], jax.Array]


def as_pair(given: Any) -> Pair:
    """A pair of functions, or refuse."""
    pair = isinstance(given, tuple) and len(given) == 2 and all(map(callable, given))
    if not pair:
        raise TypeError(
            "`inverse` must be a pair of functions `(init, apply)`: `init(key, node, "
            "above)` makes the weights for the inverse of a node from the shapes of "
            "the node and of what stands above it, `apply(weights, above)` gives an "
            f"array of the node's shape; not {given!r}."
        )
    return Pair(*given)


class GivenInverse:
    """The inverses of one circuit at the values of one forward pass."""

    def __init__(
        self, pair: Pair, circuit: Circuit, where: Places, values: Values
    ) -> None:
        self.pair, self.circuit = pair, circuit
        self.where, self.values = where, values

    @staticmethod
    def init(
        pair: Pair, circuit: Circuit, key: jax.Array, where: Places
    ) -> dict[str, Any]:
        """Weights for each node; refuses loops and other shapes."""
        shapes = {n.name: jax.ShapeDtypeStruct(n.shape, n.dtype) for n in circuit.nodes}
        if OUTPUT in where.made:
            shapes[OUTPUT] = circuit.output_shape
        weights = {}
        for number, (name, above) in enumerate(where.above.items()):
            _require_no_loop(circuit, name)
            given = {m: shapes[m] for m in above}
            own = jax.random.fold_in(key, number)
            weights[name] = pair.init(own, shapes[name], given)
            made = jax.eval_shape(pair.apply, weights[name], given)
            if jnp.shape(made) != shapes[name].shape:
                raise ValueError(
                    f"`inverse` returns shape {jnp.shape(made)} for the node {name!r}, "
                    f"which has shape {shapes[name].shape}."
                )
        return weights

    def back(self, weights: Any, above: Values) -> Values:
        """G_n of what stands above each node."""
        return {n: self._inverse(weights, n, above) for n in self.where.above}

    def _inverse(self, weights: Any, name: str, above: Values) -> jax.Array:
        read = {m: above[m] for m in self.where.above[name]}
        return self.pair.apply(weights[name], read).astype(self.values[name].dtype)

    def changes(self, weights: Any, steps: Values, difference: bool) -> Values:
        """How far each target lies from the value."""
        changes = dict(steps)
        for node in reversed(self.circuit.nodes):
            name = node.name
            if name in self.where.above:
                targets = jax.tree.map(jnp.add, self.values, changes)
                made = self._inverse(weights, name, targets)
                rest = self.values[name]
                if difference:
                    rest = self._inverse(weights, name, self.values)
                changes[name] = made - rest + steps[name]
        return changes


def _require_no_loop(circuit: Circuit, name: str) -> None:
    if any(edge.later for edge in circuit.reach[name]):
        raise ValueError(
            f"Node {name!r} reaches a later step of its loop, so that its target waits "
            "for that of the step after it, and an `inverse` of one's own is called "
            "for all steps at once. Leave `inverse` at None: the default goes from "
            "step to step."
        )
