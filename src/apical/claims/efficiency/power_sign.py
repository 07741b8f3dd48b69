"""PowerSign and AddSign against the usual optimisers (Bello et al. 2017)."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import optax
from matplotlib.figure import Figure

from apical import optim
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import data_names, first_examples
from apical.claims._effect_size import Effect, paired_difference
from apical.claims._plots import draw_over_epochs, panel_figure, rules_in
from apical.claims._published_numbers import final_error, joined_figures
from apical.claims._tuned_training import Budget, NamedOptimizer, tuned_task
from apical.claims._verdict import Finding, Verdict, decide
from apical.lab._registry import BASELINE, CONTROL, RULES
from apical.lab.data._load import Data, load
from apical.lab.models._cnn import MODEL

SOURCE = (
    "Bello, Zoph, Vasudevan & Le 2017, Neural Optimizer Search with Reinforcement "
    "Learning, ICML, arXiv:1709.07417"
)
MARGIN = 1.0  # points, on CIFAR-10
CHANCE = 10.0
NEW = ("power-sign", "add-sign")
USUAL = ("gradient descent", "momentum", "adam", "rmsprop")
_CONTROL_BY = "adam"
_FACTOR = 30.0  # of the span, to both sides, as in every sweep


def _signed(make: Callable[..., Any], rate: Any, steps: int) -> Any:
    return make(rate, decay=optim.cosine_decay(steps))


# What makes each from a step size (a schedule) and the number of steps, and the middle
# of the step sizes that are drawn.
_MAKERS: dict[str, tuple[Callable[[Any, int], Any], float]] = {
    "power-sign": (partial(_signed, optim.power_sign), 0.05),
    "add-sign": (partial(_signed, optim.add_sign), 0.05),
    "gradient descent": (lambda rate, steps: optax.sgd(rate), 0.1),
    "momentum": (lambda rate, steps: optax.sgd(rate, momentum=0.9), 0.05),
    "adam": (lambda rate, steps: optax.adam(rate), 3e-3),
    "rmsprop": (lambda rate, steps: optax.rmsprop(rate), 1e-3),
}


def optimizer(name: str) -> NamedOptimizer:
    """The optimiser with this name; its step size falls to 0 along half a cosine."""
    made, middle = _MAKERS[name]

    def make(rate: Any, steps: int) -> optax.GradientTransformation:
        fall = optim.cosine_decay(steps)
        return made(lambda step: rate * fall(step), steps)

    return NamedOptimizer(name, make, (middle / _FACTOR, middle * _FACTOR))


class Size(NamedTuple):
    """The size of the runs."""

    data: str
    trained: int | None
    tested: int | None
    budget: Budget


SIZES: dict[Scale, Size] = {
    "full": Size("cifar10", 10_000, 5000, Budget(10, 50, 10, 16)),
    "quick": Size("digits", 720, None, Budget(4, 20, 2, 2)),
    "smoke": Size("digits", 320, 160, Budget(1, 20, 2, 0)),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One for each optimiser, and the control with untrained hidden layers."""
    size, names = SIZES[scale], (*NEW, *USUAL)
    runs = [(name, BASELINE) for name in names] + [(_CONTROL_BY, CONTROL)]
    for name, rule in runs if scale != "smoke" else runs[:1]:
        yield tuned_task(
            (name if rule == BASELINE else CONTROL).replace(" ", "-"),
            partial(_pictures, size),
            ("cnn", MODEL.build),
            (rule, RULES[rule]),
            optimizer(name),
            size.budget,
        )


def _pictures(size: Size, context: TaskContext) -> Data:
    data = load(size.data, context.data_dir, context.download)
    return first_examples(data, size.trained, size.tested)


def judge(lines: Lines) -> Verdict:
    """From the last accuracies of both new optimisers against each of the usual."""

    def run(name: str, rule: str = BASELINE) -> dict[str, str]:
        return {"optimizer": name, "rule": rule}

    def beside(name: str, other: dict[str, str], what: str) -> Effect:
        runs, compared = (run(name), other), len(NEW) * len(USUAL)
        said = f"{data_names(lines)}: {name} - {what}"
        return paired_difference(said, lines, runs, MARGIN, compared, lost=CHANCE)

    findings = [
        Finding(beside(new, run(usual), usual), "higher")
        for new, usual in product(NEW, USUAL)
    ]
    control = run(_CONTROL_BY, CONTROL)
    findings += [
        Finding(beside(name, control, "untrained hidden layers"))
        for name in (*NEW, *USUAL)
    ]
    return decide(findings)


def draw(lines: Lines) -> Figure:
    """Training loss and test accuracy over training, by optimiser."""
    named = [
        {**line, "rule": CONTROL if line["rule"] == CONTROL else line["optimizer"]}
        for line in lines
    ]
    names = (*NEW, *USUAL, CONTROL)
    figure, axes, look = panel_figure(2, names, rules_in(named))
    draw_over_epochs(axes[0], named, look, "training_loss", 1)
    draw_over_epochs(axes[1], named, look, "test_accuracy")
    axes[0].set(title="training loss", yscale="log")
    axes[1].set_title(f"{data_names(named)}: accuracy on the test part (%)")
    return figure


CLAIM = Claim(
    id="power-sign",
    sentence="PowerSign and AddSign beat the usual optimisers.",
    source=SOURCE,
    work=(
        "The first 10,000 training pictures of CIFAR-10 and the first 5,000 test "
        "pictures; two blocks of convolution (16 and 32 channels, 3 x 3), batch norm, "
        "ReLU and 2 x 2 maximum, and a readout. Backprop with PowerSign and AddSign, "
        "whose sign agreement decays along half a cosine (cd in the source), and with "
        "gradient descent, momentum 0.9, Adam and RMSProp; the step size of all six "
        "falls to 0 along half a cosine. Batches of 50, 10 epochs; 16 step sizes for "
        "each, drawn on a logarithmic scale over a factor of 900, on a held-out part; "
        "10 seeds. Beside them the control in which only the readout learns (Adam)."
    ),
    published=(
        Published(
            "CIFAR-10, small ConvNet, PowerSign-cd and Adam (another group)",
            "76.21 % and 73.42 % accuracy",
            "from memory",
            joined_figures(
                {
                    name: final_error(BASELINE, optimizer=name)
                    for name in ("power-sign", "add-sign", "adam")
                }
            ),
        ),
        Published(
            "CIFAR-10, ConvNet: better than Adam, RMSProp, SGD with and without "
            "momentum",
            "no figure in the abstract",
            "the abstract of the paper",
            joined_figures(
                {
                    name: final_error(BASELINE, optimizer=name)
                    for name in ("gradient descent", "momentum", "rmsprop")
                }
            ),
        ),
    ),
    differences=(
        "A fifth of the training set, a smaller net and fewer epochs: 182 runs take "
        "hours. The source reports the best of many expressions, tuned by a grid of "
        "step sizes; here all six have as many trials. Of the decays the source tried, "
        "one."
    ),
    rule=(
        "Accuracies after the last epoch, paired by seed; a seed that diverged counts "
        f"as chance ({CHANCE:g} %). Holds if PowerSign and AddSign are higher than "
        f"each of the four usual optimisers (m = {MARGIN:g} point). Does not hold if "
        "one of these eight is against the claim, that is wholly below m. Intervals "
        "are corrected for eight comparisons. The control is shown only."
    ),
    trials=16,
    hours=3.0,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("cifar10",),
    paper="bello2017",
)
