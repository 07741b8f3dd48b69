"""Signs matter, magnitudes do not (Liao, Leibo & Poggio 2016)."""

from collections.abc import Iterable
from itertools import product

from matplotlib.figure import Figure

from apical import rules
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.claims._claim import Claim, Lines, Published, Scale, Task
from apical.lab.claims._comparison import last, percent
from apical.lab.claims._decide import Finding, at_least_equal, below, decide, equal
from apical.lab.claims._measured import several, test_error
from apical.lab.claims._panels import panels, rows
from apical.lab.claims._signs import (
    MARGIN,
    NETS,
    SIZES,
    SOURCE,
    baseline_and_control,
    trained,
)
from apical.lab.claims._verdict import Verdict, effect

_WITH, _PLAIN = NETS
# Batch Manhattan's settings: is the gradient signed, is the velocity?
SETTINGS = {
    f"batch manhattan {number}": f"batch_manhattan(momentum=0.9, "
    f"sign_gradient={gradient}, sign_velocity={velocity})"
    for number, (gradient, velocity) in enumerate(
        [(False, False), (True, False), (False, True), (True, True)]
    )
}
SGD, BM, *_ = SETTINGS
MAGNITUDES = ("uniform", "fixed", "batch")
FRACTIONS = (0.75, 0.5)


def _signs(magnitude: str) -> str:
    return f"signs, {magnitude}"


def _partial(fraction: float) -> str:
    return f"{fraction:.0%} of the signs"


RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    "feedback-alignment": rules.FeedbackAlignment(),
    **{_signs(name): rules.SignConcordance(name) for name in MAGNITUDES},
    **{_partial(part): rules.SignConcordance(concordance=part) for part in FRACTIONS},
}
_QUICK = (BASELINE, CONTROL, _signs("uniform"), _signs("fixed"), _partial(0.5))
# What is left out below the full scale is left out to be quick.
PARTS: dict[Scale, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "full": (tuple(SETTINGS), tuple(RULES), tuple(NETS)),
    "quick": ((SGD, BM), _QUICK, (_WITH,)),
    "smoke": ((BM,), (BASELINE, _signs("uniform")), (_WITH,)),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One comparison for each setting of Batch Manhattan."""
    settings, names, nets = PARTS[scale]
    for setting in settings:
        size = SIZES[scale]
        if scale == "full":  # sixty-four settings
            size = size._replace(epochs=3)
        taught = {name: RULES[name] for name in names}
        if setting == SGD and scale != "full":
            taught = baseline_and_control()
            size = size._replace(rate=0.02)  # a gradient is smaller than its sign
        yield trained(setting, size, taught, nets, optimizer=SETTINGS[setting])


def judge(lines: Lines) -> Verdict:
    """From the accuracies with batch norm, after the last epoch."""

    def ended(rule: str, setting: str = BM) -> dict[int, float]:
        return percent(last(lines, task=setting, model=_WITH, rule=rule))

    uniform, sgd = ended(_signs("uniform")), ended(BASELINE, SGD)
    findings = []
    for name in MAGNITUDES:
        mine, inside = ended(_signs(name)), name != "batch"
        if name != "uniform":
            what = f"{name} magnitudes - uniform ones"
            found = effect(what, mine, uniform, MARGIN, compared=2)
            findings.append(Finding(found, equal(found), inside))
        what = f"{_signs(name)} - backprop by gradient descent"
        found = effect(what, mine, sgd, MARGIN, compared=3)
        findings.append(Finding(found, at_least_equal(found), inside))
    for part in FRACTIONS:
        what = f"{_partial(part)} - all of them"
        found = effect(what, ended(_partial(part)), uniform, MARGIN, compared=2)
        findings.append(Finding(found, below(found, 0), inside=True))
    return decide(findings)


def draw(lines: Lines) -> Figure:
    """The last accuracy of every rule: a panel for each net, a row for each setting."""
    run = {(line["task"], line["rule"]) for line in lines}
    pairs = [pair for pair in product(SETTINGS, RULES) if pair in run]
    height = 1.5 + 0.19 * len(pairs)
    figure, axes, _ = panels(len(NETS), (), height, sharex=True, sharey=True)
    for panel, net in zip(axes, NETS, strict=True):
        mine = [line for line in lines if line["model"] == net]
        ended = {
            f"{task} · {rule}": percent(last(mine, task=task, rule=rule))
            for task, rule in pairs
        }
        rows(panel, ended)
        panel.set(title=net, xlabel="accuracy on the test part (%)")
    return figure


CLAIM = Claim(
    id="sign-enough",
    sentence=(
        "Only the signs of feedback weights matter, not their magnitudes, and the more "
        "of them agree with the forward weights the better: with batch norm and batch "
        "Manhattan sign concordance does at least as well as gradient descent."
    ),
    source=SOURCE,
    work=(
        "The first 20,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU, with batch norm and without, batches of 100, 3 "
        "epochs, momentum 0.9, cross-entropy. Signs with uniform, fixed and batch-wise "
        "random magnitudes, with 75 % and 50 % of them agreeing, feedback alignment, "
        "backprop, and the control with untrained hidden layers; each with settings 0 "
        "to 3 of batch Manhattan (none, the sign of the gradient, of the velocity, of "
        "both). 16 trials of the step size (1e-5 to 1) for each of these on a held-out "
        "part, 5 seeds."
    ),
    published=(
        Published(
            "15 data sets, convolutional nets: random magnitudes and all signs "
            "concordant, with batch norm or batch Manhattan",
            "at least as well as gradient descent (in words; table not at hand)",
            "the paper's abstract",
            several(
                {
                    "test error, with batch norm: gradient descent": test_error(
                        BASELINE, task=SGD, model=_WITH
                    ),
                    **{
                        f"{_signs(name)} magnitudes, batch Manhattan": test_error(
                            _signs(name), task=BM, model=_WITH
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
            several(
                {
                    name: test_error(name, task=SGD, model=_PLAIN)
                    for name in (
                        BASELINE,
                        *map(_signs, ("uniform", "batch", "fixed")),
                        "feedback-alignment",
                    )
                }
            ),
        ),
    ),
    differences=(
        "One data set in place of 15, and a fully connected net of three hidden layers "
        "in place of convolutional ones, on a third of the training part: 64 settings "
        "are trained 21 times each, in half an hour. All rules keep the signs of the "
        "readout's feedback too. Decay is left at 0. Which settings of batch Manhattan "
        "the paper numbers 0 to 3 is taken from `apical.optim.batch_manhattan`."
    ),
    rule=(
        "With batch norm and setting 1 of batch Manhattan. Holds if (a) fixed and "
        "batch-wise magnitudes equal uniform ones (within 0.5 points), (b) all three "
        "are equal to or better than backprop with setting 0 on the same net, and (c) "
        "75 % and 50 % concordance are worse than 100 % (the intervals lie below 0). "
        "Intervals are corrected for 2, 3 and 2 comparisons. Holds within limits if "
        "that is so without the batch-wise magnitudes. Does not hold if one of these "
        "is settled otherwise. What happens without batch norm is shown only."
    ),
    remaining=(
        "With batch norm the signs alone teach as well as the weights do: all means "
        "lie within 0.3 points of gradient descent, but five seeds settle the half "
        "point in no case. What is against the claim is one of its parts: magnitudes "
        "drawn anew for each batch cost 0.6 points beside uniform ones, after three "
        "epochs in which each weight has seen 600 of them. That fewer agreeing signs "
        "teach worse is as said. Without batch norm feedback alignment loses 6 to 16 "
        "points and signs 0.4 to 4."
    ),
    hours=0.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
    paper="liao2016",
)
