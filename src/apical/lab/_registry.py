"""The rows of a comparison: each name, and the rule it stands for."""

from collections.abc import Callable
from typing import Any, NamedTuple

from apical import rules


class Entry(NamedTuple):
    """A rule under a name, and which parameters it is allowed to change.

    Attributes:
        make: makes the rule.
        readout_only: whether only the last layer learns.
        cost: about how many steps of backpropagation one step takes: a guess from which
            the time left is told, never a result.
    """

    make: Callable[[], Any]
    readout_only: bool = False
    cost: float = 1.0

    @property
    def citation(self) -> str:
        """The source, as BibTeX; the control has none."""
        return "" if self.readout_only else self.make().citation

    @property
    def needs(self) -> tuple[str, ...]:
        """What the rule needs that a neuron does not have."""
        # One layer under the loss sends nothing back: most needs of the rule are gone.
        return ("signed error units",) if self.readout_only else self.make().needs


def _sweep() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(inference=rules.Sweep())


def _free() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free")


RULES: dict[str, Entry] = {
    "backpropagation": Entry(rules.Backpropagation),
    "feedback-alignment": Entry(rules.FeedbackAlignment),
    "sign-concordance": Entry(rules.SignConcordance),
    "kolen-pollack": Entry(rules.KolenPollack),
    "predictive-coding": Entry(rules.PredictiveCoding),
    "predictive-coding-sweep": Entry(_sweep),
    "predictive-coding-free": Entry(_free, cost=8.0),
    # The control: what random hidden layers reach when only the last one learns.
    "untrained-hidden-layers": Entry(
        rules.Backpropagation, readout_only=True, cost=0.3
    ),
}

BASELINE = "backpropagation"
