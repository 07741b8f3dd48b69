"""One synapse in one evaluation: its input, weight, output and units, with products.

The product of the two ends is that of the synapse's own derivative, and the transpose
that of its input:

    product(x, s) = sum_t d<op(x_t, W), s_t> / dW         x^T s for a dense layer
    transpose(s)_t = d<op(x_t, W), s_t> / dx_t            s W^T
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from ._evaluate._manual_axes import mean_over_devices
from ._evaluate._synapse_ends import SynapseEnds


@dataclass(frozen=True, eq=False)
class SynapseActivity:
    """What one synapse read and what its units did, and products of the two.

    Attributes:
      name: the name of the synapse: the paths of the parameters of its weight.
      number: its position among `circuit.synapses`.
      node: the name of the node that it drives; '' where that is no node.
      pre: its input, `[steps, *input]`.
      post: the node, `[steps, *node]`, or what was asked for in its place.
      weight: its effective weight.
      unit_axes: the axes of the weight along which its output units differ.
      timed: whether the steps are those of a loop over time; else there is one.
      examples: the number of examples.
      layer: its step in each loop over layers around it; `()` outside of such loops.
      ends: what is known of it from the program.
    """

    name: str
    number: int
    node: str
    pre: jax.Array
    post: jax.Array
    weight: jax.Array
    unit_axes: tuple[int, ...]
    timed: bool
    examples: int
    layer: tuple[int, ...]
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

    def transpose(self, signal: jax.Array) -> jax.Array:
        """A signal of the units, sent back through the transposed weight.

        Args:
          signal: of the shape of `self.post`.

        Returns:
          An array of the shape of `self.pre`: `signal W^T` for a dense layer.
        """
        out, pull = jax.vjp(lambda x: self._outputs(self.weight, x), self.pre)
        return pull(self._arranged(signal).astype(out.dtype))[0]

    @property
    def output(self) -> jax.Array:
        """What it gives, before a bias or a nonlinearity: `[steps, *output]`."""
        return self._outputs(self.weight, self.pre)

    def at_output(self) -> SynapseActivity:
        """The same synapse with `post` arranged as `output` (transposed, reshaped).

        Its methods take signals of the shape of `output`, as cotangents are.
        """
        first, second, _ = self.ends.examples
        ends = replace(self.ends, back=(), examples=(first, second, second))
        return replace(self, post=self._arranged(self.post), ends=ends)

    def output_in_steps(self, x: jax.Array) -> jax.Array:
        """A value at the output as a run of the circuit returns it, time on one axis.

        Args:
          x: as `synapse_cotangents` or the site `output_of(self.number)` gives it.

        Returns:
          An array of the shape of `output`.
        """
        if self.ends.time is None:
            return self.in_steps(x)
        axis = self.ends.time[1]
        moved = self.in_steps(jnp.moveaxis(x, axis, 0))
        return jnp.expand_dims(moved, axis + 1)

    # ---- Units: the entries of an output of which each has weights of its own.

    def by_unit(self, signal: jax.Array) -> jax.Array:
        """A signal with an axis for each axis of units, `[steps, places, *units]`.

        A place is an example, and a position of a convolution or a sequence. The axes
        of the units are those of the weight in `unit_axes`, in that order.

        Args:
          signal: of the shape of `self.post`.
        """
        back = self._arranged(signal)
        rest, units = self._places_and_units(back.ndim)
        moved = jnp.transpose(back, (0, *rest, *units))
        shape = moved.shape[1 + len(rest) :]
        return moved.reshape(len(back), -1, *shape)

    def from_units(self, signal: jax.Array) -> jax.Array:
        """The inverse of `by_unit`, of the shape of `output`."""
        shape = jax.eval_shape(self._outputs, self.weight, self.pre).shape
        rest, units = self._places_and_units(len(shape))
        order = (0, *rest, *units)
        moved = signal.reshape([len(signal), *(shape[a] for a in order[1:])])
        return jnp.transpose(moved, [order.index(a) for a in range(len(shape))])

    @property
    def separate_axes(self) -> tuple[int, ...]:
        """The axes of units along which inputs differ too: a weight for each head."""
        if self.ends.op.name != "dot_general":
            return ()
        _, shared = self.ends.op.params["dimension_numbers"]
        return tuple(sorted(shared[self.ends.weight]))

    @property
    def groups(self) -> int:
        """The number of groups of a convolution's channels that read other inputs."""
        kinds = ("feature_group_count", "batch_group_count")
        return math.prod(self.ends.op.params.get(kind, 1) for kind in kinds)

    def _places_and_units(self, rank: int) -> tuple[list[int], list[int]]:
        units = [1 + to for _, to in self.ends.unit_axes_of_output]
        return [a for a in range(1, rank) if a not in units], units

    # ---- Each example by itself.

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
        return mean_over_devices(self._unit_means(self._arranged(signal)))

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
        rest, units = self._places_and_units(back.ndim)
        order = [1 + sorted(units).index(a) for a in units]
        mean = jnp.transpose(jnp.mean(back, axis=tuple(rest)), (0, *order))
        shape = [1] * self.weight.ndim
        for axis, size in zip(self.unit_axes, mean.shape[1:], strict=True):
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
        return self.ends.in_steps(x)[self.layer]

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
        pre = pre.astype(self.pre.dtype)
        out, pull = jax.vjp(lambda w: self._outputs(w, pre), self.weight)
        return pull(back.astype(out.dtype))[0]

    def _outputs(self, weight: jax.Array, pre: jax.Array) -> jax.Array:
        """The output in each step for another weight or another input."""
        op, at, time = self.ends.op, self.ends.weight, self.ends.time

        def one(x: jax.Array) -> jax.Array:
            x = x if time is None else jnp.expand_dims(x, time[0])
            return op(weight, x)[0] if at == 0 else op(x, weight)[0]

        return jax.vmap(one)(pre)

    def _arranged(self, signal: jax.Array) -> jax.Array:
        """A signal of the node's shape, arranged as the output of the synapse."""
        return jax.vmap(self._back)(signal)

    def _back(self, step: jax.Array) -> jax.Array:
        for kind, how in self.ends.back:
            transpose = kind == "transpose"
            step = jnp.transpose(step, how) if transpose else step.reshape(how)
        return step
