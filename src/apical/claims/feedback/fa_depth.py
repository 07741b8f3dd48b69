"""Feedback alignment does not scale with depth and convolution (Bartunov et al. 2018).

The depth of a network is its number of hidden layers. All hidden layers are alike, so
that networks differ in depth alone.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import data_names, first_examples, vector_loader
from apical.claims._effect_size import (
    Effect,
    Where,
    effect,
    final_values,
    in_percent,
    lines_where,
    paired_difference,
)
from apical.claims._plots import draw_line, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._tasks import baseline_and_control, comparison_task
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.networks import deep_convolutional_net, tanh_net
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.data._load import Data, load

FULL, CONV = "fully connected", "convolutional"
FEEDBACK = "feedback-alignment"
RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    FEEDBACK: rules.FeedbackAlignment(),
    "kolen-pollack": rules.KolenPollack(),
    "weight-mirror": rules.WeightMirror(),
}
MARGINS = {FULL: 0.5, CONV: 1.0}  # points, on Fashion-MNIST and on CIFAR-10


class Size(NamedTuple):
    """The size of the comparisons of one kind of network.

    Attributes:
        data: the data set.
        trained: training examples; None: all.
        tested: test examples; None: all.
        width: units or channels of each hidden layer.
        depths: numbers of hidden layers.
        epochs: of each run.
        seeds: of the reported runs.
        sweep: trials of each rule; 0: the default step size.
    """

    data: str
    trained: int | None
    tested: int | None
    width: int
    depths: tuple[int, ...]
    epochs: int
    seeds: int
    sweep: int


SIZES: dict[Scale, dict[str, Size]] = {
    "full": {
        FULL: Size("fashion-mnist", 10_000, None, 128, (1, 2, 4, 8, 16), 8, 8, 16),
        CONV: Size("cifar10", 5_000, 2_000, 16, (1, 2, 4, 6), 8, 8, 16),
    },
    "quick": {FULL: Size("digits", None, None, 32, (1, 8), 4, 2, 0)},
    "smoke": {FULL: Size("digits", 320, 160, 8, (1, 2), 1, 2, 0)},
}
DEPTHS = {kind: size.depths for kind, size in SIZES["full"].items()}


def model_name(kind: str, depth: int) -> str:
    """The name of a network, such as "convolutional, 4 hidden"."""
    return f"{kind}, {depth} hidden"


def tasks(scale: Scale) -> Iterable[Task]:
    """A comparison for each kind of network and each depth."""
    compared = RULES if scale == "full" else _FEW
    for kind, size in SIZES[scale].items():
        for depth in size.depths:
            if kind == FULL:
                model: Any = tanh_net(depth + 1, size.width)
                data = vector_loader(size.data, size.trained, size.tested)
            else:
                model = deep_convolutional_net(depth, size.width)
                data = partial(_pictures, size)
            arguments = {
                "models": {model_name(kind, depth): model},
                "rules": compared,
                "batch_size": 50 if scale == "full" else 20,
                **{"epochs": size.epochs, "seeds": size.seeds, "sweep": size.sweep},
            }
            yield comparison_task(
                f"{kind.replace(' ', '-')}-{depth}",
                partial(dict, arguments),
                data,
                kind=kind,
                depth=depth,
            )


_FEW = {name: RULES[name] for name in (*baseline_and_control(), FEEDBACK)}


def _pictures(size: Size, context: TaskContext) -> Data:
    data = load(size.data, context.data_dir, context.download)
    return first_examples(data, size.trained, size.tested)


# ---- The verdict


def _run(kind: str, depth: int, rule: str) -> Where:
    return {"kind": kind, "depth": depth, "rule": rule}


def gaps(lines: Lines, kind: str, depth: int, rule: str = FEEDBACK) -> dict[int, float]:
    """How far (points) a rule is above backpropagation at a depth, by seed."""
    mine, other = (
        in_percent(final_values(lines, **_run(kind, depth, each)))
        for each in (rule, BASELINE)
    )
    return {seed: mine[seed] - other[seed] for seed in mine if seed in other}


def judge(lines: Lines) -> Verdict:
    """From how the gap to backprop grows with depth, and from the control."""
    findings = []
    for kind, depths in DEPTHS.items():
        for rule in RULES:
            if rule in (BASELINE, CONTROL):
                continue
            grown = effect(
                f"{kind}: {rule} - backprop, {depths[-1]} hidden layers - {depths[0]}",
                gaps(lines, kind, depths[-1], rule),
                gaps(lines, kind, depths[0], rule),
                MARGINS[kind],
                len(DEPTHS),
                _deciding_runs(kind, depths) if rule == FEEDBACK else (),
            )
            says = "lower" if rule == FEEDBACK else None
            findings.append(Finding(grown, says, inside=rule == FEEDBACK))
        for depth in depths:
            says = "at most as high" if depth == depths[-1] else None
            findings.append(Finding(_to_control(lines, kind, depth), says))
    return decide(findings)


def _deciding_runs(kind: str, depths: tuple[int, ...]) -> tuple[Where, ...]:
    return tuple(
        _run(kind, depth, rule)
        for depth in (depths[0], depths[-1])
        for rule in (FEEDBACK, BASELINE)
    )


def _to_control(lines: Lines, kind: str, depth: int) -> Effect:
    what = f"{kind}, {depth} hidden: feedback alignment - untrained hidden layers"
    runs = (_run(kind, depth, FEEDBACK), _run(kind, depth, CONTROL))
    return paired_difference(what, lines, runs, MARGINS[kind], len(DEPTHS))


def first_below_control(lines: Lines, kind: str, rule: str) -> int | None:
    """The least depth at which a rule's mean accuracy is not above the control's."""
    for depth in DEPTHS[kind]:
        mine, other = (
            list(final_values(lines, **_run(kind, depth, each)).values())
            for each in (rule, CONTROL)
        )
        if mine and other and sum(mine) / len(mine) <= sum(other) / len(other):
            return depth
    return None


def _told(kind: str, lines: Lines) -> str:
    if not lines_where(lines, kind=kind):
        return NOT_RUN
    told = []
    for depth in DEPTHS[kind]:
        found = list(gaps(lines, kind, depth).values())
        if found:
            told.append(f"{sum(found) / len(found):+.1f} ({depth} hidden)")
    below = first_below_control(lines, kind, FEEDBACK)
    where = "at no depth" if below is None else f"from {below} hidden layers"
    return f"points to backprop: {', '.join(told)}; not above the control {where}"


def draw(lines: Lines) -> Figure:
    """The last accuracy against the number of hidden layers, by kind of network."""
    figure, axes, look = panel_figure(len(DEPTHS), RULES, rules_in(lines))
    for panel, kind in zip(axes, DEPTHS, strict=True):
        here = lines_where(lines, kind=kind)
        for rule in RULES:
            points = {
                depth: in_percent(final_values(here, rule=rule, depth=depth)).values()
                for depth in sorted({line["depth"] for line in here})
            }
            draw_line(panel, points, look[rule])
        panel.set(title=f"{kind}: {data_names(here)}", xlabel="hidden layers")
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("test accuracy (%)")
    return figure


_BARTUNOV = (
    "Bartunov, Santoro, Richards, Marris, Hinton & Lillicrap 2018, Assessing the "
    "Scalability of Biologically-Motivated Deep Learning Algorithms and Architectures, "
    "NeurIPS"
)

CLAIM = Claim(
    id="fa-depth",
    sentence="Feedback alignment does not scale with depth and convolution.",
    source=f"{_BARTUNOV}; Sanfiz & Akrout 2021 (BioTorch)",
    work=(
        "Fully connected: 10,000 training pictures of Fashion-MNIST, 1 to 16 hidden "
        "layers of 128 tanh units. Convolutional: 5,000 training pictures and 2,000 "
        "test pictures of CIFAR-10, 1 to 6 layers of 16 channels (tanh, 3 x 3; the "
        "first two halve rows and columns) and a readout. Adam, batches of 50, 8 "
        "epochs; 16 trials for each rule at each depth on a held-out part, 8 seeds. "
        "Backprop, feedback alignment, Kolen-Pollack, the weight mirror, and the "
        "control in which only the readout learns, tuned like the others."
    ),
    published=(
        Published(
            "test error, FA and BP: MNIST 5 x 256; CIFAR-10 3 x 1024 (fully connected)",
            "1.85 and 1.48 %; 41.97 and 41.32 %",
            "the paper",
            partial(_told, FULL),
        ),
        Published(
            "test error, FA and BP: CIFAR-10, locally connected; ImageNet (top 1)",
            "37.44 and 32.41 %; 93.08 and 71.43 %",
            "the paper",
            partial(_told, CONV),
        ),
        Published(
            "CIFAR-10 test error, FA and BP (Adam): LeNet; ResNet-20; ResNet-56",
            "40.67 and 15.92 %; 29.59 and 10.01 %; 29.23 and 7.83 %",
            "the tables of BioTorch",
        ),
    ),
    differences=(
        "Small networks on parts of the data, where the sources train large ones for "
        "hundreds of epochs. Depth is the number of layers alone: width and channels "
        "stay the same. Weights are shared in space, as in BioTorch; those of Bartunov "
        "et al. are locally connected. Initial weights keep the size of activities at "
        "every depth, so that backprop trains the deepest network."
    ),
    rule=(
        "Paired by seed. Holds if, for fully connected and for convolutional networks, "
        "(a) the accuracy of feedback alignment less that of backprop is lower in the "
        "deepest network than in the shallowest by more than m (0.5 points on "
        "Fashion-MNIST, 1 on CIFAR-10), and (b) in the deepest network feedback "
        "alignment is at most as high as the tuned control. Holds within limits (it "
        "falls behind, but not to the control) if (a) is as claimed for both. Does not "
        "hold if one of these is against the claim and the limits do not hold either. "
        "Intervals are corrected for two kinds of networks. Kolen-Pollack and the "
        "mirror, and the control at other depths, are shown only."
    ),
    trials=16,
    hours=3.0,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist", "cifar10"),
    paper="bartunov2018",
)
