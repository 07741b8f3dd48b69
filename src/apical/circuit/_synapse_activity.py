"""Synaptic activity: what each synapse read, and what the unit behind it did, in time.

For rules that learn from the two ends of a synapse and no teaching signal. The product
of the two ends is that of the synapse's own derivative,

    product(x, s) = sum_t d<op(x_t, W), s_t> / dW

which is `x^T s` for a dense layer and the same on patches for a convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._active_synapse import SynapseActivity
from ._circuit import Circuit
from ._evaluate._synapse_ends import NODE, POSTS, SYNAPSE, SynapseEnds, find_ends
from ._evaluate._synapse_values import effective_weight, evaluate
from ._jaxpr import Literal, Program, trace_program


class SynapticActivity(NamedTuple):
    """One evaluation of a loss function, seen from its synapses.

    Attributes:
      loss: its value.
      aux: what the loss function returned beside it, or None.
      synapses: a `SynapseActivity` for each synapse; in a loop over layers, whose steps
        read stacked weights, one for each layer.
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
    post: str = NODE,
) -> SynapticActivity:
    """Evaluate once, with the two ends and the weight of each synapse in time.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      names: the synapses, by name; by default every one.
      rule: who asks, for messages.
      post: what is read behind a synapse: `"node"`, the node that it drives; `"node or
        output"`, that or, of a read-out, the output of the network; `"synapse"`, what
        the synapse itself gives, before a bias or a nonlinearity.

    Returns:
      A `SynapticActivity`.

    Raises:
      UnknownUnitError: for a synapse that drives no node of the shape of its output, or
        several (not by `post="synapse"`); for one in a branch.
      ValueError: for a weight that changes from step to step.

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
    if post not in POSTS:
        raise ValueError(f"`post` must be one of {POSTS}, not {post!r}.")
    structure, batch = circuit.structure, circuit.batch
    every = find_ends(structure, batch.separation, names, rule, post)
    inputs = circuit.inputs(params, args)
    learned, _ = circuit.leaves.split(params)
    outs, found = evaluate(structure, every, inputs)
    weights, pull = jax.vjp(
        lambda moved: _weights(circuit, every, inputs, moved), learned
    )

    def pull_back(updates: Sequence[jax.Array]) -> Any:
        given, rest = [], iter(updates)
        for e, w in zip(every, weights, strict=True):
            of_layers = [next(rest) for _ in np.ndindex(*e.counts)]
            given.append(jnp.stack(of_layers).reshape(w.shape).astype(w.dtype))
        return circuit.leaves.combine(pull(given)[0])

    number = {id(m.op): i for i, m in enumerate(structure.live_ops)}
    synapses = tuple(
        SynapseActivity(
            name=e.name,
            node=structure.names.get(e.node, ""),
            number=number[id(e.op)],
            pre=pre[layer],
            post=post[layer],
            weight=weight[layer],
            unit_axes=e.unit_axes,
            timed=e.timed,
            examples=batch.size,
            layer=layer,
            ends=e,
        )
        for e, (pre, post), weight in zip(every, found, weights, strict=True)
        for layer in np.ndindex(*e.counts)
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
    every = find_ends(structure, circuit.batch.separation, names, rule, SYNAPSE)
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
    return [effective_weight(flow, e, known) for e in every]


def _struct(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x))


def _reads(program: Program, moved: set[int]) -> list[bool]:
    """Which outputs of a program depend on some of its inputs."""
    for op in program.body.ops:
        if any(a in moved for a in op.inputs if not isinstance(a, Literal)):
            moved.update(op.outputs)
    return [not isinstance(a, Literal) and a in moved for a in program.body.outputs]
