"""Alignment of teaching signals with backpropagation's, at each node.

    cosine of a node = <delta_n, b_n> / (|delta_n| |b_n|)

with delta_n the rule's teaching signal, and b_n backpropagation's of the loss that the
rule descends. Gradients are products of teaching signals with activities and summed
over examples, so that signals may differ where gradients agree.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..circuit import Circuit
from ..rules import Backpropagation, Rule
from ..rules._learner import Learner
from ._agreement import Agreement, agreement, widened
from ._compiled_call import compiled_call
from ._learner_argument import takes_learner


class SignalAgreement(NamedTuple):
    """The agreement of the teaching signals at one node.

    Attributes:
      agreement: of all examples, as one vector.
      by_example: the cosine of each example, `[examples]`; NaN where one of the two
        signals is 0. None where the axis of the examples is not known.
    """

    agreement: Agreement
    by_example: jax.Array | None


@takes_learner
def signal_alignment(learner: Learner) -> Callable[..., OrderedDict[str, Any]]:
    """Compare a rule's teaching signals with backpropagation's, node by node.

        cosine = <delta_n, b_n> / (|delta_n| |b_n|),   norm ratio = |delta_n| / |b_n|

    b_n belongs to the undisturbed forward computation of the network that is trained
    (without removed connections), also where a rule finds delta_n at other values.

    Args:
      learner: what `apical.value_and_grad` returned, or `step.learner` of a training
        step.

    Returns:
      A compiled function of `(params, state, *args)` that returns a `SignalAgreement`
      for each node of the rule, by name, in the order of the forward computation.
      `state` is the rule's state, of `learner.init` or `state.rule` of a training step.

    Raises:
      TypeError: for a loss function or a rule in place of a learner.
      NotImplementedError: for a rule without `signals`.
      ValueError: for a rule that descends another loss than the loss function or the
        squared error, or one of a network that has settled.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.SignConcordance()
      >>> learner = apical.value_and_grad(loss_fn, rule)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> found = apical.measure.signal_alignment(learner)(w, state, x)
      >>> found["a"].by_example.round(3).tolist()
      [1.0, 1.0, 1.0]
    """
    rule = learner.rule
    known = ("loss", "squared-error")
    if rule.descends not in known or type(rule).descended is not Rule.descended:
        raise ValueError(
            f"{type(rule).__name__} descends {rule.descends!r} of a network of its "
            f"own, and backpropagation's teaching signals are known for {known} of the "
            "forward computation only. Its gradients can be compared: "
            "`apical.measure.alignment(learner)`."
        )
    reference = Backpropagation(descends=rule.descends)

    def compare(params: Any, state: Any, *args: Any) -> OrderedDict[str, Any]:
        circuit = learner.circuit(params, *args)
        ours = learner.signals(params, state, *args)
        here = rule.trained_params(circuit, params, state)
        theirs = reference.signals(circuit, here, (), args)
        order = [node.name for node in circuit.nodes if node.name in ours]
        return OrderedDict(
            (name, _compared(circuit, name, ours[name].teaching, theirs[name].teaching))
            for name in order
        )

    return compiled_call(compare)


def _compared(
    circuit: Circuit, name: str, ours: jax.Array, theirs: jax.Array
) -> SignalAgreement:
    axis = circuit.example_axes[name]
    by_example = None
    if axis is not None:
        unfolded = circuit.unfolded(name, ours.shape)

        def rows(signal: jax.Array) -> jax.Array:
            moved = jnp.moveaxis(widened(signal).reshape(unfolded), axis, 0)
            return moved.reshape(len(moved), -1)

        by_example = _row_cosines(rows(ours), rows(theirs))
    return SignalAgreement(agreement([ours], [theirs]), by_example)


def _row_cosines(ours: jax.Array, theirs: jax.Array) -> jax.Array:
    product = jnp.sum(ours * theirs.conj(), axis=1).real
    norms = jnp.linalg.norm(ours, axis=1) * jnp.linalg.norm(theirs, axis=1)
    return jnp.where(norms > 0, product / jnp.where(norms > 0, norms, 1), jnp.nan)
