"""Fixed predictions imply a different network from traditional predictive coding."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import apical
from apical.claims._claim import Claim, Lines, Scale, Task, TaskContext
from apical.claims._data import data_names, vector_loader
from apical.claims._effect_size import (
    LEAST_SEEDS,
    Effect,
    effect,
    final_values,
    in_percent,
    paired_difference,
)
from apical.claims._tasks import comparison_task
from apical.claims._verdict import Finding, Verdict, finding_in_words
from apical.claims.networks import tanh_net
from apical.claims.predictive_coding._gradient_error import gradient_error
from apical.claims.predictive_coding._untrained_networks import (
    Problem,
    UntrainedNetwork,
)
from apical.lab._control_rules import UntrainedHiddenLayers
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.report.figures._style import (
    LineStyle,
    legend_handle,
    line_styles,
    new_figure,
    write_in_panel,
)
from apical.lab.storage._jsonl import Line
from apical.rules import Backpropagation, PredictiveCoding, Rule

FIXED, FREE = "fixed predictions", "free predictions"
SAME_DIRECTION = 0.01  # of the cosine
SAME_ACCURACY = 0.5  # points
SETTLED = 1e-6  # of dE/dv, relative to the first
_RATE = 0.2


class Size(NamedTuple):
    """Sizes of the runs: for the gradients, and for training with them."""

    depths: tuple[int, ...]
    width: int
    examples: int
    seeds: int
    steps: int
    learned_depths: tuple[int, ...]
    learning: dict[str, Any]
    learning_steps: int


_SIZES: dict[Scale, Size] = {
    "full": Size(
        *((2, 4, 6, 8, 10, 12), 64, 32, 5, 10_000, (2, 6, 12)),
        {"epochs": 1, "seeds": 5, "sweep": 16, "batch_size": 64},
        learning_steps=100,
    ),
    "quick": Size(
        *((2, 6, 12), 32, 16, 2, 6_000, (2, 6)),
        {"epochs": 2, "seeds": 2, "sweep": 2, "batch_size": 64},
        learning_steps=50,
    ),
    "smoke": Size(
        *((2,), 4, 4, 1, 50, (2,)),
        {"epochs": 1, "seeds": 1, "sweep": 0, "batch_size": 256},
        learning_steps=3,
    ),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """The gradients for each depth, then a comparison of learning for each depth."""
    size = _SIZES[scale]
    for layers in size.depths:
        yield _gradients(layers, size)
    for layers in size.learned_depths:
        yield comparison_task(
            f"learning-{layers}",
            lambda n=layers: size.learning | _networks(n, size, scale),
            vector_loader("mnist", 30_000)
            if scale == "full"
            else vector_loader("digits"),
            part="learning",
            layers=layers,
        )


def _networks(layers: int, size: Size, scale: Scale) -> dict[str, Any]:
    rules: dict[str, Rule] = {
        FIXED: PredictiveCoding(layers),
        FREE: PredictiveCoding(size.learning_steps, _RATE, prediction="free"),
    }
    if scale != "smoke":
        rules |= {BASELINE: Backpropagation(), CONTROL: UntrainedHiddenLayers()}
    return {
        "models": {f"{layers} layers": tanh_net(layers, size.width)},
        "rules": rules,
        # Both settle at the rates and steps given here: trials draw the step size of
        # the optimiser alone.
        "search_spaces": {FIXED: {}, FREE: {}},
    }


def _gradients(layers: int, size: Size) -> Task:
    network = UntrainedNetwork(
        tanh_net(layers, size.width), (1, 8, 8), 10, size.examples
    )

    def run(context: TaskContext) -> list[Line]:
        del context
        with jax.enable_x64(True):
            problems = [network.problem(seed) for seed in range(size.seeds)]
            free = PredictiveCoding(size.steps, _RATE, prediction="free")
            return [
                {"part": "gradient", "layers": layers, "seed": seed, "rule": name}
                | line
                for name, each in ((FIXED, PredictiveCoding(layers)), (FREE, free))
                for seed, line in enumerate(_compared(problems, each))
            ]

    return Task(f"gradients-{layers}", run)


def _compared(problems: list[Problem], each: PredictiveCoding) -> Iterator[Line]:
    """The error of a rule's gradient, and the residual of its values."""
    loss_fn, *_, keywords = problems[0]
    learner = jax.jit(apical.value_and_grad(loss_fn, each, **keywords))
    for problem in problems:
        credit = learner(problem.params, (), *problem.args)
        exact, _ = jax.grad(loss_fn, has_aux=True)(problem.params, *problem.args)
        found = gradient_error(credit.grads, exact)
        residual = float(credit.info.residual) if each.prediction == "free" else 0.0
        yield found._asdict() | {"residual": residual}


def judge(lines: Lines) -> Verdict:
    """From the differences of the gradients, and of the accuracies."""
    depths = _layers(lines, "learning")
    directions = [
        Finding(_direction(lines, n), "different", unit="of the cosine")
        for n in _layers(lines, "gradient")
    ]
    learned = [Finding(_learned(lines, n, len(depths)), "different") for n in depths]
    because = "; ".join(map(finding_in_words, [*directions, *learned]))
    found = Verdict("not settled", because, (*directions, *learned))
    residuals = [ln["residual"] for ln in lines if ln["part"] == "gradient"]
    if not directions or not learned:
        return found._replace(because=f"a part was not run: {because}")
    if max(residuals) > SETTLED:
        loose = f"values did not settle (residual {max(residuals):.1e}): {because}"
        return found._replace(because=loose)
    if all(each.fits is False for each in directions):
        return found._replace(word="does not hold")
    if not all(each.fits for each in directions):
        return found
    if any(each.fits for each in learned):
        return found._replace(word="holds")
    if all(each.fits is False for each in learned):
        alone = f"of the gradient, not of what is learned: {because}"
        return found._replace(word="holds within limits", because=alone)
    return found


def _layers(lines: Lines, part: str) -> list[int]:
    return sorted({line["layers"] for line in lines if line["part"] == part})


def _cosines(lines: Lines, layers: int, name: str) -> dict[int, float]:
    wanted = ("gradient", layers, name)
    return {
        line["seed"]: line["cosine"]
        for line in lines
        if (line["part"], line["layers"], line["rule"]) == wanted
    }


def _direction(lines: Lines, layers: int) -> Effect:
    free, fixed = (_cosines(lines, layers, name) for name in (FREE, FIXED))
    what = f"gradient, {layers} layers, free - fixed"
    return effect(what, free, fixed, SAME_DIRECTION)


def _accuracies(lines: Lines, layers: int, name: str) -> dict[int, float]:
    learned = [line for line in lines if line["part"] == "learning"]
    return in_percent(final_values(learned, layers=layers, rule=name))


def _learned(lines: Lines, layers: int, compared: int) -> Effect:
    learned = {"part": "learning", "layers": layers}
    runs = ({**learned, "rule": FREE}, {**learned, "rule": FIXED})
    what = f"{data_names(lines)}: accuracy, {layers} layers, free - fixed"
    return paired_difference(what, lines, runs, SAME_ACCURACY, compared)


def draw(lines: Lines) -> Figure:
    """The cosine by depth, and the accuracy by depth, of both kinds."""
    figure = new_figure(4.2, layout="constrained")
    left, right = figure.subplots(1, 2)
    names = line_styles((FIXED, FREE, BASELINE, CONTROL))
    left.set(title="gradients at the initial weights", xlabel="layers of weights")
    left.set_ylabel("cosine to the gradient of backpropagation")
    right.set(title="what is learned", xlabel="layers of weights")
    right.set_ylabel(f"{data_names(lines)}: test accuracy at the end, %")
    for name, look in names.items():
        _points(left, lines, "gradient", name, look)
        _points(right, lines, "learning", name, look)
    for axes in (left, right):
        if not axes.lines:
            write_in_panel(axes, "nothing measured")
    handles = [legend_handle(look, name) for name, look in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _points(axes: Axes, lines: Lines, part: str, name: str, look: LineStyle) -> None:
    """Draw the mean of the seeds, and each seed."""
    measure = _cosines if part == "gradient" else _accuracies
    found = {n: list(measure(lines, n, name).values()) for n in _layers(lines, part)}
    found = {layers: values for layers, values in found.items() if values}
    means = [np.mean(values) for values in found.values()]
    style: dict[str, Any] = {"color": look.colour, "marker": look.marker}
    if found:
        axes.plot(list(found), means, linestyle=look.dashes, **style)
    axes.set_xticks(_layers(lines, part))
    for layers, values in found.items():
        axes.plot([layers] * len(values), values, linestyle="", alpha=0.3, **style)


CLAIM = Claim(
    id="pc-fixed-vs-free",
    sentence=(
        "The assumption of fixed predictions implies a different network from "
        "traditional predictive coding."
    ),
    source="A comment on Millidge, Tschantz & Buckley 2020",
    work=(
        "Networks of tanh, 64 wide, squared error for the gradients and cross-entropy "
        "for learning. Gradients: 2 to 12 layers, initial weights, random inputs, 5 "
        "seeds, in double precision: the cosine to backpropagation's gradient with "
        "fixed predictions (rate 1, as many steps as layers) and with free ones "
        "(10,000 literal steps at rate 0.2, which leave less than a millionth of the "
        "first dE/dv). Learning: the first 30,000 pictures of MNIST, each seen "
        "once, 2, 6 and 12 layers, Adam, 5 "
        "seeds, 16 trials of the step size for each rule; free predictions take 100 "
        "steps at rate 0.2. Beside them backpropagation and a control with untrained "
        "hidden layers."
    ),
    published=(),
    differences=(
        "The comment names no network. During training, 100 steps do not settle 12 "
        "layers to machine precision. `search_space` of both rules is empty here: "
        "rates and steps of inference are those above, so that a trial cannot choose "
        "values that do not settle."
    ),
    rule=(
        "Two gradients differ in direction if the interval of the difference of their "
        f"cosines lies wholly beyond {SAME_DIRECTION:g}, and are the same if it lies "
        f"within; so do accuracies with {SAME_ACCURACY:g} points (intervals corrected "
        "for the number of depths). Holds if the gradients differ at every depth and "
        "the accuracies at some. Holds within limits (of the gradient alone) if the "
        "gradients differ at every depth and the accuracies are the same at each. Does "
        "not hold if the gradients are the same at every depth. Otherwise, or with "
        f"fewer than {LEAST_SEEDS} seeds, or with a residual above {SETTLED:g}, not "
        "settled."
    ),
    remaining=(
        "No figure was published. The deeper the network, the farther the settled "
        "gradient is from backpropagation's, at every depth by more than the margin. "
        "What is learned differs by less than a point, and whether by more than half a "
        "point is settled at no depth. With means and scatter as they are about 9 "
        "seeds would settle it at 2 layers, 36 seeds at 12 and 545 seeds at 6."
    ),
    trials=16,
    margin=(
        "Of the cosine 0.01, an angle of 8 degrees between two gradients; the source "
        "reports no figure."
    ),
    corrected=(
        "Accuracies counted as different where the interval of their difference "
        "excluded 0, and not where it lay beyond the margin."
    ),
    hours=0.4,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("mnist",),
)
