"""Feedback alignment with half of the connections removed (Lillicrap et al. 2016)."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._data import data_names
from apical.claims._effect_size import Effect, paired_difference
from apical.claims._plots import draw_over_epochs, panel_figure, rules_in
from apical.claims._published_numbers import final_error
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.feedback._lillicrap2016 import (
    DIFFERENCES,
    EARLIER_SETUP,
    FEEDBACK,
    MARGIN,
    SIZES,
    SOURCE,
    training_task,
    with_angles,
)
from apical.claims.feedback._lillicrap2016 import RULES as WHOLE
from apical.lab._registry import BASELINE, CONTROL

SPARSE = "feedback alignment, half removed"
RULES: dict[str, rules.Rule] = {
    **WHOLE,
    SPARSE: rules.FeedbackAlignment(removed_forward=0.5, removed_backward=0.5),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """The comparison of fa-matches, and the net with half of its connections."""
    if scale != "smoke":
        yield training_task(SIZES[scale], WHOLE)
    yield training_task(SIZES[scale], {SPARSE: RULES[SPARSE]}, "half-removed")


def judge(lines: Lines) -> Verdict:
    """From the accuracy of the sparse net against the others'."""

    def against(rule: str, name: str) -> Effect:
        runs = ({"rule": SPARSE}, {"rule": rule})
        what = f"{data_names(lines)}: half removed - {name}"
        return paired_difference(what, lines, runs, MARGIN, compared=2)

    whole = against(FEEDBACK, "feedback alignment with all")
    control = against(CONTROL, "untrained hidden layer")
    backprop = against(BASELINE, "backprop with all")
    return decide(
        [
            Finding(whole, "at least as high", inside=True),
            Finding(control, "higher", inside=True),
            Finding(backprop, "at least as high"),
        ]
    )


def draw(lines: Lines) -> Figure:
    """Accuracy and angle over training."""
    figure, axes, look = panel_figure(2, RULES, rules_in(lines))
    found = with_angles(lines)
    learning = {name: style for name, style in look.items() if name != CONTROL}
    draw_over_epochs(axes[0], found, look, "test_accuracy")
    draw_over_epochs(axes[1], found, learning, "angle", 1)
    axes[0].set_title(f"{data_names(found)}: accuracy on the test part (%)")
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
        "the readout learns. 16 trials of the step size for each on a held-out part, "
        "20 seeds."
    ),
    published=(
        Published(
            "MNIST, test error, 50 % of W and 50 % of B removed",
            "2.4 %",
            "the paper",
            final_error(SPARSE),
        ),
        Published(
            "MNIST, test error, backprop with all",
            "2.4 %",
            "the paper",
            final_error(BASELINE),
        ),
    ),
    differences=DIFFERENCES,
    rule=(
        "Holds if, paired by seed, the accuracy with half removed is (a) at least as "
        "high as that of feedback alignment with all connections (m = 0.5 points) and "
        "higher than the control's, and (b) at least as high as that of backprop with "
        "all. Holds within limits (beside feedback alignment itself) if (a) is as "
        "claimed alone. Does not hold if one of these is against the claim and the "
        "limits do not hold either. Intervals are corrected for two comparisons."
    ),
    remaining=(
        "Removing half of both kinds of connections costs feedback alignment nothing:"
        " its accuracy is equal to that with all of them. Beside backprop nothing is "
        "settled: the source's gradient descent left it at 2.4 %, Adam brings it to "
        "2.1 %, and feedback alignment, whole or sparse, stays half a point behind, "
        "where the interval lies on both sides of the margin."
    ),
    trials=16,
    corrected=(
        "An interval that excluded 0 and crossed the margin was counted as settled "
        "against the claim; and of a net that *still* learns as well, only backprop "
        "with all connections was asked, feedback alignment with all only shown."
    ),
    earlier_setup=EARLIER_SETUP,
    hours=0.9,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("mnist",),
    paper="lillicrap2016",
)
