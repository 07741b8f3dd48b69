"""Recurrent layers of torch as `lax.scan`; torchax would write out every step.

    LSTM    i, f, g, o = W x[t] + b + U h[t-1] + c
            s[t] = sigmoid(f) s[t-1] + sigmoid(i) tanh(g)
            h[t] = R (sigmoid(o) tanh(s[t]))                 R only with proj_size

    GRU     r, z = sigmoid of the first two of W x[t] + b + U h[t-1] + c
            n = tanh(W_n x[t] + b_n + r (U_n h[t-1] + c_n))
            h[t] = (1 - z) n + z h[t-1]

    RNN     h[t] = tanh or relu (W x[t] + b + U h[t-1] + c)

W x[t] is one product for all steps, before the loop. So a layer and direction has two
synapses (three with R), and rules through time find its loop.

Source: Hochreiter & Schmidhuber 1997; Cho et al. 2014; the spelling is torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._arrays import like
from ._packages import torch
from ._shared_memory import Refused


class Weights(NamedTuple):
    """The weights of one layer and direction; biases and the projection may be None."""

    incoming: Any
    recurrent: Any
    incoming_bias: Any
    recurrent_bias: Any
    projection: Any


# (weights, W x[t] + b, state) -> (state, h[t])
Cell = Callable[[Weights, Any, tuple[Any, ...]], tuple[tuple[Any, ...], Any]]


def _back(weights: Weights, h: Any) -> Any:
    found = h @ weights.recurrent.T
    bias = weights.recurrent_bias
    return found if bias is None else found + bias


def _lstm_cell(weights: Weights, x: Any, state: tuple[Any, ...]) -> Any:
    h, s = state
    i, f, g, o = jnp.split(x + _back(weights, h), 4, axis=-1)
    s = jax.nn.sigmoid(f) * s + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(s)
    if weights.projection is not None:
        h = h @ weights.projection.T
    return (h, s), h


def _gru_cell(weights: Weights, x: Any, state: tuple[Any, ...]) -> Any:
    (h,) = state
    r, z, n = jnp.split(x, 3, axis=-1)
    back_r, back_z, back_n = jnp.split(_back(weights, h), 3, axis=-1)
    z = jax.nn.sigmoid(z + back_z)
    n = jnp.tanh(n + jax.nn.sigmoid(r + back_r) * back_n)
    h = (1 - z) * n + z * h
    return (h,), h


def _rnn_cell(activation: Any, weights: Weights, x: Any, state: tuple[Any, ...]) -> Any:
    h = activation(x + _back(weights, state[0]))
    return (h,), h


def _run(
    cell: Cell, weights: Weights, x: Any, start: tuple[Any, ...], reverse: bool
) -> tuple[tuple[Any, ...], Any]:
    """One layer in one direction, on `x` with time first."""
    incoming = x @ weights.incoming.T
    if weights.incoming_bias is not None:
        incoming = incoming + weights.incoming_bias
    start = jax.tree.map(lambda h: h.astype(incoming.dtype), start)
    return jax.lax.scan(
        lambda state, x: cell(weights, x, state), start, incoming, reverse=reverse
    )


def _grouped(params: Sequence[Any], has_biases: bool, projected: bool) -> list[Weights]:
    """The weights of all layers and directions, from torch's flat list."""
    size = 2 + 2 * has_biases + projected
    found = []
    for i in range(0, len(params), size):
        one = list(params[i : i + size])
        biases = one[2:4] if has_biases else [None, None]
        last = one[-1] if projected else None
        found.append(Weights(one[0], one[1], biases[0], biases[1], last))
    return found


def _layers(
    cell: Cell,
    name: str,
    x: Any,
    start: Any,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
) -> tuple[Any, ...]:
    if not isinstance(has_biases, bool):
        # The other signature of torch: (data, batch_sizes, start, params, ...).
        raise Refused(
            f"{name} reads a packed sequence, whose steps differ in their number of "
            "examples: give it a padded tensor, and read the last valid step."
        )
    # A GRU takes and gives one state, an LSTM two.
    states = tuple(start) if isinstance(start, list | tuple) else (start,)
    projected = len(states) == 2 and states[0].shape[-1] != states[1].shape[-1]
    weights = _grouped([p.jax() for p in params], has_biases, projected)
    arrays = tuple(state.jax() for state in states)
    h = x.jax()
    h = h.swapaxes(0, 1) if batch_first else h
    directions, finals = 1 + bidirectional, []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            i = layer * directions + direction
            first = tuple(state[i] for state in arrays)
            final, output = _run(cell, weights[i], h, first, reverse=direction == 1)
            outputs.append(output)
            finals.append(final)
        h = outputs[0] if directions == 1 else jnp.concatenate(outputs, axis=-1)
        if dropout and train and layer < num_layers - 1:
            tensor = torch.nn.functional.dropout(like(x, h), dropout, True)
            h = tensor.jax()
    h = h.swapaxes(0, 1) if batch_first else h
    last = (like(x, jnp.stack(each)) for each in zip(*finals, strict=True))
    return like(x, h), *last


LOWERINGS = {
    torch.lstm: partial(_layers, _lstm_cell, "torch.nn.LSTM"),
    torch.gru: partial(_layers, _gru_cell, "torch.nn.GRU"),
    torch.rnn_tanh: partial(_layers, partial(_rnn_cell, jnp.tanh), "torch.nn.RNN"),
    torch.rnn_relu: partial(_layers, partial(_rnn_cell, jax.nn.relu), "torch.nn.RNN"),
}
