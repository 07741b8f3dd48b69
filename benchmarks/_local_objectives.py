"""The cost of rules with local objectives, relative to backprop.

Local losses have a limit: their backward pass is backprop's without the path through
the layers, and readouts are small. Forward-forward and PEPITA have none: they take
three additional forward passes and one.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

import apical
from apical import rules

from ._calls import backprop
from ._harness import Prepared, paired, prepare
from ._lines import BASE, Budget
from ._models import Model
from ._records import Record, failed, timed

SECTION, CLASSES = "local objectives", 10
LOCAL = {
    "local losses, prediction": rules.LocalLosses(),
    "local losses, fixed read-outs": rules.LocalLosses(readout="fixed"),
    "local losses, similarity": rules.LocalLosses(objective="similarity"),
}
# Rules that change the input; the tokens and steps of a sequence have no one label.
INPUT = {"forward-forward": rules.ForwardForward(), "PEPITA": rules.PEPITA()}
SEQUENCES = ("transformer",)
LIMIT = 1.3


def local_objectives(model: Model, budget: Budget) -> Iterator[Record]:
    """Time against backprop, in turn with it."""
    calls = {BASE: backprop(model)}
    measured = LOCAL if model.name in SEQUENCES else LOCAL | INPUT
    for what, rule in measured.items():
        try:
            calls[what] = _learner(model, rule)
        except Exception as error:
            yield failed(SECTION, model.name, what, error)
    timings = paired(calls, budget.rounds)
    for what in list(calls)[1:]:
        limit = LIMIT if what in LOCAL else None
        yield timed(
            SECTION, model.name, what, (timings[what], timings[BASE]), BASE, limit
        )


def _learner(model: Model, rule: Any) -> Prepared:
    given: dict[str, Any] = {"target": _one_hot, "input_argnums": 0}
    learn = apical.value_and_grad(model.loss, rule, **given)
    state = learn.init(jax.random.key(0), model.params, *model.args)
    return prepare(learn, model.params, state, *model.args)


def _one_hot(x: jax.Array, labels: jax.Array) -> jax.Array:
    del x
    return jax.nn.one_hot(labels, CLASSES, dtype=jnp.float32)
