"""Forward-forward: every layer tells right data from wrong by its own activity.

    G_n = sum_i s_i^2                          goodness, for each example
    l_n = <log(1 + e^(theta - G_n(right)))> + <log(1 + e^(G_n(wrong) - theta))>

and the layers above read s_n divided by its root mean square, so that the goodness of
one layer tells the next nothing. Hinton 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, Run, require_reduction
from .._axes import Layout, layouts
from .._base import Credit, Rule, SearchSpace, Signal, rule, static
from .._checks import check_choice, check_positive
from .._numerics import fold_in_name
from .._validation import target_of
from ._blocks import ends_of
from ._pairs import Overlay, Pair, labelled, made, require_labels, wrong_labels

_NAME = "ForwardForward"
# Below the mean square that an activity has to have for its direction to mean anything.
_NOTHING = 1e-8


class Goodness(NamedTuple):
    """Diagnostics: the mean goodness over threshold of each node.

    Attributes:
      right: on right data; above 1 once it is learned.
      wrong: on wrong data; below 1 once it is learned.
    """

    right: dict[str, jax.Array]
    wrong: dict[str, jax.Array]


@rule
class ForwardForward(Rule):
    """Raise the goodness of right data and lower that of wrong data, layer by layer.

        l_n = <softplus(theta - G_n(right))> + <softplus(G_n(wrong) - theta)>

    Nothing passes backwards from node to node, nor from step to step of a loop: each
    turn of it has an objective of its own. Goodness is that of all units, pixels and
    channels of an example; consumers of a node read it divided by the root mean square
    of the same. Units that are off learn nothing: no gradient passes where a rectifier
    is flat (some published code lets it pass).

    By default the target is laid over the first entries of the input (`input_argnums=`,
    `target=`), in wrong data another class, drawn anew at every call. `predict` then
    tries every class and returns the goodness of each, without that of the first
    node if there are more: `[examples, classes]`. With `positive` and `negative` it
    returns the output, as read from the normalised activities.

    Parameters after the last node take the true gradient, from a pass with no label
    (all classes alike) whose activities are normalised. `credit.value` is the loss of
    the plain network, which is not the one that is trained; two passes more.

    State: the key of the wrong labels to come.

    Args:
      threshold: theta for each unit: theta is this times the number of units. Published
        code has 1; nets that start with small activities then take long to get there.
      goodness: `"sum"` of squares; or `"mean"`, where theta is `threshold` itself.
      positive: `positive(key, *args)`, the arguments after `params` with right data;
        None: the target laid over the input.
      negative: `negative(key, *args)`, with wrong data; None: another class.
      overlay: `overlay(input, label)`, the input with a label `[examples, classes]`
        laid over it; None: over the first entries.

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
      ValueError: in `init`, without `input_argnums=` or `target=` where a label is laid
        over; where an example has no room for it; where a node has no axis of examples.

    It learns where labels stand in a flat input, slowly, and one layer after the other:
    while the first is learning, what a second makes of its normalised activity may well
    be lower for the right class. A convolution sees a label in one corner only: give it
    `overlay`, or right and wrong data.

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
                "Give both `positive` and `negative`, or neither: right data without "
                "wrong data teaches nothing."
            )

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Check that right and wrong data can be made, and look at the nodes."""
        circuit.require_layers_apart()
        require_reduction(circuit, params, args)
        self._layouts(circuit)
        if self.positive is None:
            require_labels(circuit, args, self.overlay, _NAME)
        own = fold_in_name(key, f"apical.{_NAME}")
        self._passes(circuit, params, args, own)
        return own

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """A pass of right data, one of wrong data, and one for the read-out."""
        now, later = jax.random.split(state)
        learned, _ = circuit.leaves.split(params)
        grads, (right, wrong) = jax.grad(
            self._total(circuit, params, args, now), has_aux=True
        )(learned, {})
        plain = circuit.run(params, args, sites=())
        info = Goodness(*(self._over_threshold(circuit, r) for r in (right, wrong)))
        return Credit(plain.loss, plain.aux, circuit.leaves.combine(grads), later, info)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """On right data: values, and the gradient of each node's objective there."""
        now, _ = jax.random.split(state)
        learned, _ = circuit.leaves.split(params)
        teaching, (right, _) = jax.grad(
            self._total(circuit, params, args, now), argnums=1, has_aux=True
        )(learned, circuit.zeros())
        return {n: Signal(v, v, teaching[n]) for n, v in right.sites.items()}

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The goodness of each class; or the output, where data come in pairs."""
        del state
        if self.positive is not None:
            run = self._run(circuit, params, args, {}, ("output",))
            return circuit.batch.split_outputs(run.sites["output"])
        examples, classes = circuit.output_shape.shape
        found = self._layouts(circuit)
        used = list(found)[1:] or list(found)

        def goodness(label: jax.Array) -> jax.Array:
            every = jnp.broadcast_to(label, (examples, classes))
            tried = labelled(circuit, args, self.overlay, every, _NAME)
            values = self._run(circuit, params, tried, {}).sites
            each = (self._goodness(found[n], values[n]).sum(axis=0) for n in used)
            return sum(each, start=jnp.zeros(()))

        labels = jnp.eye(classes, dtype=circuit.output_shape.dtype)
        return jax.vmap(goodness, out_axes=1)(labels)

    def _layouts(self, circuit: Circuit) -> dict[str, Layout]:
        found = layouts(circuit, _NAME)
        return {n: found[n] for n in ends_of(circuit, 1)}

    def _passes(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """Right data, wrong data, and what the read-out learns from."""
        if self.positive is not None and self.negative is not None:
            keys = jax.random.split(key)
            right = made(circuit, params, args, keys[0], self.positive, "positive")
            wrong = made(circuit, params, args, keys[1], self.negative, "negative")
            return right, wrong, args
        target = target_of(circuit, args, _NAME)
        none = jnp.full_like(target, 1 / target.shape[1])
        labels = (target, wrong_labels(key, target), none)
        return [labelled(circuit, args, self.overlay, each, _NAME) for each in labels]

    def _total(self, circuit: Circuit, params: Any, args: Any, key: Any) -> Any:
        """All objectives and the read-out's loss, of leaves and of errors."""
        _, fixed = circuit.leaves.split(params)
        right, wrong, readout = self._passes(circuit, params, args, key)
        found = self._layouts(circuit)
        # A mean over examples; of a loss that is a sum, one for each of them.
        times = circuit.batch_size / circuit.scale

        def total(learned: Any, errors: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            runs = (
                self._run(circuit, here, right, errors),
                self._run(circuit, here, wrong, {}),
            )
            taught = self._run(circuit, here, readout, {}).loss
            for run, sign in zip(runs, (-1.0, 1.0), strict=True):
                for n, layout in found.items():
                    value = run.sites[n] + (errors.get(n, 0) if sign < 0 else 0)
                    over = self._goodness(layout, value) - self._theta(layout)
                    each = jnp.mean(jax.nn.softplus(sign * over), axis=1)
                    taught += times * jnp.sum(each)
            return taught, runs

        return total

    def _run(
        self, circuit: Circuit, params: Any, args: Any, errors: Any, sites: Any = None
    ) -> Run:
        """One evaluation in which consumers read normalised activities."""
        found = self._layouts(circuit)

        def tap(site: str, computed: Any, injected: Any) -> Any:
            if site not in found:
                return computed if injected is None else computed + injected
            layout = found[site]
            value = jax.lax.stop_gradient(computed).reshape(layout.inside)
            square = jnp.mean(jnp.square(value), axis=layout.own_inside, keepdims=True)
            normal = value * jax.lax.rsqrt(square + _NOTHING)
            return normal.reshape(computed.shape)

        names = [n.name for n in circuit.nodes]
        sites = names if sites is None else [*names, *sites]
        return circuit.run(params, args, tap=tap, inject=errors, sites=sites)

    def _goodness(self, layout: Layout, value: jax.Array) -> jax.Array:
        """For each turn and example: `[turns, examples]`."""
        squares = jnp.square(layout.table(value))
        return squares.sum(axis=-1) if self.goodness == "sum" else squares.mean(axis=-1)

    def _theta(self, layout: Layout) -> Any:
        return self.threshold * (layout.units if self.goodness == "sum" else 1)

    def _over_threshold(self, circuit: Circuit, run: Run) -> dict[str, jax.Array]:
        return {
            n: jnp.mean(self._goodness(layout, run.sites[n])) / self._theta(layout)
            for n, layout in self._layouts(circuit).items()
        }
