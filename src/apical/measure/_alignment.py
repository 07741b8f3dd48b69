"""How close an update is to backpropagation's: by layer, by leaf, and in one number.

    one number = the mean over the hidden layers of <g_l, b_l> / (|g_l| |b_l|)

with g_l the rule's gradient of all parameters of layer l, and b_l backpropagation's of
the loss that the rule descends. The read-out is left out: no teaching signal passes a
node on its way there, so that most rules have it right, and it is so large a part of
the whole gradient that the cosine of the whole says little about the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from ..circuit import Circuit
from ..rules import Rule
from ..rules._learner import Keywords, TrainState, make_learner
from ..rules._trace_cache import Exact


class Agreement(NamedTuple):
    """How two vectors agree.

    Attributes:
      cosine: of the angle between them; 0 where one of them is zero.
      norm_ratio: the norm of the rule's over the norm of backpropagation's; not a
        number where both are zero.
      sign_agreement: the fraction of entries with the same sign.
    """

    cosine: jax.Array
    norm_ratio: jax.Array
    sign_agreement: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LayerAgreement:
    """Agreement of the parameters that make the same nodes, as one vector.

    Attributes:
      agreement: of the layer.
      hidden: whether a teaching signal passes a node on its way to the layer: whether
        what the layer makes enters a further synapse. If not it is a read-out.
      parameters: the paths of its leaves.
    """

    agreement: Agreement
    hidden: bool = field(metadata={"static": True})
    parameters: tuple[str, ...] = field(metadata={"static": True})


class Alignment(NamedTuple):
    """How a rule's gradients agree with backpropagation's, in several readings.

    Attributes:
      hidden: the mean of the cosines of the hidden layers. A layer that the rule does
        not teach counts with 0, one where backpropagation's gradient is 0 does not
        count. Not a number where no layer counts, as in a net without hidden layers.
      layers: each layer, in the order of the forward computation; the read-out too.
      leaves: each leaf by its path, in the same order.
      overall: all parameters as one vector. It is mostly the read-out, which most rules
        have right: a rule that teaches less below it may well have more of this.
    """

    hidden: jax.Array
    layers: OrderedDict[str, LayerAgreement]
    leaves: OrderedDict[str, Agreement]
    overall: Agreement


def alignment(
    loss_fn: Callable[..., Any],
    rule: Rule,
    **keywords: Unpack[Keywords],
) -> Callable[..., Alignment]:
    """Compare a rule's gradients with backpropagation's, in one compiled call.

        cosine = <g, b> / (|g| |b|),   norm ratio = |g| / |b|

    Backpropagation's are those of the loss that the rule descends (`rule.descends`) in
    the network that it trains. For most rules that is the loss function; a rule that
    clamps the output to its target descends half the squared error.

    Args:
      loss_fn: any JAX function `loss_fn(params, *args)`.
      rule: one of `apical.rules`.
      **keywords: `has_aux`, `reduction`, `batch_axes`, `nodes`, `target`, as in
        `apical.value_and_grad`.

    Returns:
      A compiled function of `(params, state, *args)`, with the state of `learner.init`
      or `step.init`, that returns an `Alignment`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> loss_fn = lambda w, x: jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"]) ** 2)
      >>> w, x = {"a": jnp.eye(2), "b": jnp.ones((2, 1))}, jnp.ones((3, 2))
      >>> rule = apical.rules.PredictiveCoding(steps=4)
      >>> found = apical.measure.alignment(loss_fn, rule)(w, (), x)
      >>> round(float(found.hidden), 4), list(found.leaves)
      (1.0, ['a', 'b'])
      >>> [name for name, layer in found.layers.items() if layer.hidden]
      ['a']
    """
    learner = make_learner(loss_fn, rule, **keywords)

    def compare(params: Any, state: Any, *args: Any) -> Alignment:
        state = state.rule if isinstance(state, TrainState) else state
        circuit = learner.circuit(params, args)
        grads = learner(params, state, *args).grads
        truth = rule.reference(circuit, params, state, args)
        return aligned(circuit, grads, truth)

    return _jit_arrays(compare)


def aligned(circuit: Circuit, grads: Any, truth: Any) -> Alignment:
    """How some gradients agree with others."""
    ours, theirs = circuit.leaves.split(grads)[0], circuit.leaves.split(truth)[0]
    names = circuit.leaves.names

    def of(leaves: tuple[int, ...]) -> Agreement:
        return _agreement([ours[i] for i in leaves], [theirs[i] for i in leaves])

    # Ordered dictionaries: JAX sorts the keys of the others.
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


def _jit_arrays(compare: Callable[..., Alignment]) -> Callable[..., Alignment]:
    """Compile a function whose arguments may hold leaves that are not arrays."""
    compiled = jax.jit(
        lambda rest, arrays: compare(*_together(*rest.value, arrays=arrays)),
        static_argnums=0,
    )

    def call(*args: Any) -> Alignment:
        flat, treedef = jax.tree.flatten(args)
        dynamic = [isinstance(x, jax.Array) or hasattr(x, "__array__") for x in flat]
        static = tuple(None if d else x for d, x in zip(dynamic, flat, strict=True))
        arrays = [x if d else None for d, x in zip(dynamic, flat, strict=True)]
        return compiled(Exact((treedef, static)), arrays)

    return call


def _together(treedef: Any, static: Any, arrays: Any) -> Any:
    pairs = zip(static, arrays, strict=True)
    return jax.tree.unflatten(treedef, [s if a is None else a for s, a in pairs])


def _agreement(ours: list[jax.Array], theirs: list[jax.Array]) -> Agreement:
    pairs = list(zip(ours, theirs, strict=True))
    product = sum(jnp.vdot(g, b).real for g, b in pairs)
    norms = [jnp.sqrt(sum(jnp.vdot(x, x).real for x in xs)) for xs in (ours, theirs)]
    both = norms[0] * norms[1]
    same = sum(jnp.sum(jnp.sign(g) == jnp.sign(b)) for g, b in pairs)
    entries = sum(g.size for g in ours)
    return Agreement(
        cosine=jnp.where(both == 0, 0.0, product / jnp.where(both == 0, 1, both)),
        norm_ratio=norms[0] / norms[1],
        sign_agreement=jnp.asarray(same / entries),
    )
