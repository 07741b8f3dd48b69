"""The runs of sign concordance that three claims share.

Every rule with every setting of batch Manhattan, with batch norm and without. Each
comparison is done once, whichever of the claims runs first.
"""

from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Lines, Scale, Task
from apical.claims._data import data_names
from apical.claims._effect_size import (
    Effect,
    Where,
    final_values,
    in_percent,
    paired_difference,
)
from apical.claims._plots import draw_rows, panel_figure
from apical.claims._tasks import baseline_and_control
from apical.claims._verdict import Finding
from apical.claims.feedback._fashion_mnist import (
    MARGIN,
    NETS,
    NORMED,
    SIZES,
    training_task,
    with_small_steps,
)
from apical.lab._registry import BASELINE, CONTROL

# The settings of batch Manhattan: sign of the gradient, sign of the velocity.
SETTINGS = {
    f"batch manhattan {number}": f"batch_manhattan(momentum=0.9, "
    f"sign_gradient={gradient}, sign_velocity={velocity})"
    for number, (gradient, velocity) in enumerate(
        [(False, False), (True, False), (False, True), (True, True)]
    )
}
SGD, BM, *_ = SETTINGS
SETTINGS[SGD] = "momentum"  # the same steps, drawn from the range of gradient descent
MAGNITUDES = ("uniform", "fixed", "batch")
FRACTIONS = (0.75, 0.5)
DIFFERENCES = (
    "One data set in place of 15, and a fully connected net of three hidden layers in "
    "place of convolutional ones, on a third of the training part: 64 settings are "
    "trained 31 times each. All rules keep the signs of the readout's "
    "feedback too. Decay is left at 0. Which settings of batch Manhattan the paper "
    "numbers 0 to 3 is taken from `apical.optim.batch_manhattan`."
)


def signs(magnitude: str) -> str:
    """The name of sign concordance with these magnitudes."""
    return f"signs, {magnitude}"


def partial(fraction: float) -> str:
    """The name of sign concordance with this fraction of the signs agreeing."""
    return f"{fraction:.0%} of the signs"


RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    "feedback-alignment": rules.FeedbackAlignment(),
    **{signs(name): rules.SignConcordance(name) for name in MAGNITUDES},
    **{partial(part): rules.SignConcordance(concordance=part) for part in FRACTIONS},
}
_QUICK = (BASELINE, CONTROL, signs("uniform"), signs("fixed"), partial(0.5))
# Below the full scale some rules and the plain network are left out to save time.
_PARTS: dict[Scale, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "full": (tuple(RULES), tuple(NETS)),
    "quick": (_QUICK, (NORMED,)),
    "smoke": ((BASELINE, signs("uniform")), (NORMED,)),
}


def comparison_tasks(scale: Scale, settings: Sequence[str]) -> Iterable[Task]:
    """One comparison for each of these settings, the same for all claims."""
    names, nets = _PARTS[scale]
    for setting in settings:
        size = SIZES[scale]
        if scale == "full":  # sixty-four settings
            size = size._replace(epochs=10, seeds=15)
        compared = {name: RULES[name] for name in names}
        if setting != SGD:
            compared = {n: with_small_steps(each) for n, each in compared.items()}
        if setting == SGD and scale != "full":
            compared = baseline_and_control()
            size = size._replace(rate=0.02)  # a gradient is smaller than its sign
        task = training_task(setting, size, compared, nets, optimizer=SETTINGS[setting])
        yield task._replace(shared=True)


def run_of(rule: str, setting: str = BM) -> Where:
    """The fields that select the lines of a rule, with batch norm."""
    return {"task": setting, "model": NORMED, "rule": rule}


def difference(
    what: str, lines: Lines, runs: tuple[Where, Where], compared: int = 1
) -> Effect:
    """The paired difference of two runs, with the margin of these claims."""
    return paired_difference(what, lines, runs, MARGIN, compared)


def beside_control(lines: Lines, rule: str, name: str) -> Finding:
    """A rule against the control, shown only."""
    what, runs = f"{name} - untrained hidden layers", (run_of(rule), run_of(CONTROL))
    return Finding(difference(what, lines, runs))


def draw_final_accuracies(lines: Lines, names: Sequence[str]) -> Figure:
    """The last accuracies with batch norm and the sign of the gradient."""
    figure, (axes,), _ = panel_figure(1, (), (), 2.6)
    mine = [line for line in lines if line["model"] == NORMED]
    accuracies = {name: final_values(mine, task=BM, rule=name) for name in names}
    draw_rows(axes, {name: in_percent(found) for name, found in accuracies.items()})
    axes.set(title=f"{data_names(mine)}, {NORMED}", xlabel="test accuracy (%)")
    return figure
