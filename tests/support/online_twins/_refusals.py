"""Loops in which units mix by more than a synapse: rules of units must refuse them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ._case import HIDDEN, Draw, zeros
from ._rates import complex_zeros, lru_params, plain, rate_params
from ._spikes import spiking_params


@dataclass(frozen=True)
class Refusal:
    """A loss that rules of units refuse, and the operation that the error names."""

    name: str
    loss_fn: Callable[..., jax.Array]
    params: Any
    args: tuple[Any, ...]
    operation: str
    batch_axes: Any = 0


REFUSALS: dict[str, Callable[[], Refusal]] = {}


def refuse(operation: str):
    """Decorate `build(draw) -> (step, start, params)`: a row of `REFUSALS`."""

    def entered(build):
        def make() -> Refusal:
            draw = Draw(1000 + list(REFUSALS).index(build.__name__))
            step, start, params = build(draw)
            loss = plain(step, start)
            return Refusal(build.__name__, loss, params, draw.series(), operation)

        REFUSALS[build.__name__] = make
        return build

    return entered


@refuse("reduce_sum")
def layer_norm(draw):
    """The state is normalised over the units."""

    def step(p, h, x):
        u = 0.9 * h + x @ p["in"] + jnp.tanh(h) @ p["rec"] + p["b"]
        h = u - jnp.mean(u, -1, keepdims=True)
        h = h * jax.lax.rsqrt(jnp.mean(h**2, -1, keepdims=True) + 1e-3)
        return h, h @ p["out"]

    return step, zeros(HIDDEN), rate_params(draw)


@refuse("reduce_sum")
def inhibition_by_sum(draw):
    """Every unit is inhibited by the sum of all."""

    def step(p, h, x):
        everyone = jnp.sum(jax.nn.relu(h), -1, keepdims=True)
        h = 0.9 * h + x @ p["in"] - 0.1 * everyone
        return h, jax.nn.relu(h) @ p["out"]

    return step, zeros(HIDDEN), spiking_params(draw)


@refuse("reduce_max")
def winner_take_all(draw):
    """Only the unit with the largest potential spikes, and all are reset by it."""

    def step(p, v, x):
        v = 0.9 * v + x @ p["in"]
        winner = jax.nn.relu(v - jnp.max(v, -1, keepdims=True) + 0.5)
        return v - winner, winner @ p["out"]

    return step, zeros(HIDDEN), spiking_params(draw)


@refuse("reduce_sum")
def attention_over_the_state(draw):
    """The state is weighted by a softmax over itself."""

    def step(p, h, x):
        h = 0.9 * h * jax.nn.softmax(h) + x @ p["in"]
        return h, h @ p["out"]

    return step, zeros(HIDDEN), spiking_params(draw)


@refuse("mul")
def product_of_states(draw):
    """A product of two activities, with no weight: no synapse."""

    def step(p, h, x):
        among = jnp.tanh(h)[:, :, None] * h[:, None, :]
        h = 0.5 * h + x @ p["in"] + jnp.einsum("bij,bj->bi", among, h)
        return h, h @ p["out"]

    return step, zeros(HIDDEN), spiking_params(draw)


@refuse("cumsum")
def cumulative_sum(draw):
    """Each unit reads the sum of those before it."""

    def step(p, h, x):
        h = 0.5 * h + x @ p["in"] + 0.1 * jnp.cumsum(h, -1)
        return h, h @ p["out"]

    return step, zeros(HIDDEN), spiking_params(draw)


@refuse("sort")
def sorted_state(draw):
    def step(p, h, x):
        h = 0.5 * jnp.sort(h, -1) + x @ p["in"]
        return h, h @ p["out"]

    return step, zeros(HIDDEN), spiking_params(draw)


@refuse("conj")
def not_holomorphic(draw):
    """A complex state that is conjugated: two real states per unit would do."""

    def step(p, h, x):
        lam = 0.9 * jnp.exp(1j * p["theta"])
        h = lam * jnp.conj(h) + x @ (p["in"][0] + 1j * p["in"][1])
        return h, h.real @ p["out"][0]

    return step, lambda p: complex_zeros(), lru_params(draw)
