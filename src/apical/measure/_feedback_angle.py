"""The angle between forward weights and feedback weights, per synapse or node.

    cosine = <W, B> / (|W| |B|)

with W the effective weight of a synapse and B what the backward path uses in place of
it, both in the shape of W. Feedback alignment works as far as this angle falls below
90 degrees (Lillicrap et al. 2016).

Direct feedback has a matrix B_n for each node in place of B. The weights that it
replaces are all those above the node: their product where every unit between is linear,
and else the derivative of the output by the node, averaged over the examples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..circuit import OUTPUT, Circuit, synapse_activity
from ..rules._axis_maps import AxisMap, axis_maps
from ..rules._learner import Learner
from ..rules.feedback._direct_projection import DirectProjectionRule
from ..rules.feedback._frozen_feedback import of_params
from ._agreement import Agreement, agreement
from ._compiled_call import compiled_call
from ._learner_argument import takes_learner


@takes_learner
def feedback_angle(learner: Learner) -> Callable[..., OrderedDict[str, Agreement]]:
    """Compare the weights of the backward path with the forward weights.

        cosine = <W, B> / (|W| |B|),   angle = arccos(cosine)

    Call it during training to see forward weights turn towards fixed feedback.

    Args:
      learner: what `apical.value_and_grad` returned, or `step.learner` of a training
        step. Its rule sends signals back through synapses (feedback alignment, sign
        concordance, Kolen-Pollack, weight mirror; predictive coding and activation
        relaxation with `RandomFeedback()`), or directly to every node
        (`DirectFeedbackAlignment`).

    Returns:
      A compiled function of `(params, state, *args)` that returns an `Agreement` for
      each synapse that a signal passes, by name, in the order of the forward
      computation; of direct feedback for each node. Where weights are used as they are
      the cosine is 1. A synapse of the same name as one before gets a number, as
      `w (2)`.

    Raises:
      TypeError: for a loss function or a rule in place of a learner.
      NotImplementedError: for a rule without feedback weights.
      ValueError: for a synapse in a branch of `lax.cond`, or whose weight changes from
        step to step; for direct feedback from several outputs with different steps.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.array([[3.0], [4.0]])}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.SignConcordance())
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> found = apical.measure.feedback_angle(learner)(w, state, x)
      >>> {name: round(float(each.cosine), 3) for name, each in found.items()}
      {'b': 0.99}

    Source: Lillicrap, Cownden, Tweed & Akerman 2016, Nature Communications 7:13276.
    """

    def compare(params: Any, state: Any, *args: Any) -> OrderedDict[str, Agreement]:
        circuit, rule = learner.circuit(params, *args), learner.rule
        here = rule.trained_params(circuit, params, state)
        if isinstance(rule, DirectProjectionRule):
            matrices = rule.effective_feedback(state, state.feedback)
            return _of_nodes(circuit, here, args, matrices)
        return _of_synapses(
            circuit, here, args, rule.backward_path(circuit, here, state)
        )

    return compiled_call(compare)


def _of_synapses(
    circuit: Circuit, params: Any, args: Any, path: dict[str, Any]
) -> OrderedDict[str, Agreement]:
    forward = synapse_activity(circuit, params, args, post="synapse").synapses
    copied = _replaced(circuit, params, path.get("feedback"))
    copies = synapse_activity(circuit, copied, args, post="synapse").synapses
    backward = path.get("backward")
    found = OrderedDict[str, Agreement]()
    for mine, other in zip(forward, copies, strict=True):
        if mine.number not in circuit.structure.carrying_synapses:
            continue
        weight, copy = mine.weight, other.weight
        if backward is not None:
            copy = backward(circuit.synapses[mine.number], weight, copy)
        found[_numbered(mine.name, found)] = agreement([copy], [weight])
    return found


def _replaced(circuit: Circuit, params: Any, feedback: Any) -> Any:
    """The parameters, with feedback weights where there are any."""
    if feedback is None:
        return params
    learned, fixed = circuit.leaves.split(params)
    copies = circuit.leaves.split(of_params(feedback))[0]
    pairs = zip(learned, copies, strict=True)
    return circuit.leaves.combine([p if c is None else c for p, c in pairs], fixed)


def _numbered(name: str, found: OrderedDict[str, Any]) -> str:
    number = 1 + sum(key == name or key.startswith(f"{name} (") for key in found)
    return name if number == 1 else f"{name} ({number})"


# ---- Direct feedback.


def _of_nodes(
    circuit: Circuit, params: Any, args: Any, matrices: dict[str, Any]
) -> OrderedDict[str, Agreement]:
    outputs = circuit.batch.outputs
    if not (outputs.alone or outputs.alike):
        raise ValueError(
            "Direct feedback from several outputs with different steps has several "
            "matrices for each node, whose angle is not defined: mark one of the "
            "outputs, `y = apical.output(y)`."
        )

    def output(errors: Any) -> jax.Array:
        run = circuit.run(params, args, tap="offset", inject=errors, sites=(OUTPUT,))
        return run.sites[OUTPUT]

    y, pull = jax.vjp(output, circuit.zeros())
    found = OrderedDict[str, Agreement]()
    for name, axes in axis_maps(circuit).items():
        if name == circuit.output_node:
            continue
        matrix = matrices[name]
        truth = _mean_derivative(axes, name, y, pull)
        found[name] = agreement([matrix], [truth])
    return found


def _mean_derivative(
    axes: AxisMap, name: str, y: jax.Array, pull: Callable[..., Any]
) -> jax.Array:
    """The matrix whose projections resemble the derivative of the output the most.

    sum over columns c of d<project(B, m_c), J^T m_c> / dB, with m_c 1 in column c.
    """
    count = axes.column_count
    like = jnp.zeros((axes.unit_count, count), y.dtype)
    columns = jnp.eye(count, dtype=y.dtype)

    def of_column(column: jax.Array) -> jax.Array:
        rows = y.size // count
        table = jnp.broadcast_to(column, (1, rows, count))
        message = axes.as_outputs(table, y.shape)[0]
        (signal,) = pull(message)
        _, product = jax.vjp(lambda matrix: axes.project(matrix, message), like)
        return product(signal[name].astype(y.dtype))[0]

    return jnp.sum(jax.lax.map(of_column, columns), axis=0)
