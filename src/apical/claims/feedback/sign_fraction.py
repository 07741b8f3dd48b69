"""The more signs of the feedback agree, the better (Liao et al. 2016)."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.feedback._fashion_mnist import EARLIER_SETUP, SOURCE
from apical.claims.feedback._sign_concordance_runs import (
    BM,
    DIFFERENCES,
    FRACTIONS,
    beside_control,
    comparison_tasks,
    difference,
    draw_final_accuracies,
    partial,
    run_of,
    signs,
)
from apical.lab._registry import BASELINE, CONTROL


def tasks(scale: Scale) -> Iterable[Task]:
    """The comparison with the sign of the gradient, shared with sign-enough."""
    return comparison_tasks(scale, (BM,))


def judge(lines: Lines) -> Verdict:
    """From fewer agreeing signs against all of them."""
    findings = []
    for part in FRACTIONS:
        what = f"{partial(part)} - all of them"
        runs = (run_of(partial(part)), run_of(signs("uniform")))
        fewer = difference(what, lines, runs, compared=len(FRACTIONS))
        findings += [
            Finding(fewer, "lower"),
            beside_control(lines, partial(part), partial(part)),
        ]
    return decide(findings)


def draw(lines: Lines) -> Figure:
    """The last accuracy with each fraction of the signs."""
    names = (BASELINE, CONTROL, signs("uniform"), *map(partial, FRACTIONS))
    return draw_final_accuracies(lines, names)


CLAIM = Claim(
    id="sign-fraction",
    sentence=(
        "The more signs of the feedback weights agree with those of the forward "
        "weights, the better a net learns."
    ),
    source=SOURCE,
    work=(
        "The first 20,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU and batch norm, batches of 100, 10 epochs, "
        "momentum 0.9, cross-entropy, setting 1 of batch Manhattan (the sign of the "
        "gradient). A part of the work of sign-enough, done once for both: sign "
        "concordance with all, 75 % and 50 % of the signs agreeing; beside it "
        "backprop and the control with untrained hidden layers. "
        "16 trials of the step size for each on a held-out part, 15 seeds."
    ),
    published=(
        Published(
            "15 data sets: more concordance is better",
            "in words (table not at hand)",
            "the paper's abstract",
        ),
    ),
    differences=DIFFERENCES,
    rule=(
        "Holds if, paired by seed, the accuracies with 75 % and with 50 % of the signs "
        "agreeing are each lower than with all of them (m = 0.5 points, intervals "
        "corrected for two comparisons). Does not hold if one of these is against the "
        "claim. The control: shown only."
    ),
    remaining=(
        "Both are lower than with all signs, by 1.6 and 3.1 points, and well above "
        "hidden layers that are not trained. The step size with which all signs won is "
        "the smallest that was drawn."
    ),
    trials=16,
    corrected=(
        "This was a part of sign-enough, whose verdict was decided by another of its "
        "parts."
    ),
    earlier_setup=EARLIER_SETUP,
    hours=1.0,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
    paper="liao2016",
)
