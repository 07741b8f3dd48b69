"""The network of Wunderlich & Pehl 2021 on Yin-Yang: 5-200-3, read by first spikes.

Each of the four features x is a spike at 30 x ms, and a fifth input spikes at 0. The
class is the output neuron that spikes first.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from apical import spiking
from apical.lab.data.tasks._yin_yang import yin_yang_points
from apical.lab.storage._jsonl import Line

BATCH, RATE, DECAY = 32, 5e-3, 0.95
_WINDOW = 30.0  # ms
_TAU_M, _TAU_S = 20.0, 5.0  # ms
_LOSS = {"tau": 0.5, "early": 3e-3, "early_tau": 6.4}  # ms
_SPIKES = 4  # of a hidden neuron; more are never seen, and would be NaN
_REMEDY = 10.0
_TRAIN_SEED, _TEST_SEED = 42, 40  # of the published points

Params = dict[str, jax.Array]
# (parameters, features, class) -> loss, (is it right, is the label silent)
Example = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, Any]]


class Size(NamedTuple):
    """The size of the runs."""

    width: int
    trained: int
    tested: int
    epochs: int
    seeds: int


class Network(NamedTuple):
    """How one example is answered, what is drawn at the start, and what is learned."""

    example: Example
    draw: Callable[[int, jax.Array], Params]
    learned: tuple[str, ...]


def spiking_network(remedy: bool = False, hidden: bool = True) -> Network:
    """The spiking network.

    Args:
      remedy: whether a silent neuron of the label learns from its largest potential.
      hidden: whether the hidden layer learns.
    """
    learned = ("first", "second") if hidden else ("second",)
    return Network(partial(_spiking_example, remedy), _spiking_weights, learned)


def _spiking_example(
    remedy: bool, params: Params, features: jax.Array, label: jax.Array
) -> tuple[jax.Array, Any]:
    layer = partial(spiking.spike_times, tau_m=_TAU_M, tau_s=_TAU_S)
    inputs = jnp.append(_WINDOW * features, 0.0)
    hidden = layer(params["first"], inputs, max_spikes=_SPIKES)
    out = layer(params["second"], hidden.times, max_spikes=1, overflow="truncate")
    loss = spiking.first_spike_loss(out.times, label, **_LOSS)
    silent = out.counts[label] == 0
    if remedy:
        tops = spiking.subthreshold_peak(
            params["second"], hidden.times, tau_m=_TAU_M, tau_s=_TAU_S
        )
        missing = 1 - jnp.minimum(tops[label], 1.0)
        loss = loss + jnp.where(silent, _REMEDY * missing, 0.0)
    right = (jnp.argmin(out.times[:, 0]) == label) & ~silent
    return loss, (right, silent)


def _spiking_weights(width: int, key: jax.Array) -> Params:
    first, second = jax.random.split(key)
    return {
        "first": 1.5 + 0.78 * jax.random.normal(first, (5, width)),
        "second": 0.93 + 0.1 * jax.random.normal(second, (width, 3)),
    }


def artificial_network() -> Network:
    """As many rectified linear units in place of the hidden neurons, with biases."""
    return Network(_artificial_example, _artificial_weights, ("first", "b", "second"))


def _artificial_example(
    params: Params, features: jax.Array, label: jax.Array
) -> tuple[jax.Array, Any]:
    hidden = jax.nn.relu(features @ params["first"] + params["b"])
    logits = hidden @ params["second"]
    loss = -jax.nn.log_softmax(logits)[label]
    return loss, (jnp.argmax(logits) == label, jnp.array(False))


def _artificial_weights(width: int, key: jax.Array) -> Params:
    first, second = jax.random.split(key)
    return {
        "first": jax.random.normal(first, (4, width)) * np.sqrt(2 / 4),
        "b": jnp.zeros(width),
        "second": jax.random.normal(second, (width, 3)) * np.sqrt(2 / width),
    }


def train(network: Network, size: Size, seed: int) -> Iterator[Line]:
    """Train by Adam with a decaying rate, and measure before and after every epoch."""
    x, y = yin_yang_points(size.trained, _TRAIN_SEED)
    test_x, test_y = yin_yang_points(size.tested, _TEST_SEED)
    steps = size.trained // BATCH
    schedule = optax.exponential_decay(RATE, steps, DECAY, staircase=True)
    adam = optax.adam(schedule)

    def mean(learned: Params, params: Params, x: jax.Array, y: jax.Array) -> Any:
        batched = jax.vmap(network.example, (None, 0, 0))
        loss, aux = batched({**params, **learned}, x, y)
        return jnp.mean(loss), jax.tree.map(jnp.mean, aux)

    @jax.jit
    def epoch(params: Params, state: Any, key: jax.Array) -> Any:
        order = jax.random.permutation(key, size.trained)[: steps * BATCH]

        def step(carry: Any, index: jax.Array) -> Any:
            params, state = carry
            learned = {name: params[name] for name in network.learned}
            slope = jax.value_and_grad(mean, has_aux=True)
            (loss, _), grads = slope(learned, params, points[index], classes[index])
            moves, state = adam.update(grads, state, learned)
            learned = jax.tree.map(jnp.add, learned, moves)
            return ({**params, **learned}, state), loss

        points, classes = jnp.asarray(x, jnp.float32), jnp.asarray(y)
        carry = (params, state)
        (params, state), losses = jax.lax.scan(step, carry, order.reshape(steps, BATCH))
        return params, state, jnp.mean(losses)

    @jax.jit
    def test(params: Params) -> Any:
        data = jnp.asarray(test_x, jnp.float32), jnp.asarray(test_y)
        return mean({}, params, *data)[1]

    weights, shuffled = jax.random.split(jax.random.key(seed))
    params = network.draw(size.width, weights)
    state = adam.init({name: params[name] for name in network.learned})
    loss = None
    for number in range(size.epochs + 1):
        if number:
            now = jax.random.fold_in(shuffled, number)
            params, state, loss = epoch(params, state, now)
        right, silent = map(float, test(params))
        loss = None if loss is None else float(loss)
        lost = loss is not None and not np.isfinite(loss)
        yield {
            **{"seed": seed, "epoch": number, "epochs": size.epochs},
            **{"status": "diverged" if lost else "ok", "test_accuracy": right},
            **{"silent": silent, "training_loss": loss},
        }
