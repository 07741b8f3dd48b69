"""Synthetic gradients: each node learns from the gradient predicted by its critic.

    delta_n = M_n(s_n),           dW_n = the pull-back of delta_n
    M_n learns from               |M_n(s_n) - g_n|^2 / 2,
    g_n = dL/ds_n + sum_m (ds_m/ds_n)^T M_m(s_m),      every node held

with m the nodes that n reaches directly: the target is the gradient, bootstrapped from
the next critics, and the true gradient at the last nodes. Jaderberg et al. 2017.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit, automatic, inner, require_reduction
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._call_checks import target_of
from .._field_checks import check_positive, check_transformation
from .._inner_optimizers import adam, apply_optimizer, init_optimizer
from .._numerics import NodeArrays, fold_in_name, squared_norm, upcast
from ._critic import Critic, as_critic, weights_for
from ._critic_inputs import CriticInputs, critic_inputs


class CriticState(NamedTuple):
    """The weights of the critics, and the state of their optimiser."""

    weights: Any
    optimizer: Any


class Criticism(NamedTuple):
    """Diagnostics of the critics.

    Attributes:
      loss: for each node, half the squared distance of the critic's prediction to its
        target, averaged over the examples, in units of one example's gradient.
    """

    loss: dict[str, jax.Array]


class CriticPass(NamedTuple):
    """One evaluation, the predictions of the critics, and their targets."""

    value: jax.Array
    aux: Any
    grads: list[jax.Array]
    values: NodeArrays
    predicted: NodeArrays
    targets: NodeArrays


@rule
class SyntheticGradients(Rule):
    """Train each node by a critic that predicts the gradient from the node's value.

        delta_n = M_n(s_n),     M_n <- descent of |M_n(s_n) - g_n|^2 / 2

    M_n is in units of one example's gradient, so that its rate does not depend on the
    batch size. The update of a node depends only on its own critic, so layers below
    need not wait for those above (see `unlocked`). Parameters after the last node take
    the true gradient. All critics are trained together, after their predictions are
    used.

    A node in a loop has one critic for all steps, bootstrapped from step to step. For
    windows of a long sequence see `WindowedSyntheticGradients`.

    The linear critic of a layer of n units has n^2 weights: between layers of the same
    width it adds two matrix products to the three of backpropagation. Critics start at
    zero, so a layer learns only after the critics above it: in deep networks learning
    starts late. Critics must learn faster than the network. They are more accurate if
    they read the label (`conditioned`).

    State: `CriticState`: the weights of each node's critic; the optimiser's state.

    Args:
      critic_rate: the learning rate of the critics (Adam).
      critic: `Critic()` (linear, initially zero), or a pair of functions `(init,
        apply)`: `init(key, shape, units)` makes weights for inputs of this shape, units
        last, `apply(weights, inputs)` returns `units` numbers at each position.
      optimizer: an optax transformation in place of Adam; `critic_rate` is then unused.
      conditioned: whether critics read the target of the output too (`target=`).

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.SyntheticGradients(critic_rate=0.1)
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> for _ in range(200):
      ...     credit = learner(w, state, x)
      ...     state = credit.state
      >>> bool(jnp.allclose(credit.grads["a"], jax.grad(loss_fn)(w, x)["a"], rtol=0.01))
      True

    Raises:
      ValueError: in `init`, if nodes are not separated; if no axis holds the examples
        alone; with `conditioned`, without `target=`.

    Source: Jaderberg, Czarnecki, Osindero, Vinyals, Graves, Silver & Kavukcuoglu 2017,
    ICML (DNI, and conditioned: cDNI).
    """

    critic_rate: float = 1e-2
    critic: Any = static(default=Critic())
    optimizer: optax.GradientTransformation | None = static(default=None)
    conditioned: bool = static(default=False)

    citation: ClassVar[str] = (
        "@inproceedings{jaderberg2017decoupled, title={Decoupled Neural Interfaces "
        "using Synthetic Gradients}, author={Jaderberg, Max and Czarnecki, Wojciech "
        "Marian and Osindero, Simon and Vinyals, Oriol and Graves, Alex and Silver, "
        "David and Kavukcuoglu, Koray}, booktitle={ICML}, year={2017}}"
    )
    search_space: ClassVar[SearchSpace] = {"critic_rate": (1e-4, 1e-1, "log")}

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """Critics are trained after the call by a gradient that crosses one layer."""
        found = (
            "weight transport",
            "derivative of the nonlinearity",
            "signed error units",
            "second network",
        )
        return (*found, "labels in every layer") if self.conditioned else found

    def __post_init__(self) -> None:
        check_positive(self.critic_rate, "critic_rate", or_zero=True)
        as_critic(self.critic)
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Initialise the critics."""
        circuit.require_nodes(or_flat=True)
        require_reduction(circuit, params, args)
        label, critic = self._label(circuit, args), as_critic(self.critic)
        own, weights = fold_in_name(key, "apical.SyntheticGradients"), {}
        shapes = {n.name: jax.ShapeDtypeStruct(n.shape, n.dtype) for n in circuit.nodes}
        for number, read in enumerate(self._inputs(circuit).values()):
            shape = shapes[read.node]
            inputs = jax.eval_shape(read.inputs, shape, label)
            where = f"the node {read.node!r}"
            key = jax.random.fold_in(own, number)
            weights[read.node] = weights_for(critic, key, inputs, read.units, where)
        return CriticState(weights, init_optimizer(self._optimizer, weights))

    def _inputs(self, circuit: Circuit) -> dict[str, CriticInputs]:
        if self.conditioned:
            circuit.require_output()
        return critic_inputs(circuit, self.conditioned)

    def _label(self, circuit: Circuit, args: Any) -> jax.Array | None:
        if not self.conditioned:
            return None
        return target_of(circuit, args, "SyntheticGradients(conditioned=True)")

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return adam(self.critic_rate) if self.optimizer is None else self.optimizer

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """Gradients from the predictions of the critics; then train the critics."""
        found, back = self._evaluate(circuit, params, state, args)
        off = jax.tree.map(jnp.subtract, found.predicted, found.targets)
        share = 1 / circuit.batch_size
        (grads,) = back(jax.tree.map(lambda e: (share * e).astype(e.dtype), off))
        moved = apply_optimizer(self._optimizer, grads, state.optimizer, state.weights)
        loss = {n: share * squared_norm(e) / 2 for n, e in off.items()}
        grads = circuit.leaves.combine(found.grads)
        return Credit(
            found.value, found.aux, grads, CriticState(*moved), Criticism(loss)
        )

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The predictions of the critics, as each example's share of the loss."""
        found, _ = self._evaluate(circuit, params, state, args)
        shares = self._shares(circuit, found.predicted)
        return {n: Signal(v, v, shares[n]) for n, v in found.values.items()}

    def unlocked(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        nodes: Collection[str],
    ) -> Any:
        """The gradients of the parameters of these nodes, computed without later ones.

        They equal those of `credit`, and depend only on the critics of these nodes:
        under `jax.jit` nothing after the nodes is computed. All other gradients are
        zero.

        Args:
          circuit: `learner.circuit(params, *args)`.
          params: the parameters.
          state: this rule's state.
          args: the arguments after the parameters.
          nodes: the names of the nodes.

        Example:
          >>> import jax, jax.numpy as jnp, apical
          >>> def loss_fn(w, x):
          ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
          >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
          >>> rule = apical.rules.SyntheticGradients()
          >>> learner = apical.value_and_grad(loss_fn, rule)
          >>> state = learner.init(jax.random.key(0), w, x)
          >>> circuit = learner.circuit(w, x)
          >>> below = rule.unlocked(circuit, w, state, (x,), ["a"])
          >>> bool(jnp.array_equal(below["a"], learner(w, state, x).grads["a"]))
          True
        """
        known = [n.name for n in circuit.nodes]
        if unknown := sorted(set(nodes) - set(known)):
            raise ValueError(f"`nodes` names {unknown[0]!r}; the nodes are {known}.")
        label, (learned, fixed) = (
            self._label(circuit, args),
            circuit.leaves.split(params),
        )

        # Not `circuit.pull`, which computes the loss even if its weight is 0.
        def product(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            values = circuit.run(here, args, tap="stop").sites
            held = jax.tree.map(jax.lax.stop_gradient, values)
            predicted = self._predict(circuit, state.weights, held, label, nodes)
            shares = self._shares(circuit, predicted).items()
            return sum(inner(share, values[n]) for n, share in shares)

        return circuit.leaves.combine(jax.grad(product)(learned))

    def _evaluate(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> tuple[CriticPass, Any]:
        """One evaluation, and the transpose from critic errors to critic weights."""
        learned, fixed = circuit.leaves.split(params)

        def network(learned: Any, errors: NodeArrays) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run = circuit.run(here, args, tap="hold", inject=errors)
            return (run.loss, run.sites), run.aux

        (loss, values), transposed, aux = jax.vjp(
            network, learned, circuit.zeros(), has_aux=True
        )
        label = self._label(circuit, args)
        predicted, back = jax.vjp(
            lambda w: self._predict(circuit, w, values, label, values), state.weights
        )
        shares = self._shares(circuit, predicted)
        grads, slopes = transposed((jnp.ones_like(loss), shares))
        scale = circuit.scale
        targets = {n: (scale * upcast(s)).astype(s.dtype) for n, s in slopes.items()}
        return CriticPass(loss, aux, grads, values, predicted, targets), back

    def _predict(
        self,
        circuit: Circuit,
        weights: Any,
        values: NodeArrays,
        label: jax.Array | None,
        nodes: Collection[str],
    ) -> NodeArrays:
        """M_n(s_n), of the node's shape."""
        critic, predicted = as_critic(self.critic), {}
        for name, read in self._inputs(circuit).items():
            if name not in nodes:
                continue

            def predict(
                value: jax.Array, weights: Any, label: Any, read: Any = read
            ) -> jax.Array:
                output = critic.apply(weights, read.inputs(value, label))
                return read.gradient(output).astype(value.dtype)

            run = automatic(predict, lambda value, *_: value)
            predicted[name] = run(values[name], weights[name], label)
        return predicted

    def _shares(self, circuit: Circuit, predicted: NodeArrays) -> NodeArrays:
        """Gradients of single examples, scaled to their shares of the loss."""
        return {
            n: (upcast(m) / circuit.scale).astype(m.dtype) for n, m in predicted.items()
        }
