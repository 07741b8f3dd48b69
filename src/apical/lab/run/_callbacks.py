"""The event that the callbacks of `compare` receive after each epoch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from apical.lab._errors import LabError
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


Callback = Callable[[EpochEvent], None]


def require_callbacks(callbacks: Sequence[Callback]) -> None:
    """Refuse what is no sequence of functions."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise LabError(
            f"callbacks= must be a list of functions of an event, not {callbacks!r}"
        )


@contextmanager
def closing(callbacks: Sequence[Callback]) -> Iterator[None]:
    """Call `close` of every callback that has it at the end, also after an error."""
    with ExitStack() as stack:
        for callback in callbacks:
            close = getattr(callback, "close", None)
            if close is not None:
                stack.callback(close)
        yield
