"""Attention, language models and graph networks, written with arrays."""

import jax
import jax.numpy as jnp

from ._bare import dense, gains, layer, layer_norm, layers
from ._model import Draw, Model, cross_entropy, enter, squared

STRUCTURED: dict[str, Model] = {}
WIDTH, HEADS, PER_HEAD = 6, 2, 3


def attend(q: jax.Array, k: jax.Array, v: jax.Array, causal: bool) -> jax.Array:
    """Attention over axis 1 of arrays (batch, time, head, width)."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / PER_HEAD**0.5
    if causal:
        scores = jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -1e9)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


def separate_attention(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    q, k, v = (jnp.einsum("btw,whd->bthd", x, params[name]) for name in "qkv")
    return jnp.einsum("bthd,hdw->btw", attend(q, k, v, causal=False), params["o"])


@enter(STRUCTURED, synapses=6)
def attention(draw):
    """Multi-head attention between a projection and a read-out.

    Keys have no bias: the softmax would not see it.
    """

    def loss(params, x, y):
        h = jnp.tanh(dense(params["in"], x))
        mixed = separate_attention(params["attention"], h)
        return squared(dense(params["out"], jnp.tanh(mixed)), y)

    heads = {name: draw.weight(WIDTH, HEADS, PER_HEAD, fan_in=4) for name in "qkv"}
    heads |= {"o": draw.weight(HEADS, PER_HEAD, WIDTH)}
    params = {"in": layer(draw, 5, WIDTH), "attention": heads}
    params |= {"out": layer(draw, WIDTH, 2)}
    return loss, params, (draw.normal(4, 7, 5), draw.normal(4, 7, 2))


def block(params: dict, stream: jax.Array) -> jax.Array:
    """A pre-norm transformer block with causal attention."""
    normed = layer_norm(params["norm1"], stream)
    fused = jnp.einsum("btw,wshd->sbthd", normed, params["qkv"])
    mixed = attend(*fused, causal=True)
    stream = stream + jnp.einsum("bthd,hdw->btw", mixed, params["o"])
    up, down = params["mlp"]
    h = jax.nn.gelu(dense(up, layer_norm(params["norm2"], stream)))
    return stream + dense(down, h)


def block_params(draw: Draw) -> dict:
    params = {"norm1": gains(draw, WIDTH), "norm2": gains(draw, WIDTH)}
    params |= {"qkv": draw.weight(WIDTH, 3, HEADS, PER_HEAD, fan_in=4)}
    params |= {"o": draw.weight(HEADS, PER_HEAD, WIDTH)}
    return params | {"mlp": layers(draw, WIDTH, 8, WIDTH)}


@enter(STRUCTURED, synapses=6)
def transformer(draw):
    """One pre-norm block; queries, keys and values come from one weight."""

    def loss(params, x, labels):
        stream = block(params["block"], dense(params["in"], x))
        stream = layer_norm(params["norm"], jnp.mean(stream, axis=1))
        return cross_entropy(dense(params["out"], stream), labels)

    params = {"in": layer(draw, 5, WIDTH), "block": block_params(draw)}
    params |= {"norm": gains(draw, WIDTH), "out": layer(draw, WIDTH, 3)}
    return loss, params, (draw.normal(4, 7, 5), draw.ids(4, below=3))


@enter(STRUCTURED, synapses=5)
def language_model(draw):
    """A transformer over ids; the read-out is the embedding, transposed."""

    def loss(params, ids):
        stream = params["embed"][ids[:, :-1]] + params["position"]
        stream = layer_norm(params["norm"], block(params["block"], stream))
        return cross_entropy(stream @ params["embed"].T, ids[:, 1:])

    params = {"embed": draw.weight(9, WIDTH, fan_in=2), "position": draw.bias(5, WIDTH)}
    params |= {"block": block_params(draw), "norm": gains(draw, WIDTH)}
    return loss, params, (draw.ids(4, 6, below=9),)


@enter(STRUCTURED, synapses=3)
def embedding_mlp(draw):
    """Ids look up a table; the mean of a bag of words goes through a network."""

    def loss(params, ids, labels):
        h = jnp.mean(jnp.take(params["embed"], ids, axis=0), axis=1)
        for each in params["layers"]:
            h = dense(each, jnp.tanh(h))
        return cross_entropy(h, labels)

    params = {"embed": draw.weight(9, 5, fan_in=1), "layers": layers(draw, 5, 7, 6, 3)}
    return loss, params, (draw.ids(4, 6, below=9), draw.ids(4, below=3))


def graph_loss(params, adjacency, x, y):
    """Neighbours are summed by the data, features are mixed by the weights."""
    h = x
    for each in params["layers"]:
        h = jnp.tanh(adjacency @ dense(each, h) + h @ each["own"])
    return squared(dense(params["out"], jnp.mean(h, axis=1)), y)


def graph_params(draw: Draw) -> dict:
    each = layers(draw, 5, 7, 6)
    each[0]["own"], each[1]["own"] = draw.weight(5, 7), draw.weight(7, 6)
    return {"layers": each, "out": layer(draw, 6, 2)}


def neighbours(draw: Draw, *shape: int) -> jax.Array:
    return (draw.mask(*shape) + jnp.eye(shape[-1])) / 3


@enter(STRUCTURED, synapses=5, batch_axes=(None, 0, 0))
def graph_network(draw):
    """All examples live on one graph."""
    args = (neighbours(draw, 8, 8), draw.normal(4, 8, 5), draw.normal(4, 2))
    return graph_loss, graph_params(draw), args


@enter(STRUCTURED, synapses=5)
def graph_network_own(draw):
    """Every example has its own graph."""
    args = (neighbours(draw, 4, 8, 8), draw.normal(4, 8, 5), draw.normal(4, 2))
    return graph_loss, graph_params(draw), args


@enter(
    STRUCTURED, synapses=4, batch_axes=({"x": 0, "y": 0, "mask": None},), has_aux=True
)
def dictionary_batch(draw):
    """One argument, a dictionary with a shared entry; a tied layer; logits in aux."""

    def loss(params, batch):
        h = jnp.tanh(dense(params["in"], batch["x"] * batch["mask"]))
        for _ in range(2):
            h = jnp.tanh(dense(params["tied"], h))
        logits = dense(params["out"], h)
        return cross_entropy(logits, batch["y"]), {"logits": logits}

    params = {"in": layer(draw, 5, 6), "tied": layer(draw, 6, 6)}
    batch = {"x": draw.normal(4, 5), "mask": draw.mask(5), "y": draw.ids(4, below=3)}
    return loss, params | {"out": layer(draw, 6, 3)}, (batch,)
