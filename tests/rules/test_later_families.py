"""Rules of planned families, written with the public tools alone.

Each is as short as a rule should be, and equals a network written by hand.
"""

from dataclasses import field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.laws import assert_same, distance, dotted, normal, traced

import apical
from apical import Credit, drive_of
from apical.rules import Rule, rule
from apical.rules.tools import LOSS

KEY = jax.random.key(0)


def static(default):
    """Part of the rule's type, not a number of it."""
    return field(default=default, metadata={"static": True})


X, Y = normal(1, 5, 3), normal(2, 5, 2)
PARAMS = {"a": normal(3, 3, 4, size=0.5), "b": normal(4, 4, 4, size=0.5)}
PARAMS |= {"c": normal(5, 4, 2, size=0.5)}


def loss_fn(params, x, y):
    h = jnp.tanh(jnp.tanh(x @ params["a"]) @ params["b"])
    return 0.5 * jnp.sum((h @ params["c"] - y) ** 2) / len(x)


def grads_of(rule, params=PARAMS):
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(KEY, params, X, Y)
    return jax.jit(lambda params: learner(params, state, X, Y).grads)(params)


def true_grads():
    return jax.grad(loss_fn)(PARAMS, X, Y)


# ------------------------------------------------------ equilibrium: contrast of drives


@rule
class Contrast(Rule):
    """s_n = rho(z_n + sum_m <s_m, dz_m/ds_n> - nudge dL/ds_n), in two states."""

    nudge: float = 0.1
    steps: int = static(15)
    nodes: ClassVar[str] = "unit"

    def credit(self, circuit, params, state, args):
        names = [node.name for node in circuit.nodes]
        drives = [drive_of(name) for name in names]

        def primitive(values, nudge):
            run = circuit.run(params, args, tap="clamp", inject=values, sites=drives)
            parts = (jnp.vdot(values[n], run.sites[drive_of(n)]) for n in names)
            return sum(parts) - nudge * circuit.batch_size * run.loss

        def rho(z):
            inject = {drive_of(n): z[n] for n in names}
            return circuit.run(params, args, tap="clamp", inject=inject).sites

        def settle(nudge):
            values = circuit.zeros()
            for _ in range(self.steps):
                values = rho(jax.grad(primitive)(values, nudge))
            return values

        def local(values, loss):
            at_drives = {drive_of(n): values[n] / circuit.batch_size for n in names}
            return circuit.pull(params, args, values, at_drives, loss=-loss)

        nudged, free = local(settle(self.nudge), self.nudge), local(settle(0.0), 0.0)
        grads = jax.tree.map(lambda n, f: (f - n) / self.nudge, nudged, free)
        return Credit(jnp.zeros(()), None, grads, state, ())


def contrast_by_hand(nudge, steps, product):
    def settle(nudge):
        one, two = np.zeros((5, 4)), np.zeros((5, 4))
        for _ in range(steps):
            error = two @ c - y
            one, two = (
                np.tanh(x @ a + two @ b.T),
                np.tanh(one @ b - nudge * error @ c.T),
            )
        return one, two, two @ c - y

    (a, b, c), x, y = (
        (np.asarray(PARAMS[k]) for k in "abc"),
        np.asarray(X),
        np.asarray(Y),
    )
    (one, two, error), (free_one, free_two, _) = settle(nudge), settle(0.0)
    return {
        "a": -(x.T @ (one - free_one)) / nudge / 5,
        "b": -(one.T @ two - free_one.T @ free_two) / nudge / 5,
        "c": two.T @ error / 5,
    }


def test_the_contrast_of_two_states_equals_two_layers_by_hand():
    expected = contrast_by_hand(0.1, 15, None)
    assert_same(grads_of(Contrast()), jax.tree.map(jnp.asarray, expected), 1e-4)
    other = grads_of(Contrast(nudge=0.5))
    assert all(distance(other[leaf], expected[leaf]) > 1e-2 for leaf in "abc")


# ------------------------------------------------------------------------------ targets


@rule
class Targets(Rule):
    """t_top = v - rate dL/dv;  t_n = v_n + g(t_m) - g(v_m), g(u) = tanh(u G)."""

    rate: float = 0.3

    def init(self, circuit, key, params, args):
        return {
            n.name: jax.random.normal(key, (n.shape[-1],) * 2) for n in circuit.nodes
        }

    def credit(self, circuit, params, state, args):
        values = circuit.run(params, args).sites

        def at_top(values):
            return circuit.run(params, args, tap="clamp", inject=values).loss

        slope, targets = jax.grad(at_top)(values), {}
        for node in reversed(circuit.nodes):
            ((above, _),), name = circuit.reach[node.name], node.name
            if above is LOSS:
                step = self.rate * circuit.batch_size * slope[name]
                targets[name] = values[name] - step
            else:
                back = [
                    jnp.tanh(u @ state[name]) for u in (targets[above], values[above])
                ]
                targets[name] = values[name] + back[0] - back[1]
        scale = 1 / circuit.batch_size
        delta = {n: scale * (values[n] - targets[n]) for n in values}
        grads = circuit.pull(params, args, values, delta, loss=1.0)
        return Credit(jnp.zeros(()), None, grads, state, ())


def test_targets_at_the_nodes_equal_three_layers_by_hand():
    (a, b, c), x, y = (
        (np.asarray(PARAMS[k]) for k in "abc"),
        np.asarray(X),
        np.asarray(Y),
    )
    inverse = np.asarray(jax.random.normal(KEY, (4, 4)))
    one = np.tanh(x @ a)
    two = np.tanh(one @ b)
    error = two @ c - y
    top = two - 0.3 * error @ c.T
    low = one + np.tanh(top @ inverse) - np.tanh(two @ inverse)
    expected = {
        "a": x.T @ ((one - low) * (1 - one**2)) / 5,
        "b": one.T @ ((two - top) * (1 - two**2)) / 5,
        "c": two.T @ error / 5,
    }
    found = grads_of(Targets())
    assert_same(found, jax.tree.map(jnp.asarray, expected), 1e-4)
    assert_same(found["c"], true_grads()["c"])
    assert distance(found["a"], true_grads()["a"]) > 0.1


# ------------------------------------------------------------------- local objectives


@rule
class Local(Rule):
    """Each node descends its own objective of its inputs."""

    tap: Any = static("stop")

    def objective(self, value):
        return jnp.sum((jnp.mean(value**2, axis=-1) - 1) ** 2)

    def credit(self, circuit, params, state, args):
        def local(params):
            run = circuit.run(params, args, tap=self.tap)
            return run.loss + sum(map(self.objective, run.sites.values())), run

        grads, run = jax.grad(local, has_aux=True)(params)
        return Credit(run.loss, None, grads, state, ())


def raised(params):
    """The same lower weight, others above it."""
    return {"a": params["a"], "b": -2 * params["b"], "c": params["c"][::-1]}


def test_with_weights_above_changed_a_local_update_is_the_same_bit_for_bit():
    below, above = grads_of(Local()), grads_of(Local(), raised(PARAMS))
    np.testing.assert_array_equal(below["a"], above["a"])
    assert np.any(below["a"])
    assert distance(above["b"], below["b"]) > 0.1
    chained = [
        grads_of(Local(None), params)["a"] for params in (PARAMS, raised(PARAMS))
    ]
    assert distance(*chained) > 0.1


# ---------------------------------------------------------------------- forward-forward


def normalised(site, computed, injected):
    """What consumers read: no goodness to be had from the layer below."""
    del site, injected
    value = jax.lax.stop_gradient(computed)
    return value / jnp.linalg.norm(value, axis=-1, keepdims=True)


@rule
class ForwardForward(Local):
    """Raise the goodness of the first examples, lower that of the others."""

    tap: Any = static(normalised)

    def objective(self, value):
        goodness = jnp.sum(value**2, axis=-1) - 1
        signs = jnp.where(jnp.arange(len(value)) < 3, 1.0, -1.0)
        return jnp.sum(jax.nn.softplus(-signs * goodness))


def test_a_tap_of_its_own_makes_forward_forward():
    def by_hand(params):
        one = jnp.tanh(X @ params["a"])
        read = normalised("", one, None)
        two = jnp.tanh(read @ params["b"])
        goodness = ForwardForward().objective(one) + ForwardForward().objective(two)
        out = normalised("", two, None) @ params["c"]
        return goodness + 0.5 * jnp.sum((out - Y) ** 2) / 5

    found = grads_of(ForwardForward())
    assert_same(found, jax.grad(by_hand)(PARAMS))
    np.testing.assert_array_equal(
        found["a"], grads_of(ForwardForward(), raised(PARAMS))["a"]
    )
    assert distance(grads_of(ForwardForward(tap="stop"))["b"], found["b"]) > 0.1


# -------------------------------------------------------------------- stochastic nodes


def noisy(site, computed, injected):
    del site
    return computed if injected is None else computed + jax.lax.stop_gradient(injected)


@rule
class NodePerturbation(Rule):
    """delta_n = (L(noise) - L) noise_n / size^2, the mean over draws."""

    size: float = 0.01
    draws: int = static(3000)
    shuffled: bool = static(False)

    def init(self, circuit, key, params, args):
        return key

    def credit(self, circuit, params, state, args):
        sites = [*(node.name for node in circuit.nodes), "output"]
        values = circuit.run(params, args, sites=sites).sites

        def draw(key):
            keys = dict(zip(values, jax.random.split(key, len(values)), strict=True))
            noise = {n: jax.random.normal(keys[n], v.shape) for n, v in values.items()}
            inject = jax.tree.map(lambda x: self.size * x, noise)
            run = circuit.run(params, args, tap=noisy, inject=inject, sites=sites)
            return run.loss, noise

        losses, noise = jax.vmap(draw)(jax.random.split(state, self.draws))
        change = (losses - jnp.mean(losses)) / self.size / self.draws
        change = jnp.roll(change, 1) if self.shuffled else change
        delta = {n: jnp.tensordot(change, noise[n], 1) for n in noise}
        held = {n: v for n, v in values.items() if n != "output"}
        grads = circuit.pull(params, args, held, delta)
        return Credit(jnp.mean(losses), None, grads, state, ())


def cosine(one, other):
    sizes = dotted(one, one) * dotted(other, other)
    return float(dotted(one, other) / sizes**0.5)


def test_the_noise_at_the_nodes_correlates_with_the_loss_as_the_gradient_says():
    true, found = true_grads(), grads_of(NodePerturbation())
    assert cosine(found, true) > 0.95
    assert all(cosine(found[leaf], true[leaf]) > 0.9 for leaf in "abc")
    np.testing.assert_allclose(dotted(found, true), dotted(true, true), rtol=0.2)
    assert abs(cosine(grads_of(NodePerturbation(shuffled=True)), true)) < 0.5


# ------------------------------------------------------------------ the protocol itself


def test_a_rule_written_outside_is_a_rule_like_the_others():
    steps = jnp.array([0.1, 0.3])
    learner = apical.value_and_grad(loss_fn, Targets())
    state = learner.init(KEY, PARAMS, X, Y)

    def swept(rate):
        return apical.value_and_grad(loss_fn, Targets(rate))(PARAMS, state, X, Y).grads

    grads = jax.jit(jax.vmap(swept))(steps)
    assert_same(jax.tree.map(lambda g: g[1], grads), grads_of(Targets()), 1e-4)
    assert distance(grads["a"][0], grads["a"][1]) > 0.1


def test_drives_are_refused_where_there_are_none():
    found = traced(lambda p, x: jnp.mean((x @ p["a"] @ p["b"]) ** 2), PARAMS, X)
    with pytest.raises(ValueError, match="no drive"):
        found.circuit.pull(PARAMS, (X,), {}, {drive_of("a"): X})
