"""CLAPP: contrastive, local and predictive plasticity.

    u+ = <z_n(next), W_n c_n>,      u- = <z_n(other), W_n c_n>,      c_n = s_n(now)

    l_n = <max(0, 1 - u+)> + <max(0, 1 + u-)>

A layer predicts its own next activity, and that of something else it predicts not. No
layer hears of another's error. Illing, Ventura, Bellec & Gerstner 2021.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...circuit import Circuit, require_reduction
from .._axes import Layout, layouts
from .._base import Credit, Rule, Signal, rule, static
from .._checks import check_transformation
from .._numerics import fold_in_name
from .._optimizers import begun
from ._blocks import ReadoutState, draw_readouts, ends_of, moved
from ._pairs import Pair, made

_NAME, _USE = "CLAPP", "prediction"


class ClappState(NamedTuple):
    """The predictions' weights, and the key of the pairs to come."""

    predictions: ReadoutState
    key: jax.Array


class Contrast(NamedTuple):
    """Diagnostics: the objective of each node; 0 where all margins are kept."""

    objective: dict[str, jax.Array]


@rule
class CLAPP(Rule):
    """Let each node predict what it will see next, and not what it would see elsewhere.

        l_n = <max(0, 1 - z+ W c)> + <max(0, 1 + z- W c)>

    c is a node's activity on the batch as it is, z+ that on `positive` (the next patch,
    the next moment, the same in another light), z- that on `negative`. Gradients enter
    c, z+ and z-, and end at the layer below. No label is used: parameters after the
    last node take the true gradient, everything below learns without it.

    The paper shows either what comes next or something else, each half of the time;
    here both at every call, which is twice its mean, as in its code. It has one W for
    several moments ahead, and weights shared by places; here one moment, and a W of
    all units of a node: `[units, units]`.

    State: for each node W, uniform within 1/sqrt(units); its optimiser's; a key.

    Args:
      positive: `positive(key, *args)`, the arguments after `params` with what comes
        next.
      negative: `negative(key, *args)`, with something else; None: what comes next for
        another example of the batch, one drawn distance away.
      optimizer: what W learns by, along the same objective, an optax transformation;
        None: Adam at 1e-3. Its gradients are those of a mean over examples.

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
      ValueError: in `init`, without `positive`; where a node has no axis of examples;
        for a batch of one without `negative`.

    It learns features that what belongs together shares: where `positive` changes what
    the label depends on, it fails.

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
        """Draw the predictions' weights, and look at the pairs."""
        circuit.require_layers_apart()
        require_reduction(circuit, params, args)
        found = self._layouts(circuit)
        if self.positive is None:
            raise ValueError(
                "CLAPP compares each example with what comes next: give `positive`, a "
                "function of a key and the arguments after `params` that returns "
                "arguments like them, as `CLAPP(positive=lambda key, x, y: (later(x), "
                "y))`."
            )
        if self.negative is None and min(f.rows for f in found.values()) < 2:
            raise ValueError(
                "CLAPP takes something else from another example of the batch, and "
                "there is only one. Give `negative`, or larger batches."
            )
        first, later = jax.random.split(fold_in_name(key, f"apical.{_NAME}"))
        self._others(circuit, params, args, first)
        shapes = {n: {_USE: (f.units, f.units)} for n, f in found.items()}
        weights = draw_readouts(first, shapes, {n: f.dtype for n, f in found.items()})
        return ClappState(ReadoutState(weights, begun(self._optimizer, weights)), later)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """A pass of the batch, one of what comes next, and perhaps one of others."""
        now, later = jax.random.split(state.key)
        total = self._total(circuit, params, args, now)
        learned, _ = circuit.leaves.split(params)
        (grads, by_weights), (run, objectives) = jax.grad(
            total, argnums=(0, 1), has_aux=True
        )(learned, state.predictions.weights, {})
        after = moved(circuit, self._optimizer, state.predictions, by_weights)
        return Credit(
            run.loss,
            run.aux,
            circuit.leaves.combine(grads),
            ClappState(after, later),
            Contrast(objectives),
        )

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """On the batch as it is: the gradient of each node's objective there."""
        now, _ = jax.random.split(state.key)
        total = self._total(circuit, params, args, now)
        learned, _ = circuit.leaves.split(params)
        teaching, (run, _) = jax.grad(total, argnums=2, has_aux=True)(
            learned, state.predictions.weights, circuit.zeros()
        )
        return {n: Signal(v, v, teaching[n]) for n, v in run.sites.items()}

    def _layouts(self, circuit: Circuit) -> dict[str, Layout]:
        found = layouts(circuit, _NAME)
        return {n: found[n] for n in ends_of(circuit, 1)}

    def _others(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """What comes next, and something else (None: it comes next for another)."""
        assert self.positive is not None
        one, two = jax.random.split(key)
        after = made(circuit, params, args, one, self.positive, "positive")
        if self.negative is None:
            return after, None
        return after, made(circuit, params, args, two, self.negative, "negative")

    def _total(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """The loss and all objectives, of leaves, W and errors on the batch."""
        _, fixed = circuit.leaves.split(params)
        pairs, shift = jax.random.split(key)
        after, other = self._others(circuit, params, args, pairs)
        found = self._layouts(circuit)
        # A mean over examples; of a loss that is a sum, one for each of them.
        times = circuit.batch_size / circuit.scale

        def tap(site: str, computed: Any, injected: Any) -> Any:
            value = computed if injected is None else computed + injected
            return jax.lax.stop_gradient(value) if site in found else value

        def tables(here: Any, given: Any, errors: Any) -> Any:
            run = circuit.run(here, given, tap=tap, inject=errors)
            return run, {
                n: layout.table(run.sites[n] + errors.get(n, 0))
                for n, layout in found.items()
            }

        def total(learned: Any, weights: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            run, context = tables(here, args, errors)
            _, following = tables(here, after, {})
            others = _elsewhere(following, shift)
            if other is not None:
                _, others = tables(here, other, {})
            objectives = {}
            for n, c in context.items():
                predicted = c @ weights[n][_USE].T
                right = jnp.sum(following[n] * predicted, axis=-1)
                wrong = jnp.sum(others[n] * predicted, axis=-1)
                margins = jax.nn.relu(1 - right) + jax.nn.relu(1 + wrong)
                objectives[n] = times * jnp.sum(jnp.mean(margins, axis=1))
            return sum(objectives.values(), start=run.loss), (run, objectives)

        return total


def _elsewhere(tables: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Each row in another's place: all moved on by one distance, drawn."""
    rows = min(table.shape[1] for table in tables.values())
    distance = jax.random.randint(key, (), 1, max(rows, 2))
    return {n: jnp.roll(table, distance, axis=1) for n, table in tables.items()}
