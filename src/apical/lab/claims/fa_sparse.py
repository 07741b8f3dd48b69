"""Feedback alignment with half of the connections gone (Lillicrap et al. 2016)."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from apical import rules
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.claims._claim import Claim, Lines, Published, Scale, Task
from apical.lab.claims._comparison import last, percent
from apical.lab.claims._decide import Finding, above, at_least_equal, decide
from apical.lab.claims._linear_net import FEEDBACK
from apical.lab.claims._linear_net import RULES as WHOLE
from apical.lab.claims._measured import test_error
from apical.lab.claims._panels import over_epochs, panels
from apical.lab.claims._sigmoid_net import (
    DIFFERENCES,
    MARGIN,
    SIZES,
    SOURCE,
    trained,
    with_angles,
)
from apical.lab.claims._verdict import Verdict, effect

SPARSE = "feedback alignment, half removed"
RULES: dict[str, rules.Rule] = {
    **WHOLE,
    SPARSE: rules.FeedbackAlignment(removed_forward=0.5, removed_backward=0.5),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """What "fa-matches" runs too, and the net with half of its connections."""
    if scale != "smoke":
        yield trained(SIZES[scale], WHOLE)
    yield trained(SIZES[scale], {SPARSE: RULES[SPARSE]}, "half-removed")


def judge(lines: Lines) -> Verdict:
    """From the accuracy of the sparse net against the others'."""

    def against(rule: str, name: str):
        mine, other = last(lines, rule=SPARSE), last(lines, rule=rule)
        what = f"half removed - {name}"
        return effect(what, percent(mine), percent(other), MARGIN)

    backprop = against(BASELINE, "backprop with all")
    control = against(CONTROL, "untrained hidden layer")
    whole = against(FEEDBACK, "feedback alignment with all")
    return decide(
        [
            Finding(backprop, at_least_equal(backprop)),
            Finding(control, above(control, 0)),
            Finding(whole, at_least_equal(whole), decides=False),
        ]
    )


def draw(lines: Lines) -> Figure:
    """Accuracy and angle over training."""
    figure, axes, look = panels(2, RULES)
    found = with_angles(lines)
    learning = {name: style for name, style in look.items() if name != CONTROL}
    over_epochs(axes[0], found, look, "test_accuracy")
    over_epochs(axes[1], found, learning, "angle", 1)
    axes[0].set_title("accuracy on the test part (%)")
    axes[1].set_title("hidden layer: angle to backprop (degrees)")
    return figure


CLAIM = Claim(
    id="fa-sparse",
    sentence=(
        "Feedback alignment still learns as well when half of the forward and half of "
        "the backward connections are removed."
    ),
    source=SOURCE,
    work=(
        "MNIST, 784-1000-10, sigmoid in the hidden layer and at the output, squared "
        "error, batches of 64, Adam, 6 epochs. Feedback alignment without "
        "half of the forward and half of the backward connections, drawn at random "
        "once; feedback alignment and backprop with all, and the control in which only "
        "the readout learns. 16 trials of the step size for each on a held-out part, 5 "
        "seeds."
    ),
    published=(
        Published(
            "MNIST, test error, 50 % of W and 50 % of B removed",
            "2.4 %",
            "the paper",
            test_error(SPARSE),
        ),
        Published(
            "MNIST, test error, backprop with all",
            "2.4 %",
            "the paper",
            test_error(BASELINE),
        ),
    ),
    differences=DIFFERENCES,
    rule=(
        "Holds if the accuracy with half removed is equal to (within 0.5 points) or "
        "better than that of backprop with all connections, and above the control's "
        "(the interval lies above 0). Does not hold if one of these is settled "
        "otherwise. Against feedback alignment with all: shown only."
    ),
    remaining=(
        "Removing half of both kinds of connections costs feedback alignment nothing:"
        " its accuracy is equal to that with all of them. What decides is backprop, "
        "which the source's gradient descent left at 2.4 % and which Adam brings to "
        "2.1 %: feedback alignment, whole or sparse, stays half a point behind it, "
        "and the interval reaches beyond that."
    ),
    hours=0.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("mnist",),
    paper="lillicrap2016",
)
