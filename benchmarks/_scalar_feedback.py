"""The cost of perturbation rules: one pair, one direction, sixteen pairs.

For lines without a limit most of the time is spent on drawing normal numbers, 14 ns for
each on a CPU.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from apical import rules

from . import _calls
from ._harness import paired
from ._lines import BASE, Budget, attempted
from ._models import Model
from ._records import Record, timed

# Two perturbed forward passes, one undisturbed, the noise, and the product.
ONE_PAIR: dict[str, rules.Rule] = {
    "weight perturbation, 1 pair of signs": rules.WeightPerturbation(),
    "node perturbation, 1 pair of signs": rules.NodePerturbation(),
}
OTHERS: dict[str, rules.Rule] = {
    "node perturbation, 1 normal pair": rules.NodePerturbation(kind="normal"),
    "forward gradient, weights": rules.ForwardGradient(),
    "forward gradient, weights, signs": rules.ForwardGradient(kind="sign"),
    "forward gradient, activities": rules.ForwardGradient("activities"),
    "evolution strategy, 16 pairs": rules.EvolutionStrategy(),
    "node perturbation, 16 pairs": rules.NodePerturbation(pairs=16),
}


def one_pair(model: Model, budget: Budget) -> Iterator[Record]:
    """Each rule's call against `jax.value_and_grad`."""
    calls: dict[str, Any] = {BASE: _calls.backprop(model)}
    for what, rule in (ONE_PAIR | OTHERS).items():
        make = partial(_calls.learner, model, rule)
        yield from attempted(calls, "scalar feedback", model.name, what, make)
    timings = paired(calls, budget.rounds)
    for what in list(calls)[1:]:
        limit = 1.60 if what in ONE_PAIR else None
        pair = (timings[what], timings[BASE])
        yield timed("scalar feedback", model.name, what, pair, limit=limit)
