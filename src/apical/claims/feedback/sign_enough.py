"""Sign concordance does at least as well as gradient descent (Liao et al. 2016)."""

from collections.abc import Iterable
from itertools import product

from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._data import data_names
from apical.claims._effect_size import final_values, in_percent
from apical.claims._plots import draw_rows, panel_figure
from apical.claims._published_numbers import final_error, joined_figures
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.feedback._fashion_mnist import (
    EARLIER_SETUP,
    NETS,
    NORMED,
    PLAIN,
    SOURCE,
)
from apical.claims.feedback._sign_concordance_runs import (
    BM,
    DIFFERENCES,
    MAGNITUDES,
    RULES,
    SETTINGS,
    SGD,
    beside_control,
    comparison_tasks,
    difference,
    run_of,
    signs,
)
from apical.lab._registry import BASELINE


def tasks(scale: Scale) -> Iterable[Task]:
    """One comparison for each setting of batch Manhattan."""
    settings = tuple(SETTINGS) if scale == "full" else (SGD, BM)
    return comparison_tasks(scale, settings if scale != "smoke" else (BM,))


def judge(lines: Lines) -> Verdict:
    """From the accuracies with batch norm, after the last epoch."""
    findings = []
    for name in MAGNITUDES:
        what = f"{signs(name)} - backprop by gradient descent"
        runs = (run_of(signs(name)), run_of(BASELINE, SGD))
        beside = difference(what, lines, runs, len(MAGNITUDES))
        findings += [
            Finding(beside, "at least as high", inside=name != "batch"),
            beside_control(lines, signs(name), signs(name)),
        ]
    return decide(findings)


def draw(lines: Lines) -> Figure:
    """The last accuracy of every rule: a panel for each net, a row for each setting."""
    run = {(line["task"], line["rule"]) for line in lines}
    pairs = [pair for pair in product(SETTINGS, RULES) if pair in run]
    height = 1.5 + 0.19 * len(pairs)
    figure, axes, _ = panel_figure(len(NETS), (), (), height, sharex=True, sharey=True)
    for panel, net in zip(axes, NETS, strict=True):
        mine = [line for line in lines if line["model"] == net]
        ended = {
            f"{task} · {rule}": in_percent(final_values(mine, task=task, rule=rule))
            for task, rule in pairs
        }
        draw_rows(panel, ended)
        panel.set(title=f"{data_names(mine)}, {net}", xlabel="test accuracy (%)")
    return figure


CLAIM = Claim(
    id="sign-enough",
    sentence=(
        "With batch norm and batch Manhattan sign concordance does at least as well as "
        "gradient descent."
    ),
    source=SOURCE,
    work=(
        "The first 20,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU, with batch norm and without, batches of 100, 10 "
        "epochs, momentum 0.9, cross-entropy. Signs with uniform, fixed and batch-wise "
        "random magnitudes, with 75 % and 50 % of them agreeing, feedback alignment, "
        "backprop, and the control with untrained hidden layers; each with settings 0 "
        "to 3 of batch Manhattan (none, the sign of the gradient, of the velocity, of "
        "both). 16 trials of the step size for each of these on a held-out part, 15 "
        "seeds."
    ),
    published=(
        Published(
            "15 data sets, convolutional nets: random magnitudes and all signs "
            "concordant, with batch norm or batch Manhattan",
            "at least as well as gradient descent (in words; table not at hand)",
            "the paper's abstract",
            joined_figures(
                {
                    "test error, with batch norm: gradient descent": final_error(
                        BASELINE, task=SGD, model=NORMED
                    ),
                    **{
                        f"{signs(name)} magnitudes, batch Manhattan": final_error(
                            signs(name), task=BM, model=NORMED
                        )
                        for name in MAGNITUDES
                    },
                }
            ),
        ),
        Published(
            "CIFAR-10, LeNet, test error (SGD): backprop; uniform, batch-wise, fixed "
            "magnitudes; feedback alignment",
            "14.23 %; 16.22, 16.02, 16.86 %; 46.69 %",
            "Sanfiz & Akrout 2021, Benchmarks.md of BioTorch",
            joined_figures(
                {
                    name: final_error(name, task=SGD, model=PLAIN)
                    for name in (
                        BASELINE,
                        *map(signs, ("uniform", "batch", "fixed")),
                        "feedback-alignment",
                    )
                }
            ),
        ),
    ),
    differences=DIFFERENCES,
    rule=(
        "With batch norm, paired by seed. Holds if with setting 1 of batch Manhattan "
        "uniform, fixed and batch-wise magnitudes are each at least as high as "
        "backprop with setting 0 on the same net (m = 0.5 points, intervals corrected "
        "for three comparisons). Holds within limits if that is so of uniform and "
        "fixed ones. Does not hold if one of these is against the claim and the limits "
        "do not hold either. What happens without batch norm, and the control, are "
        "shown only."
    ),
    remaining=(
        "With batch norm all means lie within 0.3 points of gradient descent. Five "
        "seeds settle the half point for uniform magnitudes alone; with means and "
        "scatter as they are about 8 seeds would settle it for fixed ones, 35 seeds "
        "would for batch-wise ones. Gradient descent won at the largest step size that "
        "was drawn, signs at the smallest. Without batch norm feedback alignment loses "
        "6 to 16 points and signs 0.4 to 4."
    ),
    trials=16,
    corrected=(
        "Three sentences were one claim, decided by its weakest part: the others are "
        "now sign-magnitudes and sign-fraction. And an interval that excluded 0 and "
        "crossed the margin was counted as settled against the claim."
    ),
    earlier_setup=EARLIER_SETUP,
    hours=2.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
    paper="liao2016",
)
