"""Small causal transformer that predicts the next character.

    s = embedding of the character + embedding of its position
    s = s + attention(norm(s))
    s = s + down(gelu(up(norm(s))))        both in each of 2 layers
    logits = readout(norm(s))

Source: Vaswani et al. 2017; Radford et al. 2019 (the norm comes first).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from apical.lab.models._layers import on_last_axis
from apical.lab.models._model import Model

_WIDTH, _HEADS, _LAYERS = 64, 4, 2


class Norm(eqx.Module):
    """Layer norm over the last axis."""

    gain: Array
    bias: Array

    def __init__(self, width: int):
        self.gain, self.bias = jnp.ones(width), jnp.zeros(width)

    def __call__(self, s: Array) -> Array:
        """Standardise the last axis, then apply gain and bias."""
        return jax.nn.standardize(s, axis=-1) * self.gain + self.bias


class Attention(eqx.Module):
    """Causal attention with several heads."""

    into: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, width: int, key: Array):
        first, second = jax.random.split(key)
        self.into = eqx.nn.Linear(width, 3 * width, use_bias=False, key=first)
        self.out = eqx.nn.Linear(width, width, key=second)

    def __call__(self, s: Array) -> Array:
        """The attention output of `s`, `(examples, time, width)`."""
        q, k, v = jnp.split(on_last_axis(self.into, s), 3, axis=-1)
        heads = (_in_heads(part) for part in (q, k, v))
        gathered = jax.nn.dot_product_attention(*heads, is_causal=True)
        return on_last_axis(self.out, gathered.reshape(s.shape))


class Layer(eqx.Module):
    """Attention and two linear layers, each added to the stream."""

    norms: tuple[Norm, Norm]
    attention: Attention
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, width: int, key: Array):
        first, second, third = jax.random.split(key, 3)
        self.norms = (Norm(width), Norm(width))
        self.attention = Attention(width, first)
        self.up = eqx.nn.Linear(width, 4 * width, key=second)
        self.down = eqx.nn.Linear(4 * width, width, key=third)

    def __call__(self, s: Array) -> Array:
        """The stream `(examples, time, width)` after this layer."""
        s = s + self.attention(self.norms[0](s))
        h = jax.nn.gelu(on_last_axis(self.up, self.norms[1](s)))
        return s + on_last_axis(self.down, h)


class Transformer(eqx.Module):
    """Causal layers on a stream of embedded characters."""

    letters: Array
    positions: Array
    layers: tuple[Layer, ...]
    norm: Norm
    readout: eqx.nn.Linear

    def __init__(self, time: int, symbols: int, key: Array):
        letters, positions, last, *keys = jax.random.split(key, 3 + _LAYERS)
        self.letters = 0.1 * jax.random.normal(letters, (symbols, _WIDTH))
        self.positions = 0.1 * jax.random.normal(positions, (time, _WIDTH))
        self.layers = tuple(Layer(_WIDTH, k) for k in keys)
        self.norm = Norm(_WIDTH)
        self.readout = eqx.nn.Linear(_WIDTH, symbols, key=last)

    def __call__(self, x: Array) -> Array:
        """Logits `(examples, time, symbols)` for characters `(examples, time)`."""
        s = self.letters[x] + self.positions
        for layer in self.layers:
            s = layer(s)
        return on_last_axis(self.readout, self.norm(s))


def _in_heads(h: Array) -> Array:
    return h.reshape(*h.shape[:2], _HEADS, -1)


def _build(key: Array, shape: tuple[int, ...], classes: int) -> Transformer:
    return Transformer(shape[0], classes, key)


MODEL = Model(_build, reads=("characters",), steps_per_call=16)
