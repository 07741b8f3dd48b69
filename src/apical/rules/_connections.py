"""Which connections exist, forward and backward, and how noisy the backward ones are.

    forward   W m           m fixed: 0 where a connection was removed, else 1
    backward  B m' (1 + noise xi),      xi ~ N(0, 1), drawn anew at every call

Masks are drawn at `init` and held. Removed forward weights act as 0 and take no
gradient, in training, prediction and comparison alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..circuit import Circuit
from ._base import Credit, Rule, rule
from ._checks import check_fraction, check_positive
from ._numerics import fold_in_name
from .feedback._path import require_direct, warn_of_frozen, weights_of


class Connections(NamedTuple):
    """What a state knows of connections; None where nothing was said of them.

    Masks of one's own are put here: trees of ones and zeros, None where all exist.

    Attributes:
      forward: a mask for each weight, the pytree of the parameters.
      backward: a mask for each feedback weight, the pytree of these.
      key: of the noise to come.
    """

    forward: Any = None
    backward: Any = None
    key: Any = None

    def carry(self, feedback: Any, noise: Any) -> Any:
        """Feedback weights as they are in this call."""
        feedback = times(feedback, self.backward)
        if self.key is None:
            return feedback
        now, _ = jax.random.split(self.key)
        drawn = _like(feedback, now, jax.random.normal)
        return jax.tree.map(lambda b, n: b * (1 + noise * n).astype(b.dtype), *drawn)

    @property
    def later(self) -> Connections:
        """For the next call."""
        if self.key is None:
            return self
        return self._replace(key=jax.random.split(self.key)[1])


class FeedbackState(NamedTuple):
    """Feedback weights phi, and which connections exist."""

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
) -> Connections:
    """Draw what is removed of the weights, and of their copies or of other matrices.

    Warns of weights that are not learned, whose connections are what they are.
    """
    warn_of_frozen(circuit)
    own = fold_in_name(key, "apical.connections")
    keys, weights = jax.random.split(own, 3), weights_of(circuit, params)
    found = Connections()
    if _is_positive(forward):
        require_direct(circuit, "`removed_forward`")
        found = found._replace(forward=_kept(weights, keys[0], forward))
    if matrices is None and _is_positive(backward):
        require_direct(circuit, "`removed_backward`")
    if matrices is None and _is_positive(noise):
        require_direct(circuit, "`backward_noise`")
    if _is_positive(backward):
        carried = weights if matrices is None else matrices
        found = found._replace(backward=_kept(carried, keys[1], backward))
    return found._replace(key=keys[2]) if _is_positive(noise) else found


def times(tree: Any, mask: Any) -> Any:
    """A tree entry by entry times a mask; None is a mask of ones, or no leaf."""

    def product(m: Any, x: Any) -> Any:
        return x if m is None or x is None else x * m

    if mask is None:
        return tree
    return jax.tree.map(product, mask, tree, is_leaf=lambda m: m is None)


def _like(tree: Any, key: jax.Array, law: Callable[..., jax.Array]) -> tuple[Any, Any]:
    """A tree, and one of numbers of its shapes."""
    leaves, treedef = jax.tree.flatten(tree)
    ends = list(accumulate(map(jnp.size, leaves)))
    # All at once: a generator is compiled anew for every shape.
    flat = jnp.split(law(key, (ends[-1] if ends else 0,)), ends[:-1])
    pairs = zip(flat, leaves, strict=bool(ends))
    drawn = [numbers.reshape(jnp.shape(leaf)) for numbers, leaf in pairs]
    return tree, jax.tree.unflatten(treedef, drawn)


def _kept(tree: Any, key: jax.Array, removed: Any) -> Any:
    drawn = _like(tree, key, jax.random.uniform)
    return jax.tree.map(lambda x, n: (n >= removed).astype(x.dtype), *drawn)


def _is_positive(number: Any) -> bool:
    """Whether a number is, or (traced) may be, above zero."""
    return not isinstance(number, (int, float)) or number > 0


@rule
class ConnectedRule(Rule):
    """A rule with feedback weights, some of whose connections do not exist.

    A subclass draws its state in `init`, with `connections=self.connect(...)`, and
    writes `taught` and `sent` in place of `credit` and `signals`.

    Args:
      removed_forward: the fraction of forward connections that do not exist: removed
        weights act as 0 and take no gradient.
      removed_backward: the fraction of backward connections that do not exist.
      backward_noise: the standard deviation of feedback weights from call to call,
        relative to their size.
    """

    removed_forward: float = field(default=0.0, kw_only=True)
    removed_backward: float = field(default=0.0, kw_only=True)
    backward_noise: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        check_fraction(self.removed_forward, "removed_forward")
        check_fraction(self.removed_backward, "removed_backward")
        check_positive(self.backward_noise, "backward_noise", or_zero=True)

    def connect(
        self, circuit: Circuit, key: jax.Array, params: Any, matrices: Any = None
    ) -> Connections:
        """The connections at the start; of `matrices`, or of copies of the weights."""
        return connect(
            circuit,
            key,
            params,
            forward=self.removed_forward,
            backward=self.removed_backward,
            noise=self.backward_noise,
            matrices=matrices,
        )

    def carry(self, state: Any, feedback: Any) -> Any:
        """Feedback weights as they are in this call."""
        return state.connections.carry(feedback, self.backward_noise)

    def taught(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """`credit` of the network without its removed connections."""
        raise NotImplementedError

    def sent(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """`signals` of the network without its removed connections."""
        raise NotImplementedError

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """One backward pass through the feedback weights."""
        credit = self.taught(circuit, self._there(circuit, params, state), state, args)
        connections = state.connections
        return credit._replace(
            grads=times(credit.grads, connections.forward),
            state=credit.state._replace(connections=connections.later),
        )

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The teaching signal, at each node."""
        return self.sent(circuit, self._there(circuit, params, state), state, args)

    def reference(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The gradient of the network without its removed connections."""
        here = self._there(circuit, params, state)
        grads = super().reference(circuit, here, state, args)
        return times(grads, state.connections.forward)

    def predict(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The output of the network without its removed connections."""
        here = self._there(circuit, params, state)
        return super().predict(circuit, here, state, args)

    def _there(self, circuit: Circuit, params: Any, state: Any) -> Any:
        """The parameters, removed weights 0; refuses a state of other settings."""
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
        learned = times(circuit.learned(params), state.connections.forward)
        return circuit.merged(params, learned)
