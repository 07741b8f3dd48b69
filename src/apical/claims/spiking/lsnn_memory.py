"""Adaptive thresholds carry memory: store-recall with and without them (LSNN)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._effect_size import effect, final_values, in_percent
from apical.claims._plots import draw_line, draw_rows, panel_figure
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.spiking._lsnn import Course, Form, learn
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

ADAPTIVE, PLAIN = "10 LIF and 10 ALIF", "20 LIF"
NETWORKS = {ADAPTIVE: 10, PLAIN: 0}  # units with an adaptive threshold
MARGIN = 5.0  # percent of the recalls
AT_MOST = 5.0  # percent of the recalls
_POINTS = 10  # over training


class Size(NamedTuple):
    """Seeds, step sizes that are tried, and the form of task and training."""

    seeds: int
    rates: tuple[float, ...]
    form: Form


_FULL = Form(
    units=20,
    memory=1200.0,
    channels=100,
    periods=12,
    steps=200,
    wait=6,
    rate=0.05,
    batch=128,
    iterations=200,
    tested=10,
)
_QUICK = _FULL._replace(
    **{"memory": 240.0, "channels": 40, "steps": 40, "rate": 0.1},
    **{"batch": 32, "iterations": 60, "tested": 5},
)
_SMOKE = _FULL._replace(
    **{"memory": 30.0, "channels": 8, "periods": 3, "steps": 5, "wait": 1, "rate": 0.5},
    **{"batch": 4, "iterations": _POINTS, "tested": 1},
)
SIZES: dict[Scale, Size] = {
    "full": Size(5, (0.0025, 0.005, 0.01, 0.02, 0.04), _FULL),
    "quick": Size(5, (0.01,), _QUICK),
    "smoke": Size(2, (0.01,), _SMOKE),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each network and step size, and one for the seeds that are reported."""
    size = SIZES[scale]
    yield Task("store-recall", lambda context: _compared(size, context))


def _compared(size: Size, context: TaskContext) -> Iterator[Line]:
    del context
    for network, adaptive in NETWORKS.items():
        trials = [
            learn(SEEDS[0], adaptive, rate, size.form).test_error
            for rate in size.rates
            if len(size.rates) > 1
        ]
        best = int(np.argmin(trials)) if trials else 0
        rate = size.rates[best]
        for seed in range(size.seeds):
            course = learn(seed, adaptive, rate, size.form)
            yield from _lines(network, rate, seed, course)
        for i, error in enumerate(trials):
            found = {"trial": i, "learning_rate": size.rates[i], "numbers": "{}"}
            yield {"network": network, **found, "error": error, "chosen": i == best}


def _lines(network: str, rate: float, seed: int, course: Course) -> Iterator[Line]:
    """The error in each tenth of training, and the test after the last one."""
    parts = course.errors.reshape(_POINTS, -1)
    each, last = parts.shape[1], parts.size
    for point, errors in enumerate(parts, 1):
        yield {
            "network": network,
            "learning_rate": rate,
            "seed": seed,
            "epoch": point * each,
            "epochs": last,
            "status": "ok",
            "training_error": float(errors.mean()),
            "error": course.test_error if point == _POINTS else None,
            "spikes_per_step": course.rate,
        }


def judge(lines: Lines) -> Verdict:
    """From the difference of the errors, and the error with adaptive thresholds."""
    adaptive, plain = (
        in_percent(final_values(lines, "error", network=name)) for name in NETWORKS
    )
    level = dict.fromkeys(adaptive, AT_MOST)
    findings = [
        Finding(
            effect("error: with - without adaptation", adaptive, plain, MARGIN),
            "lower",
            inside=True,
            unit="percent",
        ),
        Finding(
            effect(f"error: with adaptation - {AT_MOST:g}", adaptive, level, 0.0),
            "lower",
            unit="percent",
        ),
    ]
    return decide(findings).with_refusals(_at_an_end(lines))


def _at_an_end(lines: Lines) -> list[str]:
    """The networks whose chosen step size was the lowest or highest of several."""
    tried = SIZES["full"].rates
    chosen = {line["network"]: line["learning_rate"] for line in lines}
    return [
        f"the best step size of {network} is an end of what was tried ({rate:g})"
        for network, rate in chosen.items()
        if rate in (tried[0], tried[-1])
    ]


def _measured(lines: Lines) -> str:
    errors = final_values(lines, "error", network=ADAPTIVE)
    return f"{np.mean(list(errors.values())):.3f}" if errors else "not run"


def draw(lines: Lines) -> Figure:
    """The error over training, and on the test set."""
    ran = {line["network"] for line in lines}
    figure, axes, look = panel_figure(2, NETWORKS, ran)
    for name in ran:
        points: dict[float, list[float]] = {}
        for line in lines:
            if line["network"] == name:
                error = 100 * line["training_error"]
                points.setdefault(line["epoch"], []).append(error)
        draw_line(axes[0], points, look[name])
    axes[0].axhline(AT_MOST, linewidth=0.8, color="grey")
    axes[0].set(title="wrong recalls in training (%)", xlabel="iteration", ylim=(0, 60))
    draw_rows(
        axes[1],
        {
            name: in_percent(final_values(lines, "error", network=name))
            for name in NETWORKS
        },
    )
    axes[1].set_title("wrong recalls on new sequences (%)")
    return figure


CLAIM = Claim(
    id="lsnn-memory",
    sentence=(
        "Adaptive thresholds carry memory: a small spiking network that has them "
        "learns to store a bit and recall it seconds later, with less than 5 percent "
        "of errors after 200 iterations, and one without them does not."
    ),
    source=(
        "Bellec, Salaj, Subramoney, Legenstein & Maass 2018, Long Short-Term Memory "
        "and Learning-to-Learn in Networks of Spiking Neurons, NeurIPS, "
        "arXiv:1803.09574; the figure is the stopping criterion of its published code"
    ),
    work=(
        "Store-recall, 12 periods of 200 steps, 100 inputs at 0.05 spikes per step, 7 "
        "periods between commands on average. 10 leaky integrate-and-fire units and 10 "
        "with an adaptive threshold (time constant 1,200 steps), against 20 without; "
        "all recurrent, silent for 3 steps after a spike, leaky readout. "
        "Backpropagation through time with a triangle for the derivative of a spike; "
        "200 iterations of Adam on 128 new sequences each, a step size that falls to "
        "0.3 of itself after 100; each network at the best of 5 step sizes of a seed "
        "that is not shown; 5 seeds, each tested on 1,280 new sequences."
    ),
    published=(
        Published(
            "store-recall, error at which training stops, within 200 iterations",
            "0.05",
            "the published code",
            _measured,
        ),
    ),
    differences=(
        "No synaptic delays (up to 10 steps there). The derivative of a spike is "
        "scaled by the threshold at rest, not by the adapted one. The target rate of "
        "10 Hz is left out: its term is a millionth of the loss. Training runs to its "
        "end, where that one stops at the first batch below 0.05. Values beside a "
        "store are drawn anew in the next period."
    ),
    rule=(
        "Holds if, of the errors at the end on new sequences, (a) the paired "
        "difference between the network with adaptive thresholds and that without is "
        "below -5 points, and (b) the mean error with them is below 5 percent, each "
        "with its whole 95 % interval. Holds within limits if (a) is as claimed and "
        "(b) is not. Does not hold if one of these is against the claim and the limits "
        "do not hold either. "
        "Refused if the best step size is the smallest or largest of the five."
    ),
    margin=(
        "Of the difference 5 percent of the recalls, the size of the error that counts "
        "as solved; the error itself is compared with 5 percent without a margin."
    ),
    trials=5,
    hours=0.7,
    tasks=tasks,
    judge=judge,
    draw=draw,
    paper="bellec2018",
)
