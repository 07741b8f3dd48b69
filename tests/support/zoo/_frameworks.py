"""Models of equinox, flax (linen and nnx) and haiku, in their usual form.

Initial values come from `Draw.like`, not from the frameworks: nothing is compiled,
and no bias is zero.
"""

from collections.abc import Callable

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
from flax import nnx

from ._model import Draw, Model, cross_entropy, enter, squared

FRAMEWORKS: dict[str, Model] = {}


def regression(draw: Draw, *shape: int) -> tuple[jax.Array, jax.Array]:
    return draw.normal(*(shape or (4, 5))), draw.normal(4, 3)


def module(draw: Draw, make: Callable, *args, **options):
    """Build an equinox module, its arrays drawn."""
    key = jax.random.key(0)
    return draw.like(eqx.filter_eval_shape(make, *args, **options, key=key))


@enter(FRAMEWORKS, synapses=3)
def equinox_mlp(draw):
    """The module is `params`, activation functions and all."""

    def loss(model, x, y):
        return squared(jax.vmap(model)(x), y)

    return loss, module(draw, eqx.nn.MLP, 5, 3, 7, 2, jnp.tanh), regression(draw)


@enter(FRAMEWORKS, synapses=4)
def equinox_conv_gru(draw):
    """A convolution over time, a GRU cell scanned over what it found."""

    def example(model, x):
        h = jnp.tanh(model["conv"](x))  # (channels, time)
        start = jnp.zeros(model["cell"].hidden_size, x.dtype)
        state, _ = jax.lax.scan(lambda h, x: (model["cell"](x, h), None), start, h.T)
        return model["out"](state)

    def loss(model, x, y):
        return squared(jax.vmap(example, in_axes=(None, 0))(model, x), y)

    model = {"conv": module(draw, eqx.nn.Conv1d, 2, 5, 3)}
    model |= {"cell": module(draw, eqx.nn.GRUCell, 5, 6)}
    model |= {"out": module(draw, eqx.nn.Linear, 6, 3)}
    return loss, model, regression(draw, 4, 2, 7)


@enter(FRAMEWORKS, synapses=6)
def equinox_attention(draw):
    """Multi-head attention, its options static fields of the module."""

    def example(model, x):
        h = jnp.tanh(jax.vmap(model["in"])(x))
        h = jnp.tanh(h + model["attention"](h, h, h))
        return model["out"](jnp.mean(h, axis=0))

    def loss(model, x, y):
        return squared(jax.vmap(example, in_axes=(None, 0))(model, x), y)

    model = {"in": module(draw, eqx.nn.Linear, 5, 6)}
    model |= {"attention": module(draw, eqx.nn.MultiheadAttention, 2, 6)}
    model |= {"out": module(draw, eqx.nn.Linear, 6, 3)}
    return loss, model, regression(draw, 4, 7, 5)


def linen(draw: Draw, network: nn.Module, x: jax.Array):
    key = jax.random.key(0)
    return draw.like(jax.eval_shape(network.init, key, x))["params"]


def linen_problem(draw: Draw, network: nn.Module, x: jax.Array, y: jax.Array):
    def loss(params, x, y):
        return squared(network.apply({"params": params}, x), y)

    return loss, linen(draw, network, x), (x, y)


@enter(FRAMEWORKS, synapses=3)
def linen_mlp(draw):
    """Dense layers with layer norm; casts where linen puts them."""
    parts = [nn.Dense(7), nn.LayerNorm(), jnp.tanh, nn.Dense(6), nn.gelu, nn.Dense(3)]
    return linen_problem(draw, nn.Sequential(parts), *regression(draw))


@enter(FRAMEWORKS, synapses=3)
def linen_conv(draw):
    def flat(x):
        return x.reshape(*x.shape[:-3], -1)

    def pool(x):
        return nn.max_pool(x, (2, 2), strides=(2, 2))

    first = nn.Conv(4, (3, 3), strides=2)
    second = nn.Conv(6, (2, 3), feature_group_count=2, padding="VALID")
    parts = [first, jnp.tanh, second, nn.gelu, pool, flat, nn.Dense(3)]
    return linen_problem(draw, nn.Sequential(parts), *regression(draw, 4, 10, 9, 2))


@enter(FRAMEWORKS, synapses=9)
def linen_lstm(draw):
    """`nn.RNN`: the scan is linen's; eight weights in the cell."""
    parts = [nn.RNN(nn.LSTMCell(6)), lambda h: h[..., -1, :], nn.Dense(3)]
    return linen_problem(draw, nn.Sequential(parts), *regression(draw, 4, 5, 2))


class NnxMlp(nnx.Module):
    """Two layers and a norm, the way flax writes modules now."""

    def __init__(self, rngs: nnx.Rngs):
        self.lower = nnx.Linear(5, 7, rngs=rngs)
        self.norm = nnx.LayerNorm(7, rngs=rngs)
        self.middle = nnx.Linear(7, 6, rngs=rngs)
        self.upper = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jnp.tanh(self.norm(self.lower(x)))
        return self.upper(nnx.gelu(self.middle(h)))


@enter(FRAMEWORKS, synapses=3)
def nnx_mlp(draw):
    """The state is `params`, the graph is closed over."""
    graph, shapes = nnx.split(nnx.eval_shape(lambda: NnxMlp(nnx.Rngs(0))))

    def loss(state, x, labels):
        return cross_entropy(nnx.merge(graph, state)(x), labels)

    return loss, draw.like(shapes), (draw.normal(4, 5), draw.ids(4, below=3))


def haiku_problem(draw: Draw, network: Callable, x: jax.Array, y: jax.Array):
    forward = hk.without_apply_rng(hk.transform(network))

    def loss(params, x, y):
        return squared(forward.apply(params, x), y)

    shapes = jax.eval_shape(forward.init, jax.random.key(0), x)
    return loss, draw.like(shapes), (x, y)


@enter(FRAMEWORKS, synapses=3)
def haiku_mlp(draw):
    def network(x):
        return hk.nets.MLP([7, 6, 3], activation=jnp.tanh)(x)

    return haiku_problem(draw, network, *regression(draw))


@enter(FRAMEWORKS, synapses=2)
def haiku_lstm(draw):
    def network(x):
        cell = hk.LSTM(6)
        start = cell.initial_state(x.shape[0])
        states, _ = hk.dynamic_unroll(cell, x, start, time_major=False)
        return hk.Linear(3)(states[:, -1])

    return haiku_problem(draw, network, *regression(draw, 4, 5, 2))


@enter(FRAMEWORKS, synapses=5, batch_axes=(None, 0, 0), has_aux=True, separable=False)
def haiku_resnet(draw):
    """A residual block with batch norm; haiku's state in and out."""

    def network(x):
        norm = {"create_scale": True, "create_offset": True, "decay_rate": 0.9}
        h = jax.nn.relu(hk.Conv2D(4, 3)(x))
        h = hk.nets.ResNet.BlockV1(5, 2, True, norm, bottleneck=False)(h, True, False)
        return hk.Linear(3)(jnp.mean(h, axis=(1, 2)))

    forward = hk.without_apply_rng(hk.transform_with_state(network))

    def loss(params, state, x, labels):
        logits, state = forward.apply(params, state, x)
        return cross_entropy(logits, labels), state

    x, labels = draw.normal(4, 6, 7, 2), draw.ids(4, below=3)
    shapes, state = jax.eval_shape(forward.init, jax.random.key(0), x)
    state = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), state)
    return loss, draw.like(shapes), (state, x, labels)
