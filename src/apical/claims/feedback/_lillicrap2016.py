"""The network of Lillicrap et al. 2016 on handwritten digits: 784-1000-10, sigmoid."""

import math
from typing import Any

from apical import rules
from apical.claims._claim import EarlierSetup, Lines, Scale, Task
from apical.claims._data import vector_loader
from apical.claims._tasks import Size, comparison_task
from apical.claims.networks import sigmoid_mlp
from apical.lab._control_rules import UntrainedHiddenLayers
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.storage._jsonl import Line

FEEDBACK = "feedback-alignment"
RULES: dict[str, rules.Rule] = {
    BASELINE: rules.Backpropagation(),
    FEEDBACK: rules.FeedbackAlignment(),
    CONTROL: UntrainedHiddenLayers(),
}
SOURCE = (
    "Lillicrap, Cownden, Tweed & Akerman 2016, Random synaptic feedback weights "
    "support error backpropagation for deep learning, Nature Communications 7:13276"
)
DIFFERENCES = (
    "Adam, the step size from 16 trials for every rule, and batches of 64, where the "
    "source had gradient descent at rate 1e-3 for as long as it took (its batch is not "
    "stated): 6 epochs take under an hour. No weight decay (1e-6 "
    "there); pixels standardised; initial weights uniform within one over the square "
    "root of the fan-in, and normal feedback weights of the size of the forward ones, "
    "where the source tuned both ranges by hand; the last epoch counts, where the "
    "source stopped when backprop began to overfit."
)
EARLIER_SETUP = EarlierSetup(
    "It had 5 seeds, whose interval lies on both sides of the margin: 20 have been "
    "asked for since.",
    trials=16,
)
MARGIN = 0.5  # points, on MNIST
PART = "digits"
SIZES: dict[Scale, Size] = {
    "full": Size("mnist", None, None, 1000, 6, 20, 16),
    "quick": Size("digits", None, None, 100, 8, 5, 0, 0.01),
    "smoke": Size("digits", 320, 160, 20, 1, 2, 0, 0.01),
}


def training_task(
    size: Size, compared: dict[str, rules.Rule], name: str = PART
) -> Task:
    """A task that compares these rules on the net.

    Under its default name the task is the same for all claims, and done once.
    """

    def given() -> dict[str, Any]:
        return {
            "models": {"sigmoids": sigmoid_mlp(size.width)},
            "rules": compared,
            "loss": "squared-error",
            "optimizer": "adam",
            "batch_size": 64,
            **size.arguments,
        }

    data = vector_loader(size.data, size.trained, size.tested)
    task = comparison_task(name, given, data, by_layer=True, part=PART)
    return task._replace(shared=name == PART)


def with_angles(lines: Lines) -> list[Line]:
    """The lines of that task, each with the angle (degrees) of the hidden weights."""
    return [
        {**line, "angle": _angle(line["alignment_by_layer"])}
        for line in lines
        if line["part"] == PART
    ]


def _angle(cosines: dict[str, float | None]) -> float | None:
    (cosine,) = (c for path, c in cosines.items() if path.endswith("hidden.weight"))
    if cosine is None:
        return None
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
