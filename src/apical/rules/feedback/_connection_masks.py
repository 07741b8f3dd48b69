"""Sparse and noisy connections: masks of forward weights and of feedback weights.

    forward   W m           m fixed: 0 where a connection was removed, else 1
    backward  B m' (1 + noise xi),      xi ~ N(0, 1), drawn anew at every call

Masks are drawn at `init` and stay fixed. Removed forward weights act as 0 and have
gradient 0 in training, prediction and comparisons.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit
from .._base import Credit, Rule, rule
from .._field_checks import check_fraction, check_positive
from .._numerics import fold_in_name
from .._random import Law, draw_arrays
from ._feedback_weights import replaceable_weights, require_direct, warn_of_frozen


class Connections(NamedTuple):
    """The masks and the noise key of a state; None where that option is not used.

    Custom masks can be set here: trees of ones and zeros, None where all connections
    exist.

    Attributes:
      forward: a mask for each weight, the pytree of the parameters.
      backward: a mask for each feedback weight, the pytree of these.
      key: the key for the noise of the next call.
    """

    forward: Any = None
    backward: Any = None
    key: Any = None

    def apply(self, feedback: Any, noise: Any) -> Any:
        """The feedback weights of this call: masked, and with noise."""
        feedback = multiply(feedback, self.backward)
        if self.key is None:
            return feedback
        now, _ = jax.random.split(self.key)
        xi = _draw_like(feedback, now, jax.random.normal)
        return jax.tree.map(
            lambda b, n: b * (1 + noise * n).astype(b.dtype), feedback, xi
        )

    def advance(self) -> Connections:
        """The connections of the next call, with a new key for the noise."""
        if self.key is None:
            return self
        return self._replace(key=jax.random.split(self.key)[1])


class FeedbackState(NamedTuple):
    """Feedback weights phi, and the masks of their connections."""

    feedback: Any
    connections: Connections = Connections()


def connect(
    circuit: Circuit,
    key: jax.Array,
    params: Any,
    *,
    forward: Any = 0.0,
    backward: Any = 0.0,
    noise: Any = 0.0,
    matrices: Any = None,
    warn: bool = True,
) -> Connections:
    """Draw the masks of the weights, and of the feedback weights.

    Warns about weights that are not learned: these keep all their connections.

    Args:
      circuit: the circuit of the batch.
      key: a random key; a name is folded into it here.
      params: the parameters.
      forward: the fraction of forward connections that are removed.
      backward: the fraction of backward connections that are removed.
      noise: the relative standard deviation of the feedback weights.
      matrices: the feedback weights; None: copies of the weights.
      warn: whether to warn about weights that are not learned.
    """
    if warn:
        warn_of_frozen(circuit)
    own = fold_in_name(key, "apical.connections")
    keys, weights = jax.random.split(own, 3), replaceable_weights(circuit, params)
    found = Connections()
    if _is_positive(forward):
        require_direct(circuit, "`removed_forward`")
        found = found._replace(forward=_draw_mask(weights, keys[0], forward))
    if matrices is None and _is_positive(backward):
        require_direct(circuit, "`removed_backward`")
    if matrices is None and _is_positive(noise):
        require_direct(circuit, "`backward_noise`")
    if _is_positive(backward):
        feedback = weights if matrices is None else matrices
        found = found._replace(backward=_draw_mask(feedback, keys[1], backward))
    return found._replace(key=keys[2]) if _is_positive(noise) else found


def multiply(tree: Any, mask: Any) -> Any:
    """A tree times a mask, elementwise; None is a mask of ones, or a missing leaf."""

    def product(m: Any, x: Any) -> Any:
        return x if m is None or x is None else x * m

    if mask is None:
        return tree
    return jax.tree.map(product, mask, tree, is_leaf=lambda m: m is None)


def _draw_like(tree: Any, key: jax.Array, law: Law) -> Any:
    """Random numbers with the structure and shapes of a tree."""
    leaves, treedef = jax.tree.flatten(tree)
    return jax.tree.unflatten(treedef, draw_arrays(key, [*map(jnp.shape, leaves)], law))


def _draw_mask(tree: Any, key: jax.Array, removed: Any) -> Any:
    drawn = _draw_like(tree, key, jax.random.uniform)
    return jax.tree.map(lambda x, n: (n >= removed).astype(x.dtype), tree, drawn)


def _is_positive(number: Any) -> bool:
    """Whether a number is above zero, or is traced and may be."""
    return not isinstance(number, (int, float)) or number > 0


@rule
class ConnectedRule(Rule):
    """A rule with feedback weights, some of whose connections may be removed or noisy.

    A subclass draws its state in `init`, with `connections=self.connect(...)`, and
    writes `masked_credit` and `masked_signals` in place of `credit` and `signals`.
    They receive parameters whose removed weights are 0.

    Args:
      removed_forward: the fraction of forward connections that are removed: their
        weights act as 0 and have gradient 0.
      removed_backward: the fraction of backward connections that are removed.
      backward_noise: the standard deviation of the noise in feedback weights, drawn
        anew at every call, relative to their size.
    """

    removed_forward: float = field(default=0.0, kw_only=True)
    removed_backward: float = field(default=0.0, kw_only=True)
    backward_noise: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        check_fraction(self.removed_forward, "removed_forward")
        check_fraction(self.removed_backward, "removed_backward")
        check_positive(self.backward_noise, "backward_noise", or_zero=True)

    @property
    def warns_of_frozen(self) -> bool:
        """Whether true weights of a frozen network in the backward path are named."""
        return True

    def connect(
        self, circuit: Circuit, key: jax.Array, params: Any, matrices: Any = None
    ) -> Connections:
        """The initial connections, of `matrices` or of copies of the weights."""
        return connect(
            circuit,
            key,
            params,
            forward=self.removed_forward,
            backward=self.removed_backward,
            noise=self.backward_noise,
            matrices=matrices,
            warn=self.warns_of_frozen,
        )

    def effective_feedback(self, state: Any, feedback: Any) -> Any:
        """The feedback weights of this call: masked, and with noise."""
        return state.connections.apply(feedback, self.backward_noise)

    def masked_credit(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Credit:
        """`credit`, for parameters whose removed weights are 0."""
        raise NotImplementedError

    def masked_signals(
        self, circuit: Circuit, params: Any, state: Any, args: Any
    ) -> Any:
        """`signals`, for parameters whose removed weights are 0."""
        raise NotImplementedError

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One backward pass through the feedback weights."""
        here = self.trained_params(circuit, params, state)
        credit = self.masked_credit(circuit, here, state, args)
        connections = state.connections
        return credit._replace(
            grads=multiply(credit.grads, connections.forward),
            state=credit.state._replace(connections=connections.advance()),
        )

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The teaching signal at each node."""
        here = self.trained_params(circuit, params, state)
        return self.masked_signals(circuit, here, state, args)

    def reference(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The gradient of the network without its removed connections."""
        here = self.trained_params(circuit, params, state)
        grads = super().reference(circuit, here, state, args)
        return multiply(grads, state.connections.forward)

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the network without its removed connections."""
        here = self.trained_params(circuit, params, state)
        return super().predict(circuit, here, state, args)

    def trained_params(self, circuit: Circuit, params: Any, state: Any) -> Any:
        """The parameters with removed weights 0; raises for states of other options."""
        wanted = {
            "removed_forward": state.connections.forward,
            "removed_backward": state.connections.backward,
            "backward_noise": state.connections.key,
        }
        for name, found in wanted.items():
            number = getattr(self, name)
            if isinstance(number, (int, float)) and number > 0 and found is None:
                raise ValueError(
                    f"`state` was made without `{name}`, and this "
                    f"{type(self).__name__} has `{name}={number!r}`: make it by this "
                    "rule's `init`."
                )
        learned = multiply(circuit.learned(params), state.connections.forward)
        return circuit.merged(params, learned)
