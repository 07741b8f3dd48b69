"""What a callback of `compare` is told: a moment between two epochs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from apical.lab.storage._jsonl import Line


class Moment(NamedTuple):
    """Before the training of a model by a rule (epoch 0), or after an epoch of it.

    Attributes:
        model: the name of the model.
        rule: the name of the rule.
        epoch: how many epochs have ended.
        epochs: how many there will be.
        records: the new line of `Comparison.records` for each seed.
        layers: the new lines of `Comparison.layers`.
        trained: for each seed the model as it is now, in the form in which its factory
            made it: a callable pytree, or that and its running statistics.
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
    ) -> "Moment":
        """The moment of these lines."""
        first, names = records[0], ("model", "rule", "epoch", "epochs")
        said = {name: first[name] for name in names}
        return cls(**said, records=records, layers=layers, trained=list(trained))
