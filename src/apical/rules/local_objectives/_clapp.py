"""CLAPP: contrastive, local and predictive plasticity.

    u+ = <z_n(next), W_n c_n>,      u- = <z_n(other), W_n c_n>,      c_n = s_n(now)

    l_n = <max(0, 1 - u+)> + <max(0, 1 + u-)>

Each layer learns to predict its own next activity, and not its activity for another
input. No error passes from layer to layer. Illing, Ventura, Bellec & Gerstner 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit, mean_over_devices, require_reduction
from .._axis_maps import AxisMap, example_axis_maps, require_examples_of_real_nodes
from .._base import Credit, Rule, Signal, rule, static
from .._field_checks import check_transformation
from .._inner_optimizers import init_optimizer
from .._numerics import fold_in_name
from ._blocks import block_ends
from ._positive_negative_examples import Pair, make_arguments
from ._readouts import ReadoutState, draw_readouts, update_readouts

_NAME, _USE = "CLAPP", "prediction"


class ClappState(NamedTuple):
    """The weights of the predictions, and the key of the next pairs."""

    predictions: ReadoutState
    key: jax.Array


class Contrast(NamedTuple):
    """Diagnostics: the objective of each node; 0 if all margins are satisfied."""

    objective: dict[str, jax.Array]


@rule
class CLAPP(Rule):
    """Train each node to predict its next activity, but not that for other inputs.

        l_n = <max(0, 1 - z+ W c)> + <max(0, 1 + z- W c)>

    c is a node's activity for the batch, z+ its activity for `positive` (the next patch
    or time step, another augmentation), z- its activity for `negative`. Gradients pass
    through c, z+ and z-, and stop at the layer below. Labels are used only by the
    parameters after the last node, which take the true gradient.

    The paper presents a positive or a negative input, each with probability 1/2; here
    both are presented at every call, which gives twice the mean, as in its code. The
    paper has one W for each of several future time steps, and weights shared over
    positions; here there is one time step, and W connects all units of a node: `[units,
    units]`.

    State: for each node W, uniform within 1/sqrt(units) at first; the state of its
    optimiser; a key.

    Args:
      positive: `positive(key, *args)` returns the arguments after `params` for the next
        input.
      negative: `negative(key, *args)` returns the arguments for another input; None:
        those of `positive` for another example of the batch, at a random offset.
      optimizer: an optax transformation that trains W on the same objective; None: Adam
        at 1e-3. Its gradients are of a mean over examples.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.CLAPP(positive=lambda key, x, y: (x + 0.1, y))
      >>> learner, y = apical.value_and_grad(loss_fn, rule), jnp.zeros((3, 1))
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> state.predictions.weights["a"]["prediction"].shape
      (2, 2)

    Raises:
      ValueError: in `init`, without `positive`; if a node has no axis of examples; for
        a batch of one without `negative`.

    It learns the features that an input and its `positive` share, and fails if
    `positive` changes the features on which the label depends.

    Source: Illing, Ventura, Bellec & Gerstner 2021, NeurIPS.
    """

    positive: Pair | None = static(default=None)
    negative: Pair | None = static(default=None)
    optimizer: optax.GradientTransformation | None = static(default=None)

    citation: ClassVar[str] = (
        "@inproceedings{illing2021local, title={Local Plasticity Rules Can Learn Deep "
        "Representations Using Self-Supervised Contrastive Predictions}, author={"
        "Illing, Bernd and Ventura, Jean and Bellec, Guillaume and Gerstner, Wulfram}, "
        "booktitle={NeurIPS}, year={2021}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "global reward",
        "stored activities",
        "derivative of the nonlinearity",
        "second network",
    )

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise TypeError(f"`{name}` must be a function or None, not {given!r}.")
        if self.optimizer is not None:
            check_transformation(self.optimizer, "optimizer")

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return self.optimizer or optax.adam(1e-3)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw the weights of the predictions, and check the pairs."""
        circuit.require_layers_apart()
        require_reduction(circuit, params, args)
        found = self._axes(circuit)
        if self.positive is None:
            raise ValueError(
                "CLAPP compares each example with the next input: pass `positive`, a "
                "function of a key and the arguments after `params` that returns "
                "arguments like them, as `CLAPP(positive=lambda key, x, y: (later(x), "
                "y))`."
            )
        if self.negative is None and min(f.row_count for f in found.values()) < 2:
            raise ValueError(
                "CLAPP takes negatives from the other examples of the batch, and there "
                "is only one example. Pass `negative`, or use larger batches."
            )
        first, later = jax.random.split(fold_in_name(key, f"apical.{_NAME}"))
        self._others(circuit, params, args, first)
        shapes = {n: {_USE: (f.unit_count, f.unit_count)} for n, f in found.items()}
        weights = draw_readouts(first, shapes, {n: f.dtype for n, f in found.items()})
        return ClappState(
            ReadoutState(weights, init_optimizer(self._optimizer, weights)), later
        )

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One pass of the batch, one of positives, and one of `negative` if given."""
        now, later = jax.random.split(state.key)
        total = self._total(circuit, params, args, now)
        learned, _ = circuit.leaves.split(params)
        (grads, by_weights), (run, objectives) = jax.grad(
            total, argnums=(0, 1), has_aux=True
        )(learned, state.predictions.weights, {})
        after = update_readouts(circuit, self._optimizer, state.predictions, by_weights)
        return Credit(
            run.loss,
            run.aux,
            circuit.leaves.combine(grads),
            ClappState(after, later),
            Contrast(objectives),
        )

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The values for the batch, and the gradient of each node's objective."""
        now, _ = jax.random.split(state.key)
        total = self._total(circuit, params, args, now)
        learned, _ = circuit.leaves.split(params)
        teaching, (run, _) = jax.grad(total, argnums=2, has_aux=True)(
            learned, state.predictions.weights, circuit.zeros()
        )
        return {n: Signal(v, v, teaching[n]) for n, v in run.sites.items()}

    def _axes(self, circuit: Circuit) -> dict[str, AxisMap]:
        """The axes of each hidden node."""
        require_examples_of_real_nodes(circuit, _NAME)
        found = example_axis_maps(circuit)
        return {n: found[n] for n in block_ends(circuit, 1)}

    def _others(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """The positive and the negative arguments (None: positives, shifted)."""
        assert self.positive is not None
        one, two = jax.random.split(key)
        after = make_arguments(circuit, params, args, one, self.positive, "positive")
        if self.negative is None:
            return after, None
        return after, make_arguments(
            circuit, params, args, two, self.negative, "negative"
        )

    def _total(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """The loss and all objectives, as a function of leaves, W and offsets."""
        _, fixed = circuit.leaves.split(params)
        pairs, shift = jax.random.split(key)
        after, other = self._others(circuit, params, args, pairs)
        found = self._axes(circuit)
        # A mean over examples; times their number if the loss is a sum.
        times = circuit.batch_size / circuit.scale

        def tap(site: str, computed: Any, injected: Any) -> Any:
            value = computed if injected is None else computed + injected
            return jax.lax.stop_gradient(value) if site in found else value

        def tables(here: Any, given: Any, errors: Any) -> Any:
            run = circuit.run(here, given, tap=tap, inject=errors)
            return run, {
                n: axes.table(run.sites[n] + errors.get(n, 0))
                for n, axes in found.items()
            }

        def total(learned: Any, weights: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run, context = tables(here, args, errors)
            _, following = tables(here, after, {})
            others = _shifted(following, shift)
            if other is not None:
                _, others = tables(here, other, {})
            objectives = {}
            for n, c in context.items():
                predicted = c @ weights[n][_USE].T
                right = jnp.sum(following[n] * predicted, axis=-1)
                wrong = jnp.sum(others[n] * predicted, axis=-1)
                margins = jax.nn.relu(1 - right) + jax.nn.relu(1 + wrong)
                each = mean_over_devices(jnp.mean(margins, axis=1))
                objectives[n] = times * jnp.sum(each)
            return sum(objectives.values(), start=run.loss), (run, objectives)

        return total


def _shifted(tables: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """The rows of each table, shifted by one random distance."""
    rows = min(table.shape[1] for table in tables.values())
    distance = jax.random.randint(key, (), 1, max(rows, 2))
    return {n: jnp.roll(table, distance, axis=1) for n, table in tables.items()}
