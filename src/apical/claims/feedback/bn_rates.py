"""Batch norm allows higher rates, and learns faster (Ioffe & Szegedy 2015)."""

import math
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._data import data_names
from apical.claims._effect_size import (
    Effect,
    Where,
    effect,
    final_values,
    in_percent,
    paired_difference,
)
from apical.claims._plots import draw_line, panel_figure
from apical.claims._tasks import Size, baseline_and_control
from apical.claims._verdict import Finding, Says, Verdict, decide
from apical.claims.feedback._fashion_mnist import (
    MARGIN,
    NETS,
    NORMED,
    PLAIN,
    SIZES,
    step_size_task,
)
from apical.lab._registry import BASELINE

RATES = tuple(0.00625 * 2**k for k in range(12))  # 0.00625 to 12.8
DOUBLINGS = 1.0  # of the rate: the grid has no finer step
NEAR = 5.0  # points below the plain net's best that still count as working
ORDERS = {"shuffled": True, "fixed order": False}
SHUFFLED, FIXED = ORDERS
FEEDBACK, SIGNS = "feedback-alignment", "sign-concordance"
RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    FEEDBACK: rules.FeedbackAlignment(),
    SIGNS: rules.SignConcordance(),
}
TAUGHT = (BASELINE, FEEDBACK, SIGNS)
_SIZES: dict[Scale, Size] = {
    # A sixth of the training part: regularisation shows with few data.
    "full": SIZES["full"]._replace(trained=10_000, epochs=8, sweep=0),
    "quick": SIZES["quick"],
    "smoke": SIZES["smoke"],
}
_PARTS: dict[Scale, tuple[tuple[float, ...], Sequence[str], Sequence[str]]] = {
    "full": (RATES, tuple(ORDERS), tuple(RULES)),
    "quick": (RATES[2::4], (SHUFFLED,), (BASELINE,)),
    "smoke": (RATES[4:5], (FIXED,), (BASELINE,)),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One for each net, rule and order of the examples, at all rates."""
    rates, orders, names = _PARTS[scale]
    for order, name, net in product(orders, names, NETS):
        named_rule, columns = (name, RULES[name]), {"order": order}
        yield step_size_task(
            rates, _SIZES[scale], net, named_rule, columns, ORDERS[order]
        )


def judge(lines: Lines) -> Verdict:
    """From backprop with and without batch norm; feedback rules are shown only."""
    findings = []
    for rule in TAUGHT:
        mine = [e for e in lines if e["rule"] == rule]
        says: Says | None = "higher" if rule == BASELINE else None
        findings += [
            Finding(_rates(rule, mine), says, inside=True, unit="doublings"),
            Finding(_speed(rule, mine), says, inside=True),
            Finding(_order(rule, mine), says),
        ]
    mine = [line for line in lines if line["rule"] == BASELINE]
    return decide(findings).with_refusals(_at_an_end(mine))


def _at_an_end(lines: Lines) -> tuple[str, ...]:
    """Reasons to refuse: a best or highest working rate at an end of the range."""
    ends = {line["learning_rate"] for line in lines}
    ends = {min(ends), max(ends)} if ends else set()
    found = []
    for net, order in product(NETS, ORDERS):
        if best_rate(lines, net, order) in ends:
            found.append(f"the best rate of the net {net}, {order}, is an end of all")
    for net in NETS:
        highest = {2**rate for rate in _highest(lines, net).values()}
        if ends and any(math.isclose(rate, max(ends)) for rate in highest):
            found.append(f"the highest rate works for the net {net}: a higher one may")
    return tuple(found)


def _rates(rule: str, lines: Lines) -> Effect:
    """The doublings that batch norm adds to the highest rate that works."""
    what = f"{rule}, highest rate that works: batch norm - plain"
    return effect(what, _highest(lines, NORMED), _highest(lines, PLAIN), DOUBLINGS)


def _highest(lines: Lines, net: str) -> dict[int, float]:
    """The highest rate at which a net works, by seed, as a power of 2."""
    usual = {r: in_percent(v) for r, v in _ended(lines, PLAIN, SHUFFLED).items()}
    best = max(
        (float(np.mean(list(v.values()))) for v in usual.values() if v), default=0
    )
    found: dict[int, float] = {}
    for rate, values in _ended(lines, net, SHUFFLED).items():
        for seed, value in in_percent(values).items():
            if value >= best - NEAR:
                found[seed] = max(math.log2(rate), found.get(seed, -math.inf))
    return found


def _speed(rule: str, lines: Lines) -> Effect:
    """What batch norm adds to the accuracy after one epoch, each at its best rate."""

    def early(net: str) -> dict[int, float]:
        rate = best_rate(lines, net, SHUFFLED)
        here = [e for e in _of(lines, net, SHUFFLED) if e["learning_rate"] == rate]
        return {e["seed"]: 100 * e["test_accuracy"] for e in here if e["epoch"] == 1}

    what = f"{rule}, accuracy after one epoch: batch norm - plain"
    return effect(what, early(NORMED), early(PLAIN), MARGIN)


def _order(rule: str, lines: Lines) -> Effect:
    """What shuffling adds to the last accuracy of the net with batch norm."""

    def run(order: str) -> Where:
        rate = best_rate(lines, NORMED, order)
        which = {"model": NORMED, "order": order, "learning_rate": rate}
        return {"rule": rule, **which}

    what = f"{rule}, batch norm: shuffled - fixed order"
    return paired_difference(what, lines, (run(SHUFFLED), run(FIXED)), MARGIN)


def best_rate(lines: Lines, net: str, order: str) -> float:
    """The rate with the lowest training loss in the last epoch."""
    losses: dict[float, list[float]] = {}
    for each in _of(lines, net, order):
        if each["epoch"] == each["epochs"]:
            fine = each["status"] == "ok" and each["training_loss"] is not None
            loss = each["training_loss"] if fine else math.inf
            losses.setdefault(each["learning_rate"], []).append(loss)
    means = {rate: float(np.mean(values)) for rate, values in losses.items()}
    return min(means, key=lambda rate: means[rate], default=math.nan)


def _of(lines: Lines, net: str, order: str) -> list:
    return [e for e in lines if e["model"] == net and e["order"] == order]


def _ended(lines: Lines, net: str, order: str) -> dict[float, dict[int, float]]:
    """The last accuracies by rate and seed."""
    mine = _of(lines, net, order)
    rates = sorted({each["learning_rate"] for each in mine})
    return {rate: final_values(mine, learning_rate=rate) for rate in rates}


def draw(lines: Lines) -> Figure:
    """The last accuracy against the rate: a panel for each rule."""
    names = [f"{net}, {order}" for net in NETS for order in ORDERS]
    shown = [rule for rule in RULES if any(e["rule"] == rule for e in lines)]
    ran = {f"{net}, {o}" for net in NETS for o in ORDERS if _of(lines, net, o)}
    figure, axes, look = panel_figure(max(1, len(shown)), names, ran, sharey=True)
    for panel, rule in zip(axes, shown, strict=False):
        mine = [each for each in lines if each["rule"] == rule]
        for net, order in product(NETS, ORDERS):
            found = _ended(mine, net, order)
            points = {rate: in_percent(v).values() for rate, v in found.items()}
            draw_line(panel, points, look[f"{net}, {order}"])
        panel.set(title=rule, xscale="log", xlabel="rate")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
    axes[0].set_ylabel(f"{data_names(lines)}: test accuracy (%)")
    return figure


CLAIM = Claim(
    id="bn-rates",
    sentence=(
        "Batch norm allows higher rates and faster convergence, and regularises when "
        "the examples are shuffled."
    ),
    source=(
        "Ioffe & Szegedy 2015, Batch Normalization, ICML (their explanation is "
        "disputed by Santurkar et al. 2018; the claim is about what happens, not why)"
    ),
    work=(
        "The first 10,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU, with and without batch norm, plain gradient "
        "descent, batches of 100, 8 epochs. Every rate from 0.00625 to 12.8 by "
        "doublings; the examples shuffled anew in every epoch, and in the same order "
        "in all. Backprop, feedback alignment, sign concordance, and the control in "
        "which only the readout learns; 5 seeds each."
    ),
    published=(
        Published(
            "ImageNet, Inception: higher rates, fewer steps", "no figure at hand", "–"
        ),
    ),
    differences=(
        "A small fully connected net and 100 steps an epoch in place of ImageNet: 12 "
        "rates, 2 nets, 2 orders and 4 rules are 960 runs. Every rate is a run, so "
        "there are no trials: a best rate is that of the lowest training loss in the "
        "last epoch. A fixed order is one draw by seed."
    ),
    rule=(
        "Of backprop, paired by seed. Holds if (a) the highest rate that works is "
        "higher with batch norm (in doublings); (b) the accuracy after one epoch, each "
        "net at its best rate, is higher with it; (c) with it the last accuracy is "
        "higher shuffled than in a fixed order: each by more than the margin (1 "
        "doubling of the rate, 0.5 points). A rate works if the last accuracy is not "
        "more than 5 points below the best mean of the plain net. Holds within limits "
        "if (a) and (b) do. Does not hold if one of these is against the claim and the "
        "limits do not hold either. "
        "Refused if a best rate is the lowest or the highest that ran, or if the "
        "highest of all still works. The same of the feedback rules: shown only."
    ),
    remaining=(
        "No figure was at hand. Batch norm lets the rate be six times as high, and in"
        " the first epoch it is ahead by 7 points. That it regularises when the "
        "examples are shuffled is not settled for backprop: the mean gain of 1.7 "
        "points is there, but five seeds scatter too much."
    ),
    margin=(
        "Of rates one doubling, the step of the grid; the source reports rates that "
        "are five to thirty times as high (from memory)."
    ),
    corrected=(
        "A gain counted as settled where its interval excluded 0, and not where it lay "
        "beyond the margin."
    ),
    hours=0.3,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
)
