"""Forward-forward: each layer separates positive from negative data by its goodness.

    G_n = sum_i s_i^2                          goodness, for each example
    l_n = <log(1 + e^(theta - G_n(right)))> + <log(1 + e^(G_n(wrong) - theta))>

The next layer reads s_n divided by its root mean square, so that it cannot use the
goodness of the layer below. Hinton 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, Run, mean_over_devices, require_reduction
from .._axis_maps import AxisMap, example_axis_maps, require_examples_of_real_nodes
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._call_checks import target_of
from .._field_checks import check_choice, check_positive
from .._numerics import fold_in_name
from ._blocks import block_ends
from ._positive_negative_examples import (
    Overlay,
    Pair,
    labelled,
    make_arguments,
    require_labels,
    wrong_labels,
)

_NAME = "ForwardForward"
# Added to the mean square of an activity before normalisation.
_SMALLEST_SQUARE = 1e-8


class Goodness(NamedTuple):
    """Diagnostics: the mean goodness of each node, divided by the threshold.

    Attributes:
      right: for positive data; above 1 after learning.
      wrong: for negative data; below 1 after learning.
    """

    right: dict[str, jax.Array]
    wrong: dict[str, jax.Array]


@rule
class ForwardForward(Rule):
    """Raise the goodness of positive data and lower that of negative data, per layer.

        l_n = <softplus(theta - G_n(right))> + <softplus(G_n(wrong) - theta)>

    No signal passes backwards from node to node, nor from step to step of a loop: each
    turn of a loop has a separate objective. Goodness is over all units, pixels and
    channels of an example; consumers of a node read its value divided by the root mean
    square over the same entries. Inactive ReLU units do not learn: their gradient is 0
    (some published code passes a gradient).

    By default the label of the target is written over the first entries of the input
    (`input_argnums=`, `target=`); in negative data it is another class, drawn anew at
    every call. `predict` then evaluates every class and returns the goodness of each:
    `[examples, classes]`, summed over all nodes but the first (if there are more). With
    `positive` and `negative` it returns the output, computed from the normalised
    activities.

    Parameters after the last node take the true gradient, in a pass with a neutral
    label (all classes equal) and normalised activities. `credit.value` is the loss of
    the network without normalisation, which is not the trained one; these are two
    further passes.

    State: the key of the next negative labels.

    Args:
      threshold: theta per unit: theta is this times the number of units. Published code
        uses 1; networks with small initial activities then take long to reach it.
      goodness: `"sum"` of squares; or `"mean"`, where theta is `threshold` itself.
      positive: `positive(key, *args)` returns the arguments after `params` for positive
        data; None: the input with the label of the target.
      negative: `negative(key, *args)` returns the arguments for negative data; None:
        the input with the label of another class.
      overlay: `overlay(input, label)` returns the input with labels
        `[examples, classes]` written over it; None: over its first entries.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jax.nn.relu(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> w, x = {"a": jnp.eye(4), "b": jnp.ones((4, 2))}, jnp.ones((3, 4))
      >>> y, given = jax.nn.one_hot(jnp.arange(3) % 2, 2), {"target": lambda x, y: y}
      >>> rule = apical.rules.ForwardForward()
      >>> learner = apical.value_and_grad(loss_fn, rule, input_argnums=0, **given)
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> learner.predict(w, state, x, y).shape  # the goodness of both classes
      (3, 2)

    Raises:
      ValueError: in `init`, without `input_argnums=` or `target=` if labels are written
        over the input; if an example has no room for a label; if a node has no axis of
        examples.

    With labels in a flat input it learns slowly, one layer after the other: while
    the first layer is learning, the goodness of the second may be lower for the right
    class. A convolution reads such a label in one corner only: pass `overlay`, or
    `positive` and `negative`.

    Source: Hinton 2022, arXiv:2212.13345.
    """

    threshold: float = 0.3
    goodness: str = static(default="sum")
    positive: Pair | None = static(default=None)
    negative: Pair | None = static(default=None)
    overlay: Overlay | None = static(default=None)

    citation: ClassVar[str] = (
        "@misc{hinton2022forward, title={The Forward-Forward Algorithm: Some "
        "Preliminary Investigations}, author={Hinton, Geoffrey}, year={2022}, "
        "eprint={2212.13345}, archivePrefix={arXiv}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "global reward",
        "derivative of the nonlinearity",
    )
    search_space: ClassVar[SearchSpace] = {"threshold": (0.1, 10.0, "log")}

    def __post_init__(self) -> None:
        check_positive(self.threshold, "threshold")
        check_choice(self.goodness, "goodness", ("sum", "mean"))
        for name in ("positive", "negative", "overlay"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise TypeError(f"`{name}` must be a function or None, not {given!r}.")
        if (self.positive is None) != (self.negative is None):
            raise ValueError(
                "Pass both `positive` and `negative`, or neither: one of them alone "
                "is not a contrast."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check the nodes, and the functions that make positive and negative data."""
        circuit.require_layers_apart()
        require_reduction(circuit, params, args)
        self._axes(circuit)
        if self.positive is None:
            require_labels(circuit, args, self.overlay, _NAME)
        own = fold_in_name(key, f"apical.{_NAME}")
        self._passes(circuit, params, args, own)
        return own

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One pass of positive data, one of negative data, and one for the read-out."""
        now, later = jax.random.split(state)
        learned, _ = circuit.leaves.split(params)
        grads, (right, wrong) = jax.grad(
            self._total(circuit, params, args, now), has_aux=True
        )(learned, {})
        plain = circuit.run(params, args, sites=())
        info = Goodness(*(self._over_threshold(circuit, r) for r in (right, wrong)))
        return Credit(plain.loss, plain.aux, circuit.leaves.combine(grads), later, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """For positive data: values, and the gradient of each node's objective."""
        now, _ = jax.random.split(state)
        learned, _ = circuit.leaves.split(params)
        teaching, (right, _) = jax.grad(
            self._total(circuit, params, args, now), argnums=1, has_aux=True
        )(learned, circuit.zeros())
        return {n: Signal(v, v, teaching[n]) for n, v in right.sites.items()}

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The goodness of each class; or the output, with `positive` and `negative`."""
        del state
        if self.positive is not None:
            run = self._run(circuit, params, args, {}, ("output",))
            return circuit.batch.split_outputs(run.sites["output"])
        examples, classes = circuit.output_shape.shape
        found = self._axes(circuit)
        used = list(found)[1:] or list(found)

        def goodness(label: jax.Array) -> jax.Array:
            every = jnp.broadcast_to(label, (examples, classes))
            tried = labelled(circuit, args, self.overlay, every, _NAME)
            values = self._run(circuit, params, tried, {}).sites
            each = (self._goodness(found[n], values[n]).sum(axis=0) for n in used)
            return sum(each, start=jnp.zeros(()))

        labels = jnp.eye(classes, dtype=circuit.output_shape.dtype)
        return jax.vmap(goodness, out_axes=1)(labels)

    def _axes(self, circuit: Circuit) -> dict[str, AxisMap]:
        """The axes of each hidden node."""
        require_examples_of_real_nodes(circuit, _NAME)
        found = example_axis_maps(circuit)
        return {n: found[n] for n in block_ends(circuit, 1)}

    def _passes(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """The arguments of positive data, of negative data, and of the read-out."""
        if self.positive is not None and self.negative is not None:
            keys = jax.random.split(key)
            right = make_arguments(
                circuit, params, args, keys[0], self.positive, "positive"
            )
            wrong = make_arguments(
                circuit, params, args, keys[1], self.negative, "negative"
            )
            return right, wrong, args
        target = target_of(circuit, args, _NAME)
        none = jnp.full_like(target, 1 / target.shape[1])
        labels = (target, wrong_labels(key, target), none)
        return [labelled(circuit, args, self.overlay, each, _NAME) for each in labels]

    def _total(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """All objectives plus the loss, as a function of leaves and offsets."""
        _, fixed = circuit.leaves.split(params)
        right, wrong, readout = self._passes(circuit, params, args, key)
        found = self._axes(circuit)
        # A mean over examples; times their number if the loss is a sum.
        times = circuit.batch_size / circuit.scale

        def total(learned: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            runs = (
                self._run(circuit, here, right, errors),
                self._run(circuit, here, wrong, {}),
            )
            objective = self._run(circuit, here, readout, {}).loss
            for run, sign in zip(runs, (-1.0, 1.0), strict=True):
                for n, axes in found.items():
                    value = run.sites[n] + (errors.get(n, 0) if sign < 0 else 0)
                    over = self._goodness(axes, value) - self._theta(axes)
                    each = jnp.mean(jax.nn.softplus(sign * over), axis=1)
                    objective += times * jnp.sum(mean_over_devices(each))
            return objective, runs

        return total

    def _run(
        self, circuit: Circuit, params: Any, args: Any, errors: Any, sites: Any = None
    ) -> Run:
        """One evaluation in which consumers read normalised activities."""
        found = self._axes(circuit)

        def tap(site: str, computed: Any, injected: Any) -> Any:
            if site not in found:
                return computed if injected is None else computed + injected
            axes = found[site]
            value = jax.lax.stop_gradient(computed).reshape(axes.shape_in_loop)
            square = jnp.mean(jnp.square(value), axis=axes.units_in_loop, keepdims=True)
            normal = value * jax.lax.rsqrt(square + _SMALLEST_SQUARE)
            return normal.reshape(computed.shape)

        names = [n.name for n in circuit.nodes]
        sites = names if sites is None else [*names, *sites]
        return circuit.run(params, args, tap=tap, inject=errors, sites=sites)

    def _goodness(self, axes: AxisMap, value: jax.Array) -> jax.Array:
        """The goodness of each turn and example: `[turns, examples]`."""
        squares = jnp.square(axes.table(value))
        return squares.sum(axis=-1) if self.goodness == "sum" else squares.mean(axis=-1)

    def _theta(self, axes: AxisMap) -> Any:
        return self.threshold * (axes.unit_count if self.goodness == "sum" else 1)

    def _over_threshold(self, circuit: Circuit, run: Run) -> dict[str, jax.Array]:
        return {
            n: mean_over_devices(jnp.mean(self._goodness(axes, run.sites[n])))
            / self._theta(axes)
            for n, axes in self._axes(circuit).items()
        }
