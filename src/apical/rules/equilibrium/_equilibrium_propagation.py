"""Equilibrium propagation: contrast of a free equilibrium and one nudged by the loss.

    Phi(s; b) = sum_n <s_n, z_n(s)> - b L(s)
    s_n <- rho_n(dPhi/ds_n)                                 until it has settled: s^b
    dL/dtheta = -lim (1/b) [dPhi/dtheta(s^b; b) - dPhi/dtheta(s^0; 0)],   b -> 0

for one example; the rule descends L at the free equilibrium. Scellier &
Bengio 2017; in this form, for any primitive function Phi, Ernoult et al. 2019 and
Laborieux et al. 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, SearchSpace, Signal, cited, rule, static
from .._call_checks import default_steps, warn_of_unreached_nodes
from .._field_checks import check_choice, check_positive, check_whole
from .._numerics import NodeArrays, fold_in_name
from ._complex_valued_network import complex_network
from ._nudging import KINDS, Holomorphic, Stencil, source_of, stencil
from ._phases import FreeNetwork
from ._settling import State, Units, settle, settling, stack_states


class Contrast(NamedTuple):
    """The states of one call, and their weights in the contrast.

    Attributes:
      units: the network of the nudged states.
      free: the free state.
      nudged: the nudged states, stacked.
      values: the states that are contrasted, stacked.
      points: their nudges and weights.
    """

    units: Units
    free: State
    nudged: State
    values: Any
    points: Stencil


_SCELLIER = (
    "@article{scellier2017equilibrium, title={Equilibrium Propagation: Bridging "
    "the Gap between Energy-Based Models and Backpropagation}, author={Scellier, "
    "Benjamin and Bengio, Yoshua}, journal={Frontiers in Computational "
    "Neuroscience}, volume={11}, year={2017}}"
)


@rule
class EquilibriumPropagation(FreeNetwork):
    """Contrast a free equilibrium with equilibria nudged towards a smaller loss.

        s_n <- (1 - rate) s_n + rate rho_n(z_n + sum_m g_nm <s_m, dz_m/ds_n> - ...)

    All units are updated in parallel: `free_steps` from zeros to the free state, then
    `nudged_steps` from there to each nudged state. The update is a difference of two
    Hebbian products, at the drives: no derivative of the nonlinearity is taken.

    The trained network is the one that settles: `credit.value` is its loss, `predict`
    its output. Feedback to a unit passes through the weights by which it drives other
    units. A nonlinearity at the output is a unit only if it is marked,
    `apical.output(apical.node(rho(z), "out"))`; otherwise it is a part of the loss.
    Inside a `lax.scan` all time steps settle together, with feedback from later ones.

    With standard initial weights and gain 1, a network has more than one equilibrium,
    and ReLU units diverge: check `credit.info.settled`, and use smaller weights or a
    gain below 1. One-sided estimates are then poor. (On handwritten digits two hidden
    layers learn about as well as by backpropagation with a gain of 0.3; at gain 1 they
    do so with tanh and weights of half the usual size, while ReLU units do not learn.)
    Layers that excite each other (a generator below a discriminator) may settle where
    units are saturated and no signal passes: `credit.info.unresponsive` is then near 1.

    Args:
      nudge: b above.
      estimate: `"centred"` (b and -b; error O(b^2)), `"one-sided"`, `"random sign"`
        (one-sided, the sign drawn anew at every call), or `Holomorphic(points)`.
      free_steps: steps from zeros to the free state. None: 30, or twice the longest
        path of nodes if that is more.
      nudged_steps: steps from there to a nudged state. None: 20, or twice the longest
        path of nodes if that is more.
      rate: the size of a step: at 1 a unit takes its new value, and may oscillate; less
        damps.
      gain: the factor of feedback per layer: c_m / c_n is gain to the power of the
        number of layers from n to m; 1 in the papers. Below 1, ReLU units with standard
        initial weights stay finite; as gain -> 0 this is backpropagation.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.EquilibriumPropagation(0.01)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> credit = learner(w, state, x)
      >>> bool(jnp.all(credit.info.settled))
      True
      >>> truth = jax.grad(loss_fn)(w, x)  # one layer of units: no feedback
      >>> bool(jnp.allclose(credit.grads["a"], truth["a"], rtol=1e-2))
      True

    Raises:
      ValueError: in `init`, for a hidden layer without units; if two synapses follow
        each other with no unit between; if a unit's nonlinearity has a reversed
        gradient, which would have no effect; if examples depend on each other (batch
        norm); with `Holomorphic`, if an operation is not holomorphic.

    Source: Scellier & Bengio 2017, Frontiers in Computational Neuroscience 11:24;
    Laborieux et al. 2021, Frontiers in Neuroscience 15:633674; Laborieux & Zenke 2022,
    NeurIPS; gain: Xie & Seung 2003, Neural Computation 15.
    """

    nudge: float = 0.1
    free_steps: int | None = static(default=None)
    nudged_steps: int | None = static(default=None)
    rate: float = 0.5
    gain: float = 1.0
    estimate: str | Holomorphic = static(default="centred")

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """The source of the rule, and of the estimate."""
        return cited(_SCELLIER, source_of(self.estimate))

    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {"nudge": (0.01, 1.0, "log")}

    def __post_init__(self) -> None:
        self.check_free()
        if self.nudged_steps is not None:
            check_whole(self.nudged_steps, "nudged_steps")
        check_positive(self.nudge, "nudge")
        if not isinstance(self.estimate, Holomorphic):
            check_choice(self.estimate, "estimate", KINDS)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that the energy is defined; return a key if signs are drawn."""
        super().init(circuit, key, params, args)
        if (steps := self.nudged_steps) is not None:
            name = type(self).__name__
            warn_of_unreached_nodes(name, steps, circuit.distances, "nudged_steps")
        if isinstance(self.estimate, Holomorphic):
            complex_network(circuit, params, args)
        drawn = self.estimate == "random sign"
        return fold_in_name(key, "apical.EquilibriumPropagation") if drawn else ()

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Settle to the free and nudged states, and contrast them."""
        found = self._contrast(circuit, params, state, args)
        units = self.units(circuit, params, args)
        rest = units.at_rest(found.free.values)
        grads = self._gradient(found)
        after = jax.random.split(state)[1] if self.estimate == "random sign" else state
        info = settling(found.units, found.free, found.nudged)
        info = info._replace(unresponsive=units.unresponsive(found.free.values))
        return Credit(rest.loss, rest.aux, circuit.leaves.combine(grads), after, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The free state; the teaching signal is the gradient at the drive."""
        found = self._contrast(circuit, params, state, args)
        run = self.units(circuit, params, args).at_rest(found.free.values)
        weights = found.points.weights / circuit.scale

        def teaching(name: str) -> jax.Array:
            moved = jnp.tensordot(weights, found.values[name], 1).real
            return -found.units.strength[name] * moved

        values = found.free.values
        return {n: Signal(values[n], run.sites[n], teaching(n)) for n in values}

    def _contrast(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Settle to the free state, then from there to every nudged state."""
        units = self.units(circuit, params, args)
        free = self.settle_freely(units)
        key = jax.random.split(state)[0] if self.estimate == "random sign" else None
        points = stencil(self.estimate, self.nudge, key)
        start = free.values
        if isinstance(self.estimate, Holomorphic):
            units = _complexified(units)
            zeros = units.circuit.zeros()
            start = jax.tree.map(lambda v, z: v.astype(z.dtype), start, zeros)

        def settle_nudged(nudge: Any, start: NodeArrays) -> State:
            return settle(
                units,
                start,
                lambda values: units.step(values, self.rate, nudge),
                self.nudged_steps or default_steps(circuit, 20),
                self.rate,
            )

        if not points.with_free:
            # Mapped from the start: otherwise JAX would trace the loop anew for every
            # layer that the mapped nudge reaches.
            starts = stack_states(*[start] * len(points.nudges))
            nudged = jax.vmap(settle_nudged)(points.nudges, starts)
            return Contrast(units, free, nudged, nudged.values, points)
        alone = settle_nudged(points.nudges[0], start)
        values = stack_states(alone.values, start)
        return Contrast(units, free, stack_states(alone), values, points)

    def _gradient(self, found: Contrast) -> list[jax.Array]:
        """-sum_k w_k dPhi_k/dtheta, in the units of the loss."""
        units, points = found.units, found.points
        learned = units.circuit.leaves.split(units.params)[0]

        def primitive(learned: Any, values: Any, nudge: Any) -> Any:
            return units.product(learned, values, units.scaled(values), nudge)

        def weighted(learned: Any) -> Any:
            states = found.values, points.nudges
            energies = jax.vmap(primitive, (None, 0, 0))(learned, *states)
            return -jnp.sum(points.weights * energies) / units.circuit.scale

        is_complex = isinstance(self.estimate, Holomorphic)
        grads = jax.grad(weighted, holomorphic=is_complex)(learned)
        return [g.real for g in grads] if is_complex else grads


def _complexified(units: Units) -> Units:
    circuit, params = complex_network(units.circuit, units.params, units.args)
    return Units(
        circuit, params, units.args, units.strength, loss_of=lambda run: run.aux
    )
