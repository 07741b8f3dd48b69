"""What one training example asks of the parameters, and through which derivative.

    G_i = the rule's gradient of the loss of example i alone
    L'_i = dL_i / d(output),      M_ic = the rule's gradient of <e_c, output of i>

If a rule passes on what it receives at the output, linearly, G_i = sum_c L'_ic M_ic.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...circuit import OUTPUT, Circuit
from ...rules._learner import Keywords, Learner, value_and_grad


def select_examples(
    circuit: Circuit, args: tuple[Any, ...], indices: jax.Array
) -> tuple[Any, ...]:
    """The arguments of a loss function with these of its examples."""
    examples = circuit.batch.examples
    arrays = examples.given.split(args)[1]
    taken = [
        x if axis is None else jnp.take(x, indices, axis)
        for x, axis in zip(arrays, examples.axes, strict=True)
    ]
    return examples.given.combine([], taken)


def example_gradient(
    learner: Learner, params: Any, state: Any, args: tuple[Any, ...]
) -> list[jax.Array]:
    """G_i: the rule's gradient of one example, by learned leaf."""
    grads = learner.credit(params, state, *args).grads
    return learner.circuit(params, *args).leaves.split(grads)[0]


def loss_slope(circuit: Circuit, params: Any, args: tuple[Any, ...]) -> jax.Array:
    """L'_i: the derivative of one example's loss by each entry of its output."""
    shape = circuit.output_shape

    def loss(offset: jax.Array) -> jax.Array:
        given = {OUTPUT: offset}
        return circuit.run(params, args, tap="offset", inject=given, sites=()).loss

    return jax.grad(loss)(jnp.zeros(shape.shape, shape.dtype)).reshape(-1)


def unit_learner(learner: Learner, arguments: int) -> Learner:
    """The same rule, on the product of the output with a vector.

    The vector is one more argument, before the others: `[examples, outputs]`.
    """
    given = learner.description
    mean = given.get("reduction", "mean") == "mean"

    def product(params: Any, vector: jax.Array, *args: Any) -> jax.Array:
        circuit = learner.circuit(params, *args)
        output = circuit.run(params, args, sites=(OUTPUT,)).sites[OUTPUT]
        each = jnp.sum(vector * _rows(circuit, output), axis=1)
        return jnp.mean(each) if mean else jnp.sum(each)

    axes, target = given.get("batch_axes", 0), given.get("target")
    if axes is None or isinstance(axes, int):
        axes = (axes,) * arguments
    inputs = given.get("input_argnums")
    inputs = (inputs,) if isinstance(inputs, int) else inputs
    return value_and_grad(
        product,
        learner.rule,
        **Keywords(
            has_aux=False,
            reduction=given.get("reduction", "mean"),
            batch_axes=(0, *axes),
            nodes=given.get("nodes"),
            target=None if target is None else lambda _, *args: target(*args),
            input_argnums=None if inputs is None else tuple(i + 1 for i in inputs),
            carry=None,
        ),
    )


def unit_gradients(
    learner: Learner, params: Any, state: Any, args: tuple[Any, ...], units: jax.Array
) -> list[jax.Array]:
    """M_ic for each vector e_c: by learned leaf, `[outputs, ...]`."""

    def one(vector: jax.Array) -> list[jax.Array]:
        return example_gradient(learner, params, state, (vector[None], *args))

    return jax.vmap(one)(units)


def _rows(circuit: Circuit, output: jax.Array) -> jax.Array:
    """The output as `[examples, entries]`."""
    axis = circuit.example_axes[OUTPUT]
    apart = output.reshape(circuit.unfolded(OUTPUT, output.shape))
    if axis is None:
        return apart.reshape(1, -1)
    return jnp.moveaxis(apart, axis, 0).reshape(circuit.batch_size, -1)
