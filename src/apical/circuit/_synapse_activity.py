"""Synaptic activity: what each synapse read, and what the unit behind it did, in time.

For rules that learn from the two ends of a synapse and no teaching signal. The product
of the two ends is that of the synapse's own derivative,

    product(x, s) = sum_t d<op(x_t, W), s_t> / dW

which is `x^T s` for a dense layer and the same on patches for a convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._circuit import Circuit
from ._evaluate._synapse_ends import (
    SynapseEnds,
    effective_weight,
    evaluate,
    find_ends,
    in_order,
)
from ._jaxpr import Literal, Program, trace_program


@dataclass(frozen=True, eq=False)
class SynapseActivity:
    """What one synapse read and what its units did, and products of the two.

    Attributes:
      name: the name of the synapse: the paths of the parameters of its weight.
      node: the name of the node that it drives.
      pre: its input, `[steps, *input]`.
      post: the node, `[steps, *node]`.
      weight: its effective weight.
      unit_axes: the axes of the weight along which its output units differ.
      timed: whether the steps are those of a loop; else there is one.
      examples: the number of examples.
      ends: what is known of it from the program.
    """

    name: str
    node: str
    pre: jax.Array
    post: jax.Array
    weight: jax.Array
    unit_axes: tuple[int, ...]
    timed: bool
    examples: int
    ends: SynapseEnds

    def product(self, pre: jax.Array, signal: jax.Array) -> jax.Array:
        """The sum over steps, examples and positions of `pre` times `signal`.

        Args:
          pre: of the shape of `self.pre`.
          signal: of the shape of `self.post`.

        Returns:
          An array of the shape of the weight.
        """
        return self._pulled(pre, self._arranged(signal))

    def product_of_each(self, pre: jax.Array, signal: jax.Array) -> jax.Array:
        """The product of each example by itself, `[examples, *weight]`.

        Raises:
          ValueError: where the axis of the examples is not known.
        """
        back = self._arranged(signal)
        if self.examples == 1:
            return self._pulled(pre, back)[None]
        first, second, _ = self.example_axes

        def one(pre: jax.Array, back: jax.Array) -> jax.Array:
            return self._pulled(
                jnp.expand_dims(pre, first + 1), jnp.expand_dims(back, second + 1)
            )

        return jax.vmap(one, (first + 1, second + 1))(pre, back)

    def unit_means(self, signal: jax.Array) -> jax.Array:
        """A signal of the units in each step, `[steps, *broadcastable to the weight]`.

        The mean over the examples and the positions of a convolution.
        """
        return self._unit_means(self._arranged(signal))

    def unit_means_of_each(self, signal: jax.Array) -> jax.Array:
        """The same for each example, `[steps, examples, ...]`."""
        back = self._arranged(signal)
        if self.examples == 1:
            return self._unit_means(back)[:, None]
        axis = 1 + self.example_axes[1]

        def one(back: jax.Array) -> jax.Array:
            return self._unit_means(jnp.expand_dims(back, axis))

        return jax.vmap(one, axis, 1)(back)

    def _unit_means(self, back: jax.Array) -> jax.Array:
        pairs = self.ends.unit_axes_of_output
        kept = [1 + to for _, to in pairs]
        rest = tuple(a for a in range(1, back.ndim) if a not in kept)
        order = [1 + sorted(kept).index(a) for a in kept]
        mean = jnp.transpose(jnp.mean(back, axis=rest), (0, *order))
        shape = [1] * self.weight.ndim
        for (axis, _), size in zip(pairs, mean.shape[1:], strict=True):
            shape[axis] = size
        return mean.reshape(-1, *shape)

    @property
    def used_once(self) -> bool:
        """Whether each example uses each entry of the weight once in a step."""
        units = math.prod(self.weight.shape[a] for a in self.unit_axes)
        dense = self.ends.op.name == "dot_general"
        return dense and self.post[0].size == units * self.examples

    def in_steps(self, x: jax.Array) -> jax.Array:
        """A value at the node as a run of the circuit returns it, time on one axis."""
        return in_order(x, self.ends.loops)

    def along_examples(self, numbers: jax.Array) -> jax.Array:
        """Numbers `[steps]` or `[steps, examples]`, broadcastable to `post`."""
        shape = [len(numbers)] + [1] * (self.post.ndim - 1)
        if numbers.ndim > 1 and self.examples > 1:
            shape[1 + self.example_axes[2]] = self.examples
        return numbers.reshape(shape)

    @property
    def example_axes(self) -> tuple[int, int, int]:
        """The axis of the examples in a step of the input, the output and the node.

        Raises:
          ValueError: where one is not known.
        """
        first, second, third = self.ends.examples
        if first is None or second is None or third is None:
            raise ValueError(
                f"The axis of the examples at synapse {self.name!r} "
                f"({self.ends.op.where}) is not known, or is folded into another axis: "
                "a signal for each example needs it. Keep the examples on an axis of "
                "their own, and see that `batch_axes` describes the arguments."
            )
        return first, second, third

    def _pulled(self, pre: jax.Array, back: jax.Array) -> jax.Array:
        """The product with a signal that is arranged as the output."""
        op, weight, time = self.ends.op, self.ends.weight, self.ends.time

        def one(w: jax.Array, x: jax.Array) -> jax.Array:
            x = x if time is None else jnp.expand_dims(x, time)
            return op(w, x)[0] if weight == 0 else op(x, w)[0]

        def every(w: jax.Array) -> jax.Array:
            return jax.vmap(one, (None, 0))(w, pre.astype(self.pre.dtype))

        out, pull = jax.vjp(every, self.weight)
        return pull(back.astype(out.dtype))[0]

    def _arranged(self, signal: jax.Array) -> jax.Array:
        """A signal of the node's shape, arranged as the output of the synapse."""
        return jax.vmap(self._back)(signal)

    def _back(self, step: jax.Array) -> jax.Array:
        for kind, how in self.ends.back:
            transpose = kind == "transpose"
            step = jnp.transpose(step, how) if transpose else step.reshape(how)
        return step


class SynapticActivity(NamedTuple):
    """One evaluation of a loss function, seen from its synapses.

    Attributes:
      loss: its value.
      aux: what the loss function returned beside it, or None.
      synapses: a `SynapseActivity` for each synapse.
      pull: `pull(updates)` takes an array for each effective weight to the parameters:
        the pytree of the parameters, None where a leaf is not learned. A parameter that
        makes none of the weights gets zeros.
    """

    loss: jax.Array
    aux: Any
    synapses: tuple[SynapseActivity, ...]
    pull: Callable[[Sequence[jax.Array]], Any]


def synapse_activity(
    circuit: Circuit,
    params: Any,
    args: tuple[Any, ...],
    *,
    names: Sequence[str] | None = None,
    rule: str = "A plasticity rule",
) -> SynapticActivity:
    """Evaluate once, with the input, weight and driven node of each synapse in time.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      names: the synapses, by name; by default every one.
      rule: who asks, for messages.

    Returns:
      A `SynapticActivity`.

    Raises:
      ValueError: for a synapse that drives no node of the shape of its output, or
        several; for one in a branch; for a weight that changes from step to step.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> from apical.circuit import synapse_activity
      >>> def loss_fn(w, x):
      ...     def step(h, x):
      ...         h = apical.node(jnp.tanh(h + x @ w), "h")
      ...         return h, h
      ...     return jnp.mean(jax.lax.scan(step, jnp.zeros((3, 4)), x)[1] ** 2)
      >>> w, x = jnp.ones((2, 4)), jnp.ones((5, 3, 2))
      >>> circuit = apical.trace(loss_fn, batch_axes=1)(w, x)
      >>> (found,) = synapse_activity(circuit, w, (x,)).synapses
      >>> found.node, found.pre.shape, found.post.shape
      ('h', (5, 3, 2), (5, 3, 4))
      >>> found.product(found.pre, jnp.ones_like(found.post)).tolist()[0]
      [15.0, 15.0, 15.0, 15.0]
    """
    structure, batch = circuit.structure, circuit.batch
    every = find_ends(structure, batch.separation, names, rule)
    inputs = circuit.inputs(params, args)
    learned, _ = circuit.leaves.split(params)
    outs, found = evaluate(structure, every, inputs)
    weights, pull = jax.vjp(
        lambda moved: _weights(circuit, every, inputs, moved), learned
    )

    def pull_back(updates: Sequence[jax.Array]) -> Any:
        given = [u.astype(w.dtype) for u, w in zip(updates, weights, strict=True)]
        return circuit.leaves.combine(pull(given)[0])

    synapses = tuple(
        SynapseActivity(
            name=e.name,
            node=structure.names[e.node],
            pre=pre,
            post=post,
            weight=weight,
            unit_axes=e.unit_axes,
            timed=bool(e.loops),
            examples=batch.size,
            ends=e,
        )
        for e, (pre, post), weight in zip(every, found, weights, strict=True)
    )
    loss, *aux = outs
    return SynapticActivity(loss, circuit.rebuild_aux(aux), synapses, pull_back)


def require_linear_weights(
    circuit: Circuit,
    params: Any,
    args: tuple[Any, ...],
    *,
    names: Sequence[str] | None = None,
    rule: str = "A plasticity rule",
) -> None:
    """Require effective weights that are linear in the parameters.

    An update of the effective weight is then an update of the parameter.

    Raises:
      ValueError: for a weight whose derivative by a parameter depends on a parameter.
    """
    structure = circuit.structure
    every = find_ends(structure, circuit.batch.separation, names, rule)
    inputs = circuit.inputs(params, args)
    learned, _ = circuit.leaves.split(params)

    def tangents(learned: Any, moved: Any, inputs: Any) -> Any:
        return jax.jvp(
            lambda given: _weights(circuit, every, inputs, given), (learned,), (moved,)
        )[1]

    shapes = jax.tree.map(_struct, (learned, learned, inputs))
    program, _ = trace_program(tangents, *shapes)
    read = _reads(program, set(program.body.inputs[: len(learned)]))
    for e, curved in zip(every, read, strict=True):
        if curved:
            raise ValueError(
                f"{rule} updates the effective weight of a synapse, and that of "
                f"{e.name!r} at {e.op.where} is not linear in the parameters (a "
                "normalised, squashed or factored weight): an update of it is no "
                "update of them. Let the synapse read the parameter itself, or choose "
                "the synapses that are updated: `synapses=(...)`."
            )


def _weights(
    circuit: Circuit, every: Sequence[SynapseEnds], inputs: Any, learned: Any
) -> list[jax.Array]:
    flow = circuit.structure.flow
    values = [*learned, *inputs[len(learned) :]]
    numbers = zip(flow.program.body.inputs, values, strict=True)
    known = {**flow.program.constants, **dict(numbers)}
    return [
        jnp.asarray(effective_weight(flow, e.op.inputs[e.weight], known)) for e in every
    ]


def _struct(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x))


def _reads(program: Program, moved: set[int]) -> list[bool]:
    """Which outputs of a program depend on some of its inputs."""
    for op in program.body.ops:
        if any(a in moved for a in op.inputs if not isinstance(a, Literal)):
            moved.update(op.outputs)
    return [not isinstance(a, Literal) and a in moved for a in program.body.outputs]
