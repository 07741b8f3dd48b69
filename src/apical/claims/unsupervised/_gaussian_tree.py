"""Gaussian Bayes nets on trees: exact inference, and the exact likelihood.

    v = parent(v) W_v + noise,     noise ~ N(0, I / p_v),     the root is given

The leaves of the tree are seen, the variables between are hidden. Every row of a value
is one example.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import apical

ROOT = "s"
Values = dict[str, Any]


class Tree(NamedTuple):
    """A tree of variables.

    Attributes:
        size: of each variable, parents before children.
        parent: of each variable but the root.
    """

    size: Mapping[str, int]
    parent: Mapping[str, str]

    @property
    def seen(self) -> tuple[str, ...]:
        """The leaves."""
        return tuple(v for v in self.parent if v not in self.parent.values())

    @property
    def hidden(self) -> tuple[str, ...]:
        """The variables between the root and the leaves."""
        return tuple(v for v in self.parent if v not in self.seen)

    def children(self, variable: str) -> tuple[str, ...]:
        """The variables whose parent it is."""
        return tuple(v for v, above in self.parent.items() if above == variable)


class Net(NamedTuple):
    """A tree with numbers.

    Attributes:
        tree: of variables.
        weights: of each variable but the root, `(size of parent, size)`.
        precision: of each variable but the root.
    """

    tree: Tree
    weights: Values
    precision: Mapping[str, float]

    @classmethod
    def drawn(cls, tree: Tree, seed: int) -> Net:
        """Weights of variance 1 / size of the parent, precisions between 2 and 8."""
        draw, size = np.random.default_rng(seed), tree.size
        shapes = {v: (size[above], size[v]) for v, above in tree.parent.items()}
        weights = {
            v: jnp.asarray(draw.normal(size=shape)) / shape[0] ** 0.5
            for v, shape in shapes.items()
        }
        return cls(tree, weights, {v: float(2 ** draw.uniform(1, 3)) for v in weights})

    def sample(self, seed: int, examples: int) -> Values:
        """The root, which is N(0, I), and all other variables."""
        draw = np.random.default_rng(seed)
        found: Values = {ROOT: draw.normal(size=(examples, self.tree.size[ROOT]))}
        for v, above in self.tree.parent.items():
            noise = draw.normal(size=(examples, self.tree.size[v]))
            mean = found[above] @ self.weights[v]
            found[v] = mean + noise / self.precision[v] ** 0.5
        return {v: jnp.asarray(value) for v, value in found.items()}

    def predicted(self, root: jax.Array) -> Values:
        """The mean of every variable given the root alone."""
        found = {ROOT: root}
        for v, above in self.tree.parent.items():
            found[v] = found[above] @ self.weights[v]
        return found


def loss_of(net: Net) -> Any:
    """The loss of weights, root and seen variables, with each hidden one as a node.

    Half the squared errors of what is seen times their precisions, mean of examples.
    """
    tree, precision = net.tree, net.precision

    def loss_fn(weights: Values, root: jax.Array, seen: Values) -> jax.Array:
        value, total = {ROOT: root}, 0.0
        for v, above in tree.parent.items():
            prediction = value[above] @ weights[v]
            if v in tree.seen:
                missed = jnp.sum((seen[v] - prediction) ** 2, axis=-1)
                total = total + precision[v] * jnp.mean(missed) / 2
            else:
                value[v] = apical.node(prediction, v)
        return jnp.asarray(total)

    return loss_fn


# ---- Inference, in two ways


def posterior_means(net: Net, root: jax.Array, seen: Values) -> Values:
    """E[h | root, seen] of each hidden variable: the mean of the joint Gaussian.

    J h = b, with J the joint precision of all hidden variables.
    """
    tree, size = net.tree, net.tree.size
    ends = np.cumsum([0, *(size[v] for v in tree.hidden)])
    place = {v: slice(*ends[i : i + 2]) for i, v in enumerate(tree.hidden)}
    joint = np.zeros((ends[-1], ends[-1]))
    told = np.zeros((len(root), ends[-1]))
    given = {ROOT: root, **seen}
    for v, above in tree.parent.items():
        w, p = np.asarray(net.weights[v]), net.precision[v]
        if v in place:
            joint[place[v], place[v]] += p * np.eye(size[v])
        if above in place:
            joint[place[above], place[above]] += p * w @ w.T
        if v in place and above in place:
            joint[place[above], place[v]] -= p * w
            joint[place[v], place[above]] -= p * w.T
        elif v in place:
            told[:, place[v]] += p * np.asarray(given[above]) @ w
        else:
            told[:, place[above]] += p * np.asarray(given[v]) @ w.T
    found = np.linalg.solve(joint, told.T).T
    return {v: found[:, place[v]] for v in tree.hidden}


class Message(NamedTuple):
    """A Gaussian message: its precision, and precision times mean of each example."""

    precision: Any
    told: Any

    def __add__(self, other: Any) -> Message:
        return Message(self.precision + other.precision, self.told + other.told)


def belief_propagation(net: Net, root: jax.Array, seen: Values) -> Values:
    """The same means by messages from the leaves to the root, and back."""
    tree, up = net.tree, {}
    weights = {v: np.asarray(w) for v, w in net.weights.items()}

    def from_children(v: str, but: str = "") -> Message:
        none = Message(np.zeros((tree.size[v],) * 2), 0.0)
        return sum((up[c] for c in tree.children(v) if c != but), none)

    for v in reversed(tuple(tree.parent)):
        w, p = weights[v], net.precision[v]
        if v in tree.seen:
            up[v] = Message(p * w @ w.T, p * np.asarray(seen[v]) @ w.T)
            continue
        below = from_children(v)
        gain = p * np.linalg.inv(below.precision + p * np.eye(tree.size[v])) @ w.T
        up[v] = Message(p * w @ (w.T - gain), below.told @ gain)
    down: dict[str, Message] = {}
    for v in tree.hidden:
        w, p, above = weights[v], net.precision[v], tree.parent[v]
        eye = np.eye(tree.size[v])
        if above == ROOT:
            down[v] = Message(p * eye, p * np.asarray(root) @ w)
            continue
        rest = from_children(above, but=v) + down[above]
        gain = p * np.linalg.inv(rest.precision + p * w @ w.T) @ w
        down[v] = Message(p * (eye - w.T @ gain), rest.told @ gain)
    met = {v: down[v] + from_children(v) for v in tree.hidden}
    return {v: np.linalg.solve(m.precision, m.told.T).T for v, m in met.items()}


# ---- The likelihood of what is seen


def gain_and_covariance(net: Net) -> tuple[jax.Array, jax.Array]:
    """G and S: what is seen is N(root G, S), the hidden variables summed over."""
    tree, eye = net.tree, jnp.eye(net.tree.size[ROOT])
    gain, covariance = {ROOT: eye}, {(ROOT, ROOT): 0 * eye}
    for v, above in tree.parent.items():
        w = net.weights[v]
        for other in tuple(gain):
            covariance[v, other] = w.T @ covariance[above, other]
            covariance[other, v] = covariance[v, other].T
        own = jnp.eye(tree.size[v]) / net.precision[v]
        covariance[v, v] = w.T @ covariance[above, v] + own
        gain[v] = gain[above] @ w
    blocks = [[covariance[v, other] for other in tree.seen] for v in tree.seen]
    return jnp.concatenate([gain[v] for v in tree.seen], axis=1), jnp.block(blocks)


def first_term(net: Net, root: jax.Array, seen: Values) -> jax.Array:
    """(z - root G) S⁻¹ (z - root G)ᵀ / 2, mean of examples, z what is seen."""
    gain, covariance = gain_and_covariance(net)
    missed = jnp.concatenate([seen[v] for v in net.tree.seen], axis=1) - root @ gain
    return jnp.sum(missed.T * jnp.linalg.solve(covariance, missed.T)) / 2 / len(root)


def half_log_determinant(net: Net) -> jax.Array:
    """log|S| / 2."""
    return jnp.linalg.slogdet(gain_and_covariance(net)[1])[1] / 2


def divergence(truth: Net, net: Net) -> jax.Array:
    """KL(truth || net) of what is seen, in nats, expected over the root."""
    (gain, inside), (other, outside) = map(gain_and_covariance, (truth, net))
    apart = (gain - other).T @ (gain - other)
    ratio = jnp.linalg.solve(outside, inside + apart)
    logs = jnp.linalg.slogdet(outside)[1] - jnp.linalg.slogdet(inside)[1]
    return (jnp.trace(ratio) - len(inside) + logs) / 2
