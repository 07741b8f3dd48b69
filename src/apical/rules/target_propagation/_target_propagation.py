"""Target propagation: the target of each node is computed from those above it.

    t_top = s_top - target_step dL/ds_top,        t_n = G_n(t_m)
    delta_n = (s_n - t_n) / target_step,          dW_n = the pull-back of delta_n

with m directly above n, L the loss of one example and G_n a learned inverse of the
forward computation from n to m. Bengio 2014. G_n is never exact; difference target
propagation corrects for its error (Lee et al. 2015):

    t_n = s_n + G_n(t_m) - G_n(s_m)

| part         | what it determines             | choices                              |
|--------------|--------------------------------|--------------------------------------|
| inverse      | the form of G                  | a pull-back, a user's functions      |
| training     | the training loss of G         | `NoiseReconstruction`, None, any     |
|              |                                | other `AbstractReconstruction`       |
| first target | where the first target is set  | at the output, at the last nodes     |
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import LOSS, Circuit, Edge, over_devices, require_reduction
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._field_checks import (
    check_choice,
    check_positive,
    check_transformation,
    check_whole,
)
from .._inner_optimizers import adam, apply_optimizer, init_optimizer
from .._iteration import repeat
from .._numerics import NodeArrays, fold_in_name
from ..feedback._feedback_weights import through_feedback
from ._inverse import AbstractInverse, GivenInverse, as_inverse_functions
from ._pull_back import PullBackInverse
from ._reconstruction import (
    AbstractReconstruction,
    NodewiseForward,
    NoiseReconstruction,
)
from ._target_sites import OUTPUT, TargetSites, first_steps, target_sites, zeros_at


class InverseState(NamedTuple):
    """The weights of the inverses, their optimiser's state, and the key of the noise.

    With the default inverse the weights are `feedback` (phi) and `shift` (c).
    """

    weights: Any
    optimizer: Any
    key: jax.Array


class Reconstruction(NamedTuple):
    """Diagnostics of the inverses.

    Attributes:
      loss: for each node with an inverse, its loss before the last step, averaged over
        the examples. Empty if inverses do not learn.
    """

    loss: dict[str, jax.Array]


class TargetPass(NamedTuple):
    """A forward pass, and the difference of target and value at each site."""

    value: jax.Array
    aux: Any
    values: NodeArrays
    changes: NodeArrays
    inverse: AbstractInverse


@rule
class TargetPropagation(Rule):
    """Propagate targets backwards through learned inverses, and learn from them.

        t_top = s_top - target_step dL/ds_top,     t_n = G_n(t_m)
        delta_n = (s_n - t_n) / target_step

    so that no gradient passes from node to node. L is the loss of one example, so
    targets do not depend on the batch size. Dividing by `target_step` gives the signal
    the units of the gradient (Lee et al. leave the factor to the learning rate).
    Parameters after the last target take the true gradient. The inverses are updated
    after the targets are computed, as in Lee et al.'s algorithm 1.

    The error of an inverse becomes part of its target, with weight 1/`target_step`:
    with inexact inverses this rule does not learn (digits: no better than untrained
    hidden layers). Use `DifferenceTargetPropagation`; this rule is provided for
    comparison.

    State: `InverseState`, trained inside each call.

    Args:
      target_step: the step size of the first target, along the negative gradient of the
        loss. With linear inverses and difference targets it has no effect.
      training: `NoiseReconstruction()`, `DifferenceReconstruction()` or any other
        `AbstractReconstruction`; None: inverses stay at their initial values.
      inverse_rate: the learning rate of the inverses (Adam).
      optimizer: any optax transformation in place of Adam; `inverse_rate` is then
        unused.
      inverse: None for the pull-back through a second copy phi of the weights, `G_n(u)
        = rho_n(phi^T u + c_n)`; or `(init, apply)`: `init(key, node, above)` makes
        weights from the shape of a node and, by name, of those above it,
        `apply(weights, above)` gives an array of the node's shape.
      first_target: `"output"`, or `"nodes"` for the nodes that the loss reads (the
        error then passes back through the weights of the readout).

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 2))}, jnp.ones((3, 2))
      >>> rule = apical.rules.TargetPropagation()
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> credit = learner(w, state, x)
      >>> credit.state.weights.feedback["b"].shape, list(credit.info.loss)
      ((2, 2), ['a'])

    Raises:
      ValueError: in `init`, if some weight cannot have a second copy; if there is not
        exactly one output; if no axis holds the examples alone; if the loss function
        has a custom reverse rule (which need not be linear); for plain targets, if a
        node is read both by the loss and by another node.

    Source: Bengio 2014, arXiv:1407.7906.
    """

    target_step: float = 0.1
    training: Any = NoiseReconstruction()
    inverse_rate: float = 1e-3
    optimizer: optax.GradientTransformation | None = static(default=None)
    inverse: Any = static(default=None)
    first_target: str = static(default="output")

    difference: ClassVar[bool] = False
    citation: ClassVar[str] = (
        "@article{bengio2014autoencoders, title={How Auto-Encoders Could Provide "
        "Credit Assignment in Deep Networks via Target Propagation}, author={Bengio, "
        "Yoshua}, journal={arXiv:1407.7906}, year={2014}}"
    )
    search_space: ClassVar[SearchSpace] = {
        "target_step": (0.01, 1.0, "log"),
        "inverse_rate": (1e-4, 1e-2, "log"),
    }

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """The needs of the chosen parts; targets of the last nodes pass the readout."""
        found = (
            "separate phases",
            "stored activities",
            "derivative of the nonlinearity",
            "update locking",
        )
        if self.training is not None:
            found = (*found, "second network")
        return found if self.first_target == "output" else ("weight transport", *found)

    def __post_init__(self) -> None:
        check_positive(self.target_step, "target_step")
        check_positive(self.inverse_rate, "inverse_rate", or_zero=True)
        check_choice(self.first_target, "first_target", ("output", "nodes"))
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")
        if self.inverse is not None:
            as_inverse_functions(self.inverse)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw the inverses."""
        self._check_training()
        circuit.require_nodes(or_flat=True)
        if not circuit.nodes:
            return ()
        sites = self._target_sites(circuit)
        own, noise = jax.random.split(fold_in_name(key, "apical.TargetPropagation"))
        if self.inverse is None:
            weights = self._draw_weights(circuit, own, params, args, sites)
        else:
            functions = as_inverse_functions(self.inverse)
            weights = GivenInverse.init(functions, circuit, own, sites)
        if not self.difference:
            _require_one_way(circuit, sites)
        _ = circuit.scale
        require_reduction(circuit, params, args)
        memory = (
            () if self.training is None else init_optimizer(self._optimizer, weights)
        )
        return InverseState(weights, memory, noise)

    def _check_training(self) -> None:
        # Not in `__post_init__`, which JAX also calls with leaves that are not numbers.
        training = self.training
        if training is None:
            return
        if not isinstance(training, AbstractReconstruction):
            raise TypeError(
                "`training` must be `apical.rules.NoiseReconstruction()`, `apical."
                "rules.DifferenceReconstruction()`, another `AbstractReconstruction` of"
                f" `apical.rules.tools` or None, not {training!r}."
            )
        if jax.tree_util.all_leaves([training]):
            raise TypeError(
                f"`{type(training).__name__}` is no pytree: write `@apical.rules.rule` "
                "above its class, which makes its numbers leaves."
            )
        check_whole(
            getattr(training, "steps", None), f"{type(training).__name__}.steps"
        )

    def _draw_weights(
        self,
        circuit: Circuit,
        key: jax.Array,
        params: Any,
        args: Any,
        sites: TargetSites,
    ) -> Any:
        circuit.require_feedback()
        if not circuit.linear_derivatives:
            raise ValueError(
                "The loss function has a reverse rule of its own (`jax.custom_vjp`), "
                "which need not be linear, and the default inverse is made of reverse "
                "rules. Pass `inverse=`, or use `jax.custom_jvp`."
            )
        weights = PullBackInverse.init(circuit, key, params, sites)
        inverse = PullBackInverse(circuit, params, args, sites, circuit.zeros())
        zeros = zeros_at(circuit, sites)
        # Raises for a unit whose nonlinearity cannot be evaluated separately.
        jax.eval_shape(inverse.back, weights, zeros)
        return weights

    def _target_sites(self, circuit: Circuit) -> TargetSites:
        if self.first_target == "output":
            circuit.require_output()
        return target_sites(circuit, self.first_target == "output")

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return adam(self.inverse_rate) if self.optimizer is None else self.optimizer

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Targets, then the local product at each node; then train the inverses."""
        if not circuit.nodes:
            return through_feedback(circuit, params, args, state)
        found = self._send_targets(circuit, params, state, args)
        held, delta = self._signals(circuit, found)
        grads = circuit.pull(params, args, held, delta, loss=1.0)
        state, info = self._train_inverses(circuit, params, state, args, found)
        return Credit(found.value, found.aux, grads, state, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Values, and (s - t) / target_step as each example's share of the loss."""
        if not circuit.nodes:
            return {}
        found = self._send_targets(circuit, params, state, args)
        values, delta = self._signals(circuit, found)
        return {n: Signal(v, v, delta[n]) for n, v in values.items()}

    def _send_targets(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> TargetPass:
        sites = self._target_sites(circuit)
        value, aux, values, steps = first_steps(
            circuit, params, args, sites, self.target_step
        )
        inverse = self._inverse(circuit, params, args, sites, values)
        changes = inverse.changes(state.weights, steps, self.difference)
        return TargetPass(value, aux, values, changes, inverse)

    def _inverse(
        self,
        circuit: Circuit,
        params: Any,
        args: Any,
        sites: TargetSites,
        values: NodeArrays,
    ) -> AbstractInverse:
        if self.inverse is None:
            return PullBackInverse(circuit, params, args, sites, values)
        return GivenInverse(as_inverse_functions(self.inverse), circuit, sites, values)

    def _signals(
        self, circuit: Circuit, found: TargetPass
    ) -> tuple[NodeArrays, NodeArrays]:
        """The values of the nodes, and their teaching signals."""
        share = -1 / (self.target_step * circuit.scale)
        held = {n: v for n, v in found.values.items() if n != OUTPUT}
        delta = {n: (share * found.changes[n]).astype(v.dtype) for n, v in held.items()}
        return held, delta

    def _train_inverses(
        self, circuit: Circuit, params: Any, state: Any, args: Any, found: TargetPass
    ) -> tuple[Any, Reconstruction]:
        """The state after training the inverses."""
        if self.training is None:
            return state, Reconstruction({})
        training, sites = self.training, self._target_sites(circuit)
        values = jax.tree.map(jax.lax.stop_gradient, found.values)
        forward = NodewiseForward(circuit, params, args, sites, values)

        def step(carried: Any) -> Any:
            weights, memory, key, _ = carried
            now, key = jax.random.split(key)

            def mean(weights: Any) -> Any:
                each = training.losses(found.inverse, weights, forward, now)
                totals = ((n, over_devices(x)) for n, x in each.items())
                each = {n: x / circuit.batch_size for n, x in totals}
                return sum(each.values(), jnp.zeros(())), each

            grads, each = jax.grad(mean, has_aux=True)(weights)
            moved = apply_optimizer(self._optimizer, grads, memory, weights)
            return (*moved, key, each)

        begin = (*state, {n: jnp.zeros(()) for n in sites.above})
        *after, each = repeat(circuit, step, begin, training.steps)
        return InverseState(*after), Reconstruction(each)


def _require_one_way(circuit: Circuit, sites: TargetSites) -> None:
    """Raise for plain targets if a node gets one from the loss and one from a node."""
    for name, reached in circuit.reach.items():
        ends_here = Edge(LOSS) in reached
        read_by_loss = ends_here and OUTPUT not in sites.above.get(name, ())
        if name in sites.above and read_by_loss:
            raise ValueError(
                f"Node {name!r} is read by the loss and by {sites.above[name][0]!r}: "
                "without differences their two targets cannot be joined. Use "
                "`DifferenceTargetPropagation`."
            )
