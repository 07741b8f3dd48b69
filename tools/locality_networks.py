"""The networks on which the needs of each rule are measured (`locality_table.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import optax

import apical
from apical import rules
from apical.lab import NOT_COMPARED, RULES

# No two alike, so that an axis of examples or units can be told by its length.
WIDTHS, EXAMPLES, STEPS = (5, 7, 6, 8, 3), 4, 9
UNITS, STEP_SIZE, UPDATES = 7, 0.05, 3
KEY = jax.random.key(0)


@dataclass(frozen=True)
class Network:
    """A loss function with parameters and data.

    Attributes:
      about: what it is, in a few words.
      loss_fn: the loss function.
      shapes: the shapes of its weights.
      args: the data.
      keywords: the description that `apical.value_and_grad` takes.
    """

    about: str
    loss_fn: Callable[..., Any]
    shapes: tuple[tuple[int, int], ...]
    args: tuple[Any, ...]
    keywords: dict[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> list[jax.Array]:
        """Random weights, scaled by the number of inputs."""
        keys = jax.random.split(KEY, len(self.shapes))
        pairs = zip(keys, self.shapes, strict=True)
        return [jax.random.normal(key, (m, n)) / m**0.5 for key, (m, n) in pairs]


# ---- Layers


def squared_error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a tanh network."""
    return jnp.mean(jnp.sum((output(params, x) - y) ** 2, axis=-1))


def cross_entropy(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The cross-entropy of a tanh network."""
    return jnp.mean(optax.softmax_cross_entropy(output(params, x), y))


def output(params: Any, x: jax.Array) -> jax.Array:
    """The output of a tanh network."""
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer)
    return x @ params[-1]


def spiking_error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of a network of stochastic binary units."""
    for layer in params[:-1]:
        x = apical.bernoulli(jax.nn.sigmoid(x @ layer))
    return jnp.mean(jnp.sum((x @ params[-1] - y) ** 2, axis=-1))


def target(x: jax.Array, y: jax.Array) -> jax.Array:
    """The target of the output."""
    del x
    return y


INPUTS = jax.random.normal(jax.random.key(1), (EXAMPLES, WIDTHS[0]))
LABELS = jax.nn.one_hot(jnp.arange(EXAMPLES) % WIDTHS[-1], WIDTHS[-1])
LAYERS = Network(
    "four layers of tanh units, squared error",
    squared_error,
    tuple(pairwise(WIDTHS)),
    (INPUTS, LABELS),
    {"target": target, "input_argnums": 0},
)
CLASSES = replace(
    LAYERS, about="four layers of tanh units, cross-entropy", loss_fn=cross_entropy
)
SPIKES = replace(
    LAYERS,
    about="four layers of stochastic binary units, squared error",
    loss_fn=spiking_error,
)
AROUND = replace(
    LAYERS,
    about="one hidden layer of tanh units that reconstructs its input",
    shapes=tuple(pairwise((WIDTHS[0], UNITS, WIDTHS[0]))),
    args=(INPUTS, INPUTS),
)


# ---- Loops


def recurrent_error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of leaky recurrent units at the last step."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        return 0.9 * h + x @ params[0] + jnp.tanh(h) @ params[1], None

    start = jnp.zeros((x.shape[1], len(params[1])))
    end, _ = jax.lax.scan(step, start, x)
    return jnp.mean(jnp.sum((jnp.tanh(end) @ params[2] - y) ** 2, axis=-1))


SEQUENCES = jax.random.normal(jax.random.key(1), (STEPS, EXAMPLES, WIDTHS[0]))
LOOP = Network(
    f"leaky recurrent units over {STEPS} steps, squared error at the end",
    recurrent_error,
    ((WIDTHS[0], UNITS), (UNITS, UNITS), (UNITS, WIDTHS[-1])),
    (SEQUENCES, LABELS),
    {"batch_axes": (1, 0)},
)


def spiking_loop_error(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """The squared error of the rates of two layers of units with a soft threshold."""

    def step(state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        potentials = []
        for i, (v, layer) in enumerate(zip(state, params, strict=True)):
            v = 0.9 * v + x @ layer
            x = apical.node(jax.nn.sigmoid(4 * (v - 1)), f"spikes {i}")
            potentials.append(v - x)
        return tuple(potentials), x

    start = tuple(jnp.zeros((x.shape[1], layer.shape[1])) for layer in params)
    _, spikes = jax.lax.scan(step, start, x)
    rates = apical.output(jnp.mean(spikes, axis=0))
    return jnp.mean(jnp.sum((rates - y) ** 2, axis=-1))


SPIKING_LOOP = replace(
    LOOP,
    about=f"two layers of spiking units over {STEPS} steps, squared error of the rates",
    loss_fn=spiking_loop_error,
    shapes=((WIDTHS[0], UNITS), (UNITS, WIDTHS[-1])),
)


def windowed_error(
    params: Any, h: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The squared error at the end of a window, and the state there."""

    def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        return jnp.tanh(x @ params[0] + h @ params[1]), None

    end, _ = jax.lax.scan(step, h, x)
    return jnp.mean(jnp.sum((end @ params[2] - y) ** 2, axis=-1)), {"h": end}


WINDOW = replace(
    LOOP,
    about=f"recurrent tanh units over a window of {STEPS} steps, squared error at its "
    "end",
    loss_fn=windowed_error,
    args=(jax.random.normal(KEY, (EXAMPLES, UNITS)), SEQUENCES, LABELS),
    keywords={"batch_axes": (0, 1, 0), "carry": (0, "h"), "has_aux": True},
)


# ---- The network of each rule


def _shifted(key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The next input, for rules that compare an example with it."""
    del key
    return jnp.roll(x, 1, axis=-1), y


# Rules that need another network than the layers, or the loop.
OF_RULE: dict[str, Network] = {
    # The sign of its error is the label for a cross-entropy alone.
    "direct-feedback-alignment-sign": CLASSES,
    "recirculation": AROUND,
    "score-function": SPIKES,
    "straight-through": SPIKES,
    "concrete": SPIKES,
    "stdp": SPIKING_LOOP,
    "three-factor": SPIKING_LOOP,
    "windowed-synthetic-gradients": WINDOW,
}
# Why needs of a rule are not decided, beyond what docs/locality.md says of all.
WHY = {
    "clapp": "It learns from pairs of inputs: which pair belongs together is a "
    "constant of the program, and both are given at the same time.",
    "uoro": "Each step is told one number beside the vector of its own error.",
}


def names() -> list[str]:
    """The names of all rules, as `apical rules` lists them."""
    return [*RULES, *NOT_COMPARED]


def rule_of(name: str) -> rules.Rule:
    """The rule that a name stands for."""
    spec = RULES[name] if name in RULES else NOT_COMPARED[name].spec
    made = spec.make()
    return replace(made, positive=_shifted) if name == "clapp" else made


def network_of(name: str) -> Network:
    """The network on which a rule is measured."""
    return OF_RULE.get(name) or (LOOP if rule_of(name).through_time else LAYERS)


def after_updates(rule: rules.Rule, network: Network) -> tuple[Any, Any, Any]:
    """The learner, its parameters and its state after some updates.

    They move a rule's own networks, of which some send nothing at first.
    """
    params = network.params
    learner = apical.value_and_grad(network.loss_fn, rule, **network.keywords)
    step = apical.train_step(learner, optax.sgd(STEP_SIZE))
    state = step.init(KEY, params, *network.args)
    for _ in range(UPDATES):
        params, state, _ = jax.jit(step)(params, state, *network.args)
    return learner, params, state.rule


def measured(name: str) -> apical.measure.Locality:
    """The locality of the rule of this name, on its network."""
    network = network_of(name)
    learner, params, state = after_updates(rule_of(name), network)
    return apical.measure.locality(learner, params, state, *network.args)
