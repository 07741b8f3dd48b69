"""PEPITA: a second forward pass, whose input is modulated by the error.

    h_l = rho(W_l h_{l-1}),         h_0 = x                    first pass
    h~_l = rho(W_l h~_{l-1}),       h~_0 = x + F e             second pass

    dW_l = (h_l - h~_l) h~_{l-1}^T,         dW_L = e~ h~_{L-1}^T

with e and e~ the error of the output in the two passes, and F fixed and random.
Dellaferrera & Kreiman 2022.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...circuit import OUTPUT, Circuit, Run, drive_of, require_reduction, zeros
from .._base import Credit, SearchSpace, Signal, rule
from .._call_checks import inputs_of, require_inputs_reach_nodes, with_inputs
from .._field_checks import check_positive
from .._numerics import fold_in_name, upcast
from ..feedback._connection_masks import ConnectedRule, FeedbackState
from ._positive_negative_examples import example_axis

_NAME = "PEPITA"


class Passes(NamedTuple):
    """The two passes, and the arguments of the second."""

    first: Run
    second: Run
    args: tuple[Any, ...]
    delta: dict[str, jax.Array]


@rule
class PEPITA(ConnectedRule):
    """Add the projected error to the input, and learn from the changes of activity.

        dW_l = (h_l - h~_l) h~_{l-1}^T,      h~: the activities at x + F e

    e is the gradient of an example's loss at the output: y - y* for half a squared
    error, softmax - one-hot for a cross-entropy. There is no backward pass and no
    derivative of a nonlinearity: the change of a unit's value replaces the gradient at
    its drive. A node that is not a nonlinearity of one activity (a residual stream, an
    LSTM's cell) has no drive; the change of its value is pulled back instead.
    Parameters after the last node take the gradient of the loss at the output of the
    second pass, as in the published code; if the loss reads the input, it reads the
    original one.

    State: `FeedbackState(feedback, connections)`: F, for each input a matrix
    `[entries, outputs]` of one example, uniform within scale sqrt(6 / entries), as in
    the published code. The error of an example is that of its whole output, with all
    steps.

    Args:
      scale: the size of F.
      removed_forward: the fraction of forward connections that are removed: their
        weights act as 0 and have gradient 0.
      removed_backward: the fraction of backward connections that are removed.
      backward_noise: the standard deviation of the noise in feedback weights, drawn
        anew at every call, relative to their size.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x, y):
      ...     return jnp.mean((jax.nn.relu(x @ w["a"]) @ w["b"] - y) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule, y = apical.rules.PEPITA(scale=1.0), jnp.zeros((3, 1))
      >>> learner = apical.value_and_grad(loss_fn, rule, input_argnums=0)
      >>> state = learner.init(jax.random.key(0), w, x, y)
      >>> state.feedback[0].shape
      (2, 1)
      >>> given = [jnp.array([[0.1], [0.0]])]  # e is 4: the first input becomes 1.4
      >>> state = state._replace(feedback=given)
      >>> grads = learner(w, state, x, y).grads["a"]
      >>> [round(float(g), 2) for g in grads[0]]  # (1 - 1.4) 1.4, and no change
      [-0.56, 0.0]

    Raises:
      ValueError: in `init`, without `input_argnums=`, or if that is not an array of
        floating-point numbers; if there is no output; if no axis holds the examples
        alone.

    It trains networks of one or two hidden layers. The changes of upper layers depend
    on those of lower ones, and nothing makes them reduce the loss: with five hidden
    layers (digits, 64 units each) it stayed at chance, below untrained hidden layers.

    Source: Dellaferrera & Kreiman 2022, ICML.
    """

    scale: float = 0.05

    citation: ClassVar[str] = (
        "@inproceedings{dellaferrera2022error, title={Error-driven Input Modulation: "
        "Solving the Credit Assignment Problem without a Backward Pass}, author={"
        "Dellaferrera, Giorgia and Kreiman, Gabriel}, booktitle={ICML}, year={2022}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "separate phases",
        "global error",
        "stored activities",
        "signed error units",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {"scale": (1e-3, 1.0, "log")}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.scale, "scale")

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Draw F for each array of the input."""
        circuit.require_layers_apart()
        circuit.require_output()
        require_reduction(circuit, params, args)
        _ = circuit.example_axes  # raises if no axis holds the examples alone
        outputs = _by_example(circuit, circuit.output_shape, OUTPUT)[1]
        found, drawn = _inputs(circuit, args), []
        require_inputs_reach_nodes(circuit, _NAME)
        keys = jax.random.split(fold_in_name(key, f"apical.{_NAME}"), len(found))
        for own, (leaf, axis) in zip(keys, found, strict=True):
            entries = leaf.size // leaf.shape[axis]
            limit = (6 / entries) ** 0.5
            shape, dtype = (entries, outputs), jnp.result_type(leaf)
            f = jax.random.uniform(own, shape, minval=-limit, maxval=limit)
            drawn.append(f.astype(jnp.finfo(dtype).dtype))
        return FeedbackState(drawn, self.connect(circuit, key, params, drawn))

    def masked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        """Two passes, and the local product of the difference between them."""
        found = self._passes(circuit, params, state, args)
        units = {n.name for n in circuit.nodes if n.unit}
        delta = {
            drive_of(n) if n in units else n: d
            for n, d in found.delta.items()
            if n != circuit.output_node
        }
        held = {n: v for n, v in found.second.sites.items() if n in found.delta}
        error, beyond = _after(circuit, params, args, found.second.sites)
        delta[circuit.output_node or OUTPUT] = error
        grads = circuit.pull(params, found.args, held, delta)
        grads = jax.tree.map(jnp.add, grads, beyond)
        return Credit(found.first.loss, found.first.aux, grads, state, ())

    def masked_signals(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Any:
        """Values in the second pass and in the first; teaching: their difference."""
        found = self._passes(circuit, params, state, args)
        return {
            n: Signal(found.second.sites[n], found.first.sites[n], found.delta[n])
            for n in found.delta
        }

    def _passes(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Passes:
        first, error = _error(circuit, params, args)
        axis, outputs = _by_example(circuit, circuit.output_shape, OUTPUT)
        form = circuit.unfolded(OUTPUT, error.shape)
        rows = jnp.moveaxis(error.reshape(form), axis, 0).reshape(-1, outputs)
        other = with_inputs(circuit, args, self._modulated(circuit, state, args, rows))
        names = [n.name for n in circuit.nodes]
        second = circuit.run(params, other, sites=[*names, OUTPUT])
        share = 1 / circuit.scale
        delta = {
            n.name: share * (first.sites[n.name] - second.sites[n.name])
            for n in circuit.nodes
        }
        return Passes(first, second, other, delta)

    def _modulated(
        self, circuit: Circuit, state: Any, args: Any, rows: jax.Array
    ) -> Any:
        """The inputs, with F e added to each array."""
        moved = []
        drawn = self.effective_feedback(state, state.feedback)
        for f, (leaf, axis) in zip(drawn, _inputs(circuit, args), strict=True):
            others = np.delete(leaf.shape, axis).tolist()
            change = (self.scale * rows @ f.T).reshape(-1, *others)
            change = jnp.moveaxis(change, 0, axis)
            moved.append((leaf + change).astype(jnp.result_type(leaf)))
        inputs = inputs_of(circuit, args, _NAME)
        return jax.tree.unflatten(jax.tree.structure(inputs), moved)


def _error(circuit: Circuit, params: Any, args: Any) -> tuple[Run, jax.Array]:
    """The first pass, and the gradient of each example's own loss at the output."""
    names = [n.name for n in circuit.nodes]

    def loss(offset: jax.Array) -> Any:
        run = circuit.run(
            params, args, tap="offset", inject={OUTPUT: offset}, sites=names
        )
        return run.loss, run

    error, run = jax.grad(loss, has_aux=True)(zeros(circuit.output_shape))
    return run, circuit.scale * upcast(error)


def _after(circuit: Circuit, params: Any, args: Any, sites: Any) -> tuple[Any, Any]:
    """The error at the output, and the gradient of parameters used after it.

    The arguments are the original ones, for losses that use the input (those of an
    autoencoder).
    """
    top = circuit.output_node or OUTPUT
    held = {n: v for n, v in sites.items() if n not in (top, OUTPUT)}
    learned, fixed = circuit.leaves.split(params)

    def loss(learned: Any, output: jax.Array) -> jax.Array:
        here = circuit.leaves.combine(learned, fixed)
        inject = {**held, top: output}
        return circuit.run(here, args, tap="clamp", inject=inject, sites=()).loss

    grads, error = jax.grad(loss, (0, 1))(learned, sites[OUTPUT])
    return error, circuit.leaves.combine(grads)


def _inputs(circuit: Circuit, args: Any) -> list[tuple[Any, int]]:
    """The arrays of the inputs, each with the axis of its examples."""
    found = []
    for position, given in zip(
        circuit.spec.input_argnums or (),
        inputs_of(circuit, args, _NAME),
        strict=True,
    ):
        axis = example_axis(circuit, position, _NAME)
        found += [(jnp.asarray(leaf), axis) for leaf in jax.tree.leaves(given)]
    return found


def _by_example(circuit: Circuit, struct: Any, site: str) -> tuple[int, int]:
    """The axis of the examples, and the number of entries of one example."""
    axis = circuit.example_axes[site]
    if axis is None:
        raise ValueError(
            "The output has no axis of examples, so no input has its own error. "
            "See that `batch_axes` describes the arguments."
        )
    return axis, int(np.prod(struct.shape)) // circuit.batch.size
