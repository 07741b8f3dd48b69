"""Nets trained with predictive coding learn as with backprop (Millidge et al. 2020)."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import (
    Claim,
    EarlierSetup,
    Lines,
    Published,
    Scale,
    Task,
    TaskContext,
)
from apical.claims._data import data_names, first_examples
from apical.claims._effect_size import Effect, lines_where, paired_difference
from apical.claims._plots import draw_over_epochs, panel_figure, rules_in
from apical.claims._published_numbers import Measured, accuracy_by_epoch
from apical.claims._tasks import baseline_and_control, comparison_task
from apical.claims._verdict import Finding, Verdict, as_well_as_backprop, decide
from apical.claims.networks import convolutional_net, lstm_net
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.data._load import Data, load
from apical.lab.data._text import windows

PICTURES, TEXT = "pictures", "text"
CODING, FREE = "predictive-coding", "predictive-coding-free"
MARGIN = 1.0  # points, on CIFAR-10 and on text
SAME_GRADIENT = 0.999  # the cosine to backprop's from which on nothing is compared
LETTERS = 16  # in a window
_QUOTE = "To be, or not to be, that is the question: whether 'tis nobler in the mind "


# The paper's numbers: trials draw the step size of the optimiser alone. More steps than
# the longest path of nodes are summed in closed form.
_SPACES = {CODING: {}, FREE: {}}
FREE_STEPS = 20


def tasks(scale: Scale) -> Iterable[Task]:
    """The convolutional net on pictures, and the LSTM on text."""
    epochs, seeds, sweep = {"full": (3, 5, 16), "quick": (2, 2, 0)}.get(
        scale, (1, 2, 0)
    )
    budget: dict[str, Any] = {
        **{"epochs": epochs, "seeds": seeds, "sweep": sweep, "batch_size": 64},
        "learning_rate": None if sweep else 3e-3,
    }
    beside = {} if scale == "smoke" else baseline_and_control()
    yield comparison_task(
        PICTURES,
        lambda: {
            **budget,
            "models": {"convolutional": convolutional_net},
            "rules": {**beside, **_coding(100)},
            "search_spaces": _SPACES,
            "loss": "squared-error",
        },
        pictures(scale),
        part=PICTURES,
    )
    if scale == "smoke":
        return
    width = 64 if scale == "full" else 16
    yield comparison_task(
        TEXT,
        lambda: {
            **budget,
            "epochs": min(epochs, 2),
            "models": {"lstm": lstm_net(width)},
            "rules": {**beside, **_coding(200)},
            "search_spaces": _SPACES,
        },
        _text(scale),
        part=TEXT,
    )


def _coding(steps: int) -> dict[str, rules.Rule]:
    """Fixed predictions with the paper's steps, and free ones."""
    return {
        CODING: rules.PredictiveCoding(steps, 0.1),
        FREE: rules.PredictiveCoding(FREE_STEPS, prediction="free"),
    }


def pictures(scale: Scale) -> Callable[[TaskContext], Data]:
    """A loader of the pictures of a scale: CIFAR-10, or digits in double size."""

    def give(context: TaskContext) -> Data:
        if scale == "full":
            return first_examples(
                load("cifar10", context.data_dir, context.download), 10_000, None
            )
        # The digits in double size: two convolutions of 5 x 5 do not fit into 8 x 8.
        data = load("digits")
        data = (
            first_examples(data, 320, 160)
            if scale == "quick"
            else first_examples(data, 128, 64)
        )
        return data._replace(
            train_x=_doubled(data.train_x), test_x=_doubled(data.test_x)
        )

    return give


def _text(scale: Scale) -> Callable[[TaskContext], Data]:
    def give(context: TaskContext) -> Data:
        if scale == "full":
            data = load("shakespeare", context.data_dir, context.download)
            return first_examples(shortened(data), 5_000, 5_000)
        return first_examples(
            shortened(windows(_QUOTE * 300, "a line of Hamlet", "")), 320, 160
        )

    return give


def shortened(data: Data) -> Data:
    """A text with each window cut into windows of 16 characters."""

    def cut(part: np.ndarray) -> np.ndarray:
        return part.reshape(-1, LETTERS)

    return data._replace(
        train_x=cut(data.train_x),
        train_y=cut(data.train_y),
        test_x=cut(data.test_x),
        test_y=cut(data.test_y),
        note=f"{data.note}; each window cut into windows of {LETTERS}",
    )


def _doubled(pictures: np.ndarray) -> np.ndarray:
    return pictures.repeat(2, axis=-1).repeat(2, axis=-2)


def judge(lines: Lines) -> Verdict:
    """From the last accuracies of free predictions, beside backprop and the control.

    The kept run has fixed predictions alone, which cannot fail.
    """
    findings: list[Finding] = []
    tested = FREE if FREE in rules_in(lines) else CODING
    for part in (PICTURES, TEXT):
        name = data_names(lines_where(lines, part=part))

        def against(rule: str, what: str, part: str = part, name: str = name) -> Effect:
            runs = ({"part": part, "rule": tested}, {"part": part, "rule": rule})
            kind = "free predictions" if tested == FREE else "predictive coding"
            what = f"{name}: {kind} - {what}"
            return paired_difference(what, lines, runs, MARGIN, compared=2)

        findings += as_well_as_backprop(
            against(BASELINE, "backprop"),
            against(CONTROL, "untrained hidden layers"),
            inside=part == PICTURES,
        )
    return decide(findings).with_refusals(_cannot_fail(lines, tested))


def _cannot_fail(lines: Lines, tested: str) -> tuple[str, ...]:
    """A reason to refuse: the gradient was backprop's own all through training."""
    cosines = [
        line["alignment"]
        for line in lines
        if line["rule"] == tested and line["alignment"] is not None
    ]
    if not cosines or min(cosines) < SAME_GRADIENT:
        return ()
    return (
        "the comparison cannot fail: the gradient of predictive coding was backprop's "
        f"own all through training (cosine {min(cosines):.4f} and above); free "
        "predictions would be the test",
    )


def draw(lines: Lines) -> Figure:
    """Test accuracy and alignment over the epochs, on both."""
    figure, axes, look = panel_figure(
        4, (BASELINE, CONTROL, CODING, FREE), rules_in(lines)
    )
    learning = {name: look[name] for name in (BASELINE, CODING, FREE)}
    for place, part in enumerate((PICTURES, TEXT)):
        mine = [each for each in lines if each["part"] == part]
        draw_over_epochs(axes[2 * place], mine, look, "test_accuracy")
        draw_over_epochs(axes[2 * place + 1], mine, learning, "alignment", 1)
        axes[2 * place].set_title(f"{data_names(mine)}: test accuracy (%)")
        # From 0, so that rounding does not look like a fall.
        axes[2 * place + 1].set(title="cosine to backprop's gradient", ylim=(0, 1.05))
    return figure


def _published(what: str, value: str, measured: Measured) -> Published:
    source = "Millidge, Tschantz & Buckley 2020, and their code"
    return Published(what, value, source, measured)


def _rates(lines: Lines) -> str:
    """The step sizes of Adam that the trials of predictive coding chose."""
    found = {
        e["part"]: f"{e['learning_rate']:.1e}" for e in lines if e["rule"] == CODING
    }
    return f"chosen by trials, for Adam: {', '.join(found.values())}"


CLAIM = Claim(
    id="pc-trains",
    sentence="Networks trained with predictive coding learn as with backprop.",
    source="Millidge, Tschantz & Buckley 2020, arXiv:2006.04182",
    work=(
        "CIFAR-10, the first 10,000 training pictures: the paper's net (6 of 5 x 5, "
        "maximum of four, 16 of 5 x 5, 200, 150, 10; ReLU), squared error, fixed "
        "predictions, 100 steps at rate 0.1, and free ones, 20 steps at a rate that is "
        "adapted, 3 epochs. Shakespeare by character: an LSTM of 64 cells on 5,000 "
        "windows of 16 characters, cross-entropy, 200 steps at rate 0.1 or the same "
        "free ones, 2 epochs. Batches of 64, Adam; backprop, both kinds of predictive "
        "coding, and the control in which only the readout learns, each with 16 trials "
        "of the step size of the weights on a held-out part; 5 seeds."
    ),
    published=(
        _published(
            "CIFAR-10, test accuracy",
            "figure only: the curves are about the same",
            accuracy_by_epoch((BASELINE, CODING), part=PICTURES),
        ),
        _published(
            "weights: rate of the convolutional net, of the LSTM",
            "2.5e-4, 1e-5",
            _rates,
        ),
        _published(
            "LSTM, 1056 cells, windows of 50, 200 steps at 0.1",
            "figure only: the curves are about the same",
            accuracy_by_epoch((BASELINE, CODING), part=TEXT),
        ),
    ),
    differences=(
        "A fifth of CIFAR-10, for three epochs, takes about half an hour on two "
        "cores: nets are compared early in training. The LSTM has 64 cells, not 1056, "
        "and its windows 16 characters, not 50: the time of predictive coding grows "
        "with the square of the window, and this takes minutes on two cores. 200 "
        "steps at rate 0.1 reach back over a path of about 20 nodes, here as there. "
        "Steps beyond the longest path are summed in closed form; the values are the "
        "same. The published code moves values by twice the rate. SVHN, CIFAR-100 and "
        "the names are left out. The rate of the weights is tuned for both rules, "
        "where the paper used one."
    ),
    rule=(
        "Fixed predictions give backprop's gradient, so that they cannot fail: free "
        "ones decide, or, of a run without them, fixed ones. Holds if on both tasks "
        "their last accuracy is at least as high as backprop's (m = 1 point), and "
        "higher than the control's. Holds within limits if that is so on CIFAR-10 "
        "alone. Does not hold if one of these is against the claim and the limits do "
        "not hold either. Intervals are corrected for two tasks. Refused if the "
        "gradient of predictive coding was backprop's own all through training (a "
        f"cosine of {SAME_GRADIENT:g} or more)."
    ),
    remaining=(
        "The curves coincide, as in the paper's figures, and must: with fixed "
        "predictions and enough steps the gradient is backprop's to a thousandth "
        "(pc-exact), so that this comparison cannot fail, and its accuracies say "
        "nothing more. Free predictions, which are the test, were not part of it. "
        "Training is short: backprop is still rising on CIFAR-10, and on text the "
        "largest step size that was drawn won."
    ),
    trials=16,
    corrected=(
        "That the two gradients are the same, that backprop was still learning, and "
        "that the largest step size of all that were drawn had won did not matter."
    ),
    earlier_setup=EarlierSetup(
        "It had fixed predictions alone, which cannot fail: free ones have been asked "
        "for since.",
        trials=16,
    ),
    hours=1.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("cifar10", "shakespeare"),
    paper="millidge2020",
)
