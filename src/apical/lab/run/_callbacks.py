"""The event that the callback of `compare` receives after each epoch."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from apical.lab.storage._jsonl import Line


class EpochEvent(NamedTuple):
    """One epoch of training has ended, or training is about to start (epoch 0).

    Attributes:
        model: the name of the model.
        rule: the name of the rule.
        epoch: how many epochs have ended.
        epochs: how many there are.
        records: the new line of `Comparison.records` for each seed.
        layers: the new lines of `Comparison.layers`.
        trained: the model of each seed with its present parameters, in the form that
            the factory returns: a callable pytree, or that and its running statistics.
    """

    model: str
    rule: str
    epoch: int
    epochs: int
    records: list[Line]
    layers: list[Line]
    trained: list[Any]

    @classmethod
    def of(
        cls, records: list[Line], layers: list[Line], trained: Sequence[Any]
    ) -> "EpochEvent":
        """The event with these lines."""
        first, names = records[0], ("model", "rule", "epoch", "epochs")
        common = {name: first[name] for name in names}
        return cls(**common, records=records, layers=layers, trained=list(trained))
