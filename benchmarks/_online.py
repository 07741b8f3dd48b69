"""Rules through time, against backpropagation through time on the same loop.

The loss is summed in the loop, so that no output of every step is kept. Memory is what
the compiler allocates beside arguments and results, at several lengths; the ratio is
that at the longest to that at the shortest sequence. Time is that of whole calls.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import apical
from apical import rules, spiking

from ._harness import Prepared, paired, prepare
from ._lines import Budget
from ._models import Model
from ._records import Record, timed

EXAMPLES, INPUTS, UNITS, OUTPUTS = 16, 64, 128, 10
LENGTHS = (256, 1024, 4096)
TIMED = 1024
# What time may cost, over backpropagation through time.
RULES: dict[str, tuple[rules.Rule, float | None]] = {
    "e-prop, chunks of 32": (rules.EProp(), 2.0),
    "e-prop, random feedback": (rules.EProp("random"), 2.0),
    "e-prop, chunks of 1": (rules.EProp(chunk=1), None),
    "efficient traces": (rules.EfficientTraces(), 2.0),
    "SnAp": (rules.SnAp(), None),
    "UORO": (rules.UORO(), None),
}
_BASE = "backpropagation through time"
_GROWTH = 1.1  # of memory, from the shortest to the longest sequence


def models() -> Iterator[Model]:
    """A leaky spiking network with a leaky read-out, and a GRU."""
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = {"in": (INPUTS, UNITS), "rec": (UNITS, UNITS), "out": (UNITS, OUTPUTS)}
    lif = {
        name: jax.random.normal(key, shape) / shape[0] ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    gru = {**lif, "in": jnp.tile(lif["in"], 3), "rec": jnp.tile(lif["rec"], 3)}
    gru["b"] = jnp.zeros(3 * UNITS)
    args = _arguments(TIMED)
    yield Model("lif", _lif_loss, lif, args)
    yield Model("gru", _gru_loss, gru, args)


def measured(model: Model, budget: Budget) -> Iterator[Record]:
    """Time of each rule at one length, and growth of memory with the length."""
    calls = {_BASE: _compiled(model, None, TIMED)}
    calls |= {what: _compiled(model, rule, TIMED) for what, (rule, _) in RULES.items()}
    timings = paired(dict(calls), budget.rounds)
    for what, (_, limit) in RULES.items():
        pair = timings[what], timings[_BASE]
        yield timed("online", model.name, what, pair, _BASE, limit)
    every: dict[str, rules.Rule | None] = {_BASE: None}
    every |= {what: rule for what, (rule, _) in RULES.items()}
    for what, rule in every.items():
        yield _memory(model, what, rule)


def _memory(model: Model, what: str, rule: rules.Rule | None) -> Record:
    sizes = [_bytes(_compiled(model, rule, length)) for length in LENGTHS]
    listed = ", ".join(f"{size / 2**20:.1f}" for size in sizes)
    return Record(
        section="online",
        model=model.name,
        what=f"memory, {what}",
        ratio=sizes[-1] / sizes[0],
        base=f"{LENGTHS[0]} steps",
        # The outputs of all steps of the read-out are kept: 10 numbers an example.
        limit=_GROWTH if rule is not None and model.name == "gru" else None,
        note=f"{listed} MiB at {', '.join(map(str, LENGTHS))} steps",
    )


def _bytes(call: Prepared) -> float:
    return float(call.compiled.memory_analysis().temp_size_in_bytes)


def _compiled(model: Model, rule: rules.Rule | None, length: int) -> Prepared:
    args = _arguments(length)
    if rule is None:
        return prepare(jax.grad(model.loss), model.params, *args)
    learner = apical.value_and_grad(model.loss, rule, batch_axes=(1, 0))
    state = learner.init(jax.random.key(1), model.params, *args)
    return prepare(partial(_gradients, learner), model.params, state, *args)


def _gradients(learner: Any, params: Any, state: Any, *args: Any) -> Any:
    return learner(params, state, *args).grads


def _arguments(length: int) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(2))
    x = jax.random.bernoulli(keys[0], 0.1, (length, EXAMPLES, INPUTS))
    return x.astype(jnp.float32), jax.random.normal(keys[1], (EXAMPLES, OUTPUTS))


def _summed(
    step: Callable[..., Any], start: Any, x: jax.Array, y: jax.Array
) -> jax.Array:
    """The mean squared error of the outputs of all steps, summed in the loop."""

    def body(carry: Any, x: jax.Array) -> Any:
        state, loss = carry
        state, out = step(state, x)
        return (state, loss + jnp.mean((out - y) ** 2)), None

    (_, loss), _ = lax.scan(body, (start, jnp.zeros(())), x)
    return loss / len(x)


def _lif_loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    def step(state: Any, x: jax.Array) -> Any:
        units, out = state
        current = x @ params["in"] + units.spikes @ params["rec"]
        units, spikes = spiking.lif(units, current, decay=0.95)
        out = 0.9 * out + spikes @ params["out"]
        return (units, out), out

    start = spiking.LIFState.initial((EXAMPLES, UNITS), jnp.float32)
    return _summed(step, (start, jnp.zeros((EXAMPLES, OUTPUTS))), x, y)


def _gru_loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    def step(h: jax.Array, x: jax.Array) -> Any:
        a, u = x @ params["in"] + params["b"], h @ params["rec"]
        (reset, keep, new), (r, k, n) = (jnp.split(each, 3, -1) for each in (a, u))
        reset, keep = jax.nn.sigmoid(reset + r), jax.nn.sigmoid(keep + k)
        h = keep * h + (1 - keep) * jnp.tanh(new + reset * n)
        return h, h @ params["out"]

    return _summed(step, jnp.zeros((EXAMPLES, UNITS)), x, y)
