"""Rules on larger models, for GPUs: time of a call against backpropagation.

MLP and LeNet are those of the other lines with batches of 1,024. Beside them: ResNet-18
(He et al. 2016) for images of 32 x 32, with a first convolution of 3 x 3, no pooling
after it, and group normalisation; a transformer of six pre-norm blocks; and a recurrent
layer of leaky integrate-and-fire units. The first two also with 16-bit weights.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from apical import rules

from . import _calls, _online
from ._harness import paired
from ._lines import BASE, Budget, attempted
from ._models import (
    MODELS,
    Model,
    affine,
    block_output,
    cross_entropy,
    dense,
    normalise,
    random_batch,
    transformer_block,
    weights,
)
from ._records import Record, timed

BLOCKS = 6
WIDTH, TOKENS = 256, 128
STAGES = (64, 128, 256, 512)  # channels, two blocks of two convolutions each
GROUPS = 8
RULES: dict[str, rules.Rule] = {
    "feedback alignment": rules.FeedbackAlignment(),
    "sign concordance": rules.SignConcordance(),
    "direct feedback alignment": rules.DirectFeedbackAlignment(),
    "back-to-front sweep": rules.PredictiveCoding(inference=rules.Sweep()),
    "fixed, 20 steps, rate 1.0": rules.PredictiveCoding(20, 1.0),
    "node perturbation": rules.NodePerturbation(),
}
THROUGH_TIME: dict[str, rules.Rule] = {
    "feedback alignment": rules.FeedbackAlignment(),
    "e-prop, chunks of 32": rules.EProp(),
    "OTTT": rules.OTTT(),
}


def models(examples: int | None = None) -> Iterator[Model]:
    """The models, with batches of their own or of this many examples."""
    images, sequences = examples or 256, examples or 32
    for name in ("mlp", "cnn"):
        yield _with_batch(MODELS[name](), examples or 1024)
    for model in (resnet(images), transformer(sequences)):
        yield model
        halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.params)
        yield replace(model, name=f"{model.name}, bfloat16", params=halved)
    yield next(model for model in _online.models() if model.name == "lif")


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """Time of a call of each rule, over that of backpropagation."""
    online = model.name == "lif"
    calls = {BASE: _calls.backprop(model)}
    for what, rule in (THROUGH_TIME if online else RULES).items():
        make = partial(_calls.learner, model, rule, (1, 0) if online else None)
        yield from attempted(calls, "accelerator", model.name, what, make)
    timings = paired(calls, budget.rounds)
    for what in list(calls)[1:]:
        pair = (timings[what], timings[BASE])
        yield timed("accelerator", model.name, what, pair)


def _with_batch(model: Model, examples: int) -> Model:
    """The model on as many examples, which repeat those that it has."""
    there = len(model.args[0])
    chosen = np.arange(examples) % there
    x, y = (arg[chosen] for arg in model.args)
    return replace(model, args=(x, y))


# ---- ResNet-18


def resnet(examples: int) -> Model:
    """ResNet-18 on colour images of 32 x 32."""
    rng = np.random.default_rng(0)
    ends = (STAGES[0], *STAGES)
    params = {
        "stem": _convolution(rng, 3, 3, STAGES[0]),
        "blocks": [
            _block(rng, ends[stage] if first else width, width)
            for stage, width in enumerate(STAGES)
            for first in (True, False)
        ],
        "readout": dense(rng, STAGES[-1], 10, gain=1.0),
    }
    args = random_batch(rng, (examples, 32, 32, 3), (examples,))
    return Model("resnet-18", resnet_loss, params, args, convolutional=True)


def resnet_loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Four stages of two residual blocks; the image is halved at each but the first."""
    h = x.astype(params["stem"]["w"].dtype)
    h = jax.nn.relu(_normalised_convolution(params["stem"], h))
    for number, block in enumerate(params["blocks"]):
        stride = 2 if number in (2, 4, 6) else 1
        inner = jax.nn.relu(_normalised_convolution(block["first"], h, stride))
        inner = _normalised_convolution(block["second"], inner)
        if "shortcut" in block:
            h = _normalised_convolution(block["shortcut"], h, stride)
        h = jax.nn.relu(h + inner)
    logits = affine(params["readout"], h.mean(axis=(1, 2)))
    return cross_entropy(logits.astype(jnp.float32), labels)


def _block(rng: np.random.Generator, before: int, width: int) -> dict[str, Any]:
    block = {
        "first": _convolution(rng, 3, before, width),
        "second": _convolution(rng, 3, width, width),
    }
    shortcut = {"shortcut": _convolution(rng, 1, before, width)}
    return block if before == width else block | shortcut


def _convolution(
    rng: np.random.Generator, size: int, before: int, width: int
) -> dict[str, jax.Array]:
    w = weights(rng, size, size, before, width)
    return {"w": w, "gain": jnp.ones(width), "b": jnp.zeros(width)}


def _normalised_convolution(layer: Any, h: jax.Array, stride: int = 1) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    h = lax.conv_general_dilated(
        h, layer["w"], (stride, stride), "SAME", dimension_numbers=numbers
    )
    grouped = h.reshape(*h.shape[:-1], GROUPS, -1)
    axes = (1, 2, 4)
    centred = grouped - grouped.mean(axes, keepdims=True)
    variance = jnp.square(centred).mean(axes, keepdims=True)
    h = (centred * lax.rsqrt(variance + 1e-5)).reshape(h.shape)
    return h * layer["gain"] + layer["b"]


# ---- A transformer of six blocks


def transformer(examples: int) -> Model:
    """Six pre-norm blocks between a projection and a class for every token."""
    rng = np.random.default_rng(0)
    params = {
        "embed": dense(rng, 32, WIDTH, gain=1.0),
        "blocks": [transformer_block(rng, WIDTH) for _ in range(BLOCKS)],
        "norm": {"gain": jnp.ones(WIDTH), "b": jnp.zeros(WIDTH)},
        "readout": dense(rng, WIDTH, 10, gain=1.0),
    }
    args = random_batch(rng, (examples, TOKENS, 32), (examples, TOKENS))
    return Model("transformer-6", transformer_loss, params, args)


def transformer_loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean over all tokens of the softmax cross-entropy."""
    h = x.astype(params["embed"]["w"].dtype)
    h = affine(params["embed"], h)
    for block in params["blocks"]:
        h = block_output(block, h)
    logits = affine(params["readout"], normalise(params["norm"], h))
    return cross_entropy(logits.astype(jnp.float32), labels)
