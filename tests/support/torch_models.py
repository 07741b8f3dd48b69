"""Modules of torch as people write them, with a loss, a batch and their synapses.

Needs torch, torchvision and transformers: the extra torch-models.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
import transformers
from torch import nn
from torch.nn import functional as F


class Problem(NamedTuple):
    """A module, a loss, the arguments after the module, and weights that are synapses.

    `read` are the synapses above which no other stands: readouts.
    """

    module: Any
    loss: Callable[..., Any]
    args: tuple[np.ndarray, ...]
    synapses: list[str]
    read: list[str]


def classified(module: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(module(x), y)


class Recurrent(nn.Module):
    """A classifier of sequences by the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 6, num_layers=2, batch_first=True)
        self.readout = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.readout(self.lstm(x)[0][:, -1])


class Encoder(nn.Module):
    """A classifier of tokens by the mean of an encoder's outputs."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.embedding = nn.Embedding(11, 8)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.readout = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.readout(self.encoder(self.embedding(x)).mean(1))


def lstm(rng: np.random.Generator) -> Problem:
    x = rng.normal(size=(4, 5, 5)).astype(np.float32)
    layers = [f"lstm.weight_{kind}_l{i}" for i in range(2) for kind in ("ih", "hh")]
    readout = "readout.weight"
    return Problem(
        Recurrent(), classified, (x, np.arange(4) % 3), [*layers, readout], [readout]
    )


def encoder(rng: np.random.Generator) -> Problem:
    parts = ("self_attn.in_proj_weight", "self_attn.out_proj.weight")
    names = [
        f"encoder.layers.{i}.{part}"
        for i in range(2)
        for part in (*parts, "linear1.weight", "linear2.weight")
    ]
    args = rng.integers(11, size=(4, 5)), np.arange(4) % 3
    readout = "readout.weight"
    return Problem(Encoder(), classified, args, [*names, readout], [readout])


def resnet(rng: np.random.Generator) -> Problem:
    module = torchvision.models.resnet18(num_classes=10)
    names = ["conv1.weight"]
    for layer in range(1, 5):
        for block in range(2):
            where = f"layer{layer}.{block}"
            names += [f"{where}.conv1.weight", f"{where}.conv2.weight"]
            if layer > 1 and block == 0:
                names.append(f"{where}.downsample.0.weight")
    x = rng.normal(size=(8, 3, 32, 32)).astype(np.float32)
    return Problem(
        module, classified, (x, np.arange(8)), [*names, "fc.weight"], ["fc.weight"]
    )


def bert(rng: np.random.Generator) -> Problem:
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    parts = [f"attention.self.{name}" for name in ("query", "key", "value")]
    parts += ["attention.output.dense", "intermediate.dense", "output.dense"]
    names = [
        f"bert.encoder.layer.{i}.{part}.weight" for i in range(2) for part in parts
    ]

    def loss(module: Any, ids: Any, labels: Any) -> Any:
        return module(input_ids=ids, labels=labels).loss

    args = rng.integers(20, size=(4, 5)), np.arange(4) % 3
    readout = "classifier.weight"
    module = transformers.BertForSequenceClassification(config)
    return Problem(
        module, loss, args, [*names, "bert.pooler.dense.weight", readout], [readout]
    )


def causal(rng: np.random.Generator) -> Problem:
    """A language model with rotary positions, grouped heads and gated layers."""
    config = transformers.LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    parts = [f"self_attn.{name}_proj" for name in "qkvo"]
    parts += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    names = [f"model.layers.{i}.{part}.weight" for i in range(2) for part in parts]

    def loss(module: Any, ids: Any) -> Any:
        return module(input_ids=ids, labels=ids).loss

    args = (rng.integers(20, size=(4, 6)),)
    module = transformers.LlamaForCausalLM(config)
    return Problem(module, loss, args, [*names, "lm_head.weight"], ["lm_head.weight"])


def tied(rng: np.random.Generator) -> Problem:
    """A language model whose readout is its table of embeddings."""
    config = transformers.GPT2Config(
        vocab_size=20,
        n_embd=8,
        n_layer=1,
        n_head=2,
        n_positions=16,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    names = [f"transformer.h.0.{part}.weight" for part in parts]

    def loss(module: Any, ids: Any) -> Any:
        return module(input_ids=ids, labels=ids).loss

    args = (rng.integers(20, size=(4, 6)),)
    module = transformers.GPT2LMHeadModel(config)
    # Not "read": the table is also below every synapse.
    return Problem(module, loss, args, [*names, "transformer.wte.weight"], [])


BUILDERS = (lstm, encoder, causal, tied, bert, resnet)


def problem(build: Callable[[np.random.Generator], Problem]) -> Problem:
    """The problem, with the same weights and data in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(np.random.default_rng(0))


def tensors(args: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    return tuple(torch.from_numpy(np.asarray(each)) for each in args)


def gradients(module: Any, loss: Callable[..., Any], args: Any) -> tuple[float, dict]:
    """The loss and the gradients of torch itself."""
    module.zero_grad()
    value = loss(module, *tensors(args))
    value.backward()
    return float(value.detach()), {
        name: np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy()
        for name, p in module.named_parameters()
    }
