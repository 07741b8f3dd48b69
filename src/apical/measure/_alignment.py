"""Gradient alignment with backpropagation: per layer, per leaf, and as one number.

    one number = the mean over the hidden layers of <g_l, b_l> / (|g_l| |b_l|)

with g_l the rule's gradient of all parameters of layer l, and b_l backpropagation's
gradient of the loss that the rule descends. The read-out is left out: its error does
not pass through a node, so most rules give its exact gradient, which dominates the
cosine of the whole gradient.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..circuit import Circuit
from ..rules._learner import Learner
from ._agreement import Agreement, agreement
from ._compiled_call import compiled_call
from ._learner_argument import takes_learner


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LayerAgreement:
    """Agreement of the parameters of one layer, taken as one vector.

    Attributes:
      agreement: the agreement of the layer.
      hidden: whether the layer is hidden: its output enters a further synapse, so its
        teaching signal passes a node. Otherwise it is a read-out.
      parameters: the paths of its leaves.
    """

    agreement: Agreement
    hidden: bool = field(metadata={"static": True})
    parameters: tuple[str, ...] = field(metadata={"static": True})


class Alignment(NamedTuple):
    """The agreement of a rule's gradients with backpropagation's.

    Attributes:
      hidden: the mean of the cosines of the hidden layers. A layer without a gradient
        of the rule counts as 0; layers where backpropagation's gradient is 0 are left
        out. NaN if no layer is left, as in a network without hidden layers.
      layers: each layer, in the order of the forward computation; the read-out too.
      leaves: each leaf by its path, in the same order.
      overall: all parameters as one vector. It is dominated by the read-out, which is
        exact for most rules, so it may be larger for a rule with worse hidden layers.
    """

    hidden: jax.Array
    layers: OrderedDict[str, LayerAgreement]
    leaves: OrderedDict[str, Agreement]
    overall: Agreement


@takes_learner
def alignment(learner: Learner) -> Callable[..., Alignment]:
    """Compare a rule's gradients with backpropagation's, in one compiled call.

        cosine = <g, b> / (|g| |b|),   norm ratio = |g| / |b|

    Backpropagation's gradients are those of the loss that the rule descends
    (`rule.descends`) in the network that it trains. For most rules that is the loss
    function; a rule that clamps the output to its target descends half the squared
    error.

    Args:
      learner: what `apical.value_and_grad` returned, or `step.learner` of a training
        step: the loss function, its description and the rule.

    Returns:
      A compiled function of `(params, state, *args)` that returns an `Alignment`.
      `state` is the rule's state, of `learner.init` or `state.rule` of a training step.

    Raises:
      TypeError: for a loss function or a rule in place of a learner.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.PredictiveCoding(4))
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> found = apical.measure.alignment(learner)(w, state, x)
      >>> round(float(found.hidden), 4), list(found.leaves)
      (1.0, ['a', 'b'])
      >>> [name for name, layer in found.layers.items() if layer.hidden]
      ['a']
    """

    def compare(params: Any, state: Any, *args: Any) -> Alignment:
        circuit = learner.circuit(params, *args)
        grads = learner.credit(params, state, *args).grads
        truth = learner.rule.reference(circuit, params, state, args)
        return aligned(circuit, grads, truth)

    return compiled_call(compare)


def aligned(circuit: Circuit, grads: Any, truth: Any) -> Alignment:
    """The alignment of given gradients with reference gradients."""
    ours, theirs = circuit.leaves.split(grads)[0], circuit.leaves.split(truth)[0]
    names = circuit.leaves.names

    def of(leaves: tuple[int, ...]) -> Agreement:
        return agreement([ours[i] for i in leaves], [theirs[i] for i in leaves])

    # `OrderedDict` keeps the order: JAX sorts the keys of plain dictionaries.
    layers, taught = OrderedDict[str, LayerAgreement](), []
    for name, leaves, hidden in circuit.layers:
        paths = tuple(names[i] for i in leaves)
        layers[name] = LayerAgreement(of(leaves), hidden, paths)
        if hidden:
            known = jnp.any(jnp.stack([jnp.any(theirs[i] != 0) for i in leaves]))
            taught.append((layers[name].agreement.cosine, known))
    in_order = [i for layer in circuit.layers for i in layer.leaves]
    in_order += [i for i in range(len(names)) if i not in in_order]
    return Alignment(
        _mean_of_known(taught),
        layers,
        OrderedDict((names[i], of((i,))) for i in in_order),
        of(tuple(in_order)),
    )


def _mean_of_known(pairs: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    if not pairs:
        return jnp.asarray(jnp.nan)
    values, known = (jnp.stack(each) for each in zip(*pairs, strict=True))
    count = known.sum()
    total = jnp.where(known, values, 0).sum()
    return jnp.where(count == 0, jnp.nan, total / jnp.maximum(count, 1))
