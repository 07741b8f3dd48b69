"""The magnitudes of feedback weights do not matter (Liao et al. 2016)."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.feedback._fashion_mnist import EARLIER_SETUP, SOURCE
from apical.claims.feedback._sign_concordance_runs import (
    BM,
    DIFFERENCES,
    MAGNITUDES,
    beside_control,
    comparison_tasks,
    difference,
    draw_final_accuracies,
    run_of,
    signs,
)
from apical.lab._registry import BASELINE, CONTROL


def tasks(scale: Scale) -> Iterable[Task]:
    """The comparison with the sign of the gradient, shared with sign-enough."""
    return comparison_tasks(scale, (BM,))


def judge(lines: Lines) -> Verdict:
    """From fixed and batch-wise random magnitudes against uniform ones."""
    findings = []
    for name in MAGNITUDES[1:]:
        what = f"{name} magnitudes - uniform ones"
        runs = (run_of(signs(name)), run_of(signs("uniform")))
        found = difference(what, lines, runs, compared=2)
        findings.append(Finding(found, "equal", inside=name == "fixed"))
    control = beside_control(lines, signs("uniform"), "uniform magnitudes")
    return decide([*findings, control])


def draw(lines: Lines) -> Figure:
    """The last accuracy with each magnitude."""
    return draw_final_accuracies(lines, (BASELINE, CONTROL, *map(signs, MAGNITUDES)))


CLAIM = Claim(
    id="sign-magnitudes",
    sentence=(
        "Of feedback weights only the signs matter: with batch norm and batch "
        "Manhattan random magnitudes teach as well as uniform ones."
    ),
    source=SOURCE,
    work=(
        "The first 20,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU and batch norm, batches of 100, 10 epochs, "
        "momentum 0.9, cross-entropy, setting 1 of batch Manhattan (the sign of the "
        "gradient). A part of the work of sign-enough, done once for both: sign "
        "concordance with uniform, fixed random and batch-wise random magnitudes; "
        "beside it backprop and the control with untrained hidden layers. "
        "16 trials of the step size for each on a held-out part, 15 seeds."
    ),
    published=(
        Published(
            "15 data sets: the magnitudes of feedback weights do not matter",
            "in words (table not at hand)",
            "the paper's abstract",
        ),
    ),
    differences=DIFFERENCES,
    rule=(
        "Holds if, paired by seed, the accuracies with fixed and with batch-wise "
        "random magnitudes are each equal to that with uniform ones (m = 0.5 points, "
        "intervals corrected for two comparisons). Holds within limits if that is so "
        "of fixed ones. Does not hold if one of these is against the claim (wholly "
        "beyond the margin) and the limits do not hold either. The control: shown only."
    ),
    remaining=(
        "Magnitudes that are drawn anew for each batch cost 0.6 points on average, "
        "after three epochs in which each weight has seen 600 of them, fixed ones 0.3; "
        "five seeds settle neither beside the half point that counts as equal."
    ),
    trials=16,
    corrected=(
        "This was a part of sign-enough, where an interval that excluded 0 and crossed "
        "the margin was counted as settled against the claim."
    ),
    earlier_setup=EARLIER_SETUP,
    hours=1.0,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
    paper="liao2016",
)
