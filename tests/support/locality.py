"""Networks and rules for tests of `measure.locality`, measured once per session."""

from functools import cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import apical
from apical import rules
from apical.measure._locality._update_program import UpdateProgram

# No two alike, and none equal to the number of examples.
WIDTHS, EXAMPLES = (5, 7, 6, 8, 3), 4
X = jnp.sin(jnp.arange(EXAMPLES * 5.0)).reshape(EXAMPLES, 5)
Y = jax.nn.one_hot(jnp.arange(EXAMPLES) % 3, 3)


def weights(*widths: int, bias: bool = False) -> list[dict[str, jax.Array]]:
    """Layers of random weights."""
    keys = jax.random.split(jax.random.key(0), len(widths))
    sizes = zip(keys, widths, widths[1:], strict=False)
    layers = [{"w": jax.random.normal(k, (m, n)) / m**0.5} for k, m, n in sizes]
    if bias:
        layers = [each | {"b": 0.1 * jnp.ones(each["w"].shape[1])} for each in layers]
    return layers


def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a tanh network."""
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer.get("b", 0))
    out = x @ params[-1]["w"] + params[-1].get("b", 0)
    return jnp.mean(0.5 * jnp.sum((out - y) ** 2, axis=-1))


def recurrent_loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a recurrent network that reads its input three times."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(x @ params["in"] + h @ params["back"])
        return h, jnp.mean(0.5 * jnp.sum((h @ params["out"] - y) ** 2, axis=-1))

    start = jnp.zeros((len(x), params["back"].shape[0]))
    return jnp.mean(jax.lax.scan(step, start, jnp.stack([x, -x, x]))[1])


def long_loss_fn(steps: int) -> Any:
    """The loss of the recurrent network over more steps."""

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def step(h: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(jnp.sin(t + 1) * (x @ params["in"]) + h @ params["back"])
            return h, jnp.mean(0.5 * jnp.sum((h @ params["out"] - y) ** 2, axis=-1))

        start = jnp.zeros((len(x), params["back"].shape[0]))
        return jnp.mean(jax.lax.scan(step, start, jnp.arange(steps) / 3)[1])

    return loss_fn


def recurrent_weights() -> dict[str, jax.Array]:
    first, back, out = (weights(m, n)[0]["w"] for m, n in ((5, 7), (7, 7), (7, 3)))
    return {"in": first, "back": back, "out": out}


def learner_of(rule: Any, loss: Any = loss_fn) -> Any:
    target = lambda x, y: y  # noqa: E731
    return apical.value_and_grad(loss, rule, target=target, input_argnums=0)


def measured(rule: Any, loss: Any = loss_fn, params: Any = None, warm: int = 0) -> Any:
    """The locality of a rule on a network, after some calls that move its state."""
    params = weights(*WIDTHS) if params is None else params
    learner = learner_of(rule, loss)
    state = learner.init(jax.random.key(1), params, X, Y)
    for _ in range(warm):
        state = jax.jit(learner.credit)(params, state, X, Y).state
    return apical.measure.locality(learner, params, state, X, Y)


def static(rule: Any, loss: Any = loss_fn, params: Any = None) -> UpdateProgram:
    """The program of an update, for what the static pass alone shows."""
    params = weights(*WIDTHS) if params is None else params
    learner = learner_of(rule, loss)
    state = learner.init(jax.random.key(1), params, X, Y)
    return UpdateProgram(learner, params, state, (X, Y))


@cache
def backpropagation() -> Any:
    """The positive control, measured once."""
    return measured(rules.Backpropagation(), params=weights(*WIDTHS, bias=True))


# ---- Rules made for these tests.


@rules.rule
class OwnFeedback(rules.Rule):
    """Feedback alignment with what a subclass makes of a synapse's two weights."""

    needs: ClassVar[tuple[str, ...]] = (
        "stored activities",
        "derivative of the nonlinearity",
        "update locking",
    )

    def init(self, circuit: Any, key: Any, params: Any, args: Any) -> Any:
        del circuit, args
        flat, unravel = ravel_pytree(params)
        return unravel(jax.random.normal(key, flat.shape) / 2)

    def backward(self, synapse: Any, weight: Any, copy: Any) -> Any:
        del synapse, weight
        return copy

    def after(self, params: Any, state: Any) -> Any:
        del params
        return state

    def feedback(self, params: Any, state: Any) -> Any:
        del params
        return state

    def credit(self, circuit: Any, params: Any, state: Any, args: Any) -> apical.Credit:
        learned, fixed = circuit.leaves.split(params)

        def loss(learned: Any) -> Any:
            here = circuit.leaves.combine(learned, fixed)
            copy = self.feedback(params, state)
            run = circuit.run(here, args, feedback=copy, backward=self.backward)
            return run.loss

        value, grads = jax.value_and_grad(loss)(learned)
        grads = circuit.leaves.combine(grads)
        return apical.Credit(value, None, grads, self.after(params, state), None)


@rules.rule
class ZeroTimes(OwnFeedback):
    """It reads the forward weight and multiplies it by 0, as is known beforehand."""

    def backward(self, synapse: Any, weight: Any, copy: Any) -> Any:
        return copy + 0 * weight


@rules.rule
class ZeroLater(OwnFeedback):
    """It multiplies the forward weight by a number that turns out to be 0."""

    def backward(self, synapse: Any, weight: Any, copy: Any) -> Any:
        return copy + jnp.maximum(jnp.min(copy), 0) * weight


@rules.rule
class DeadBranch(OwnFeedback):
    """It would read the forward weight in a branch that is never taken."""

    def backward(self, synapse: Any, weight: Any, copy: Any) -> Any:
        never = jnp.max(copy) > 1e6
        return jax.lax.cond(never, lambda w, c: w, lambda w, c: c, weight, copy)


@rules.rule
class ScaleFree(OwnFeedback):
    """It reads the forward weight up to its size."""

    def backward(self, synapse: Any, weight: Any, copy: Any) -> Any:
        return weight / jnp.max(jnp.abs(weight))


@rules.rule
class Copycat(OwnFeedback):
    """Its feedback weights of the next call are the forward weights of this one."""

    def after(self, params: Any, state: Any) -> Any:
        return params


@rules.rule
class FlatCopycat(OwnFeedback):
    """The same, with all feedback weights in one vector."""

    def init(self, circuit: Any, key: Any, params: Any, args: Any) -> Any:
        return ravel_pytree(super().init(circuit, key, params, args))[0]

    def feedback(self, params: Any, state: Any) -> Any:
        return ravel_pytree(params)[1](state)

    def after(self, params: Any, state: Any) -> Any:
        return ravel_pytree(params)[0]


@rules.rule
class Flat(FlatCopycat):
    """Feedback alignment with all feedback weights in one vector, which stay."""

    def after(self, params: Any, state: Any) -> Any:
        return state


@rules.rule
class ForwardMode(rules.Rule):
    """The gradient of every parameter by a forward pass of its own."""

    def credit(self, circuit: Any, params: Any, state: Any, args: Any) -> apical.Credit:
        flat, unravel = ravel_pytree(params)

        def loss(flat: Any) -> Any:
            return circuit.loss_fn(unravel(flat), *args)

        grads = unravel(jax.jacfwd(loss)(flat))
        return apical.Credit(loss(flat), None, grads, state, None)
