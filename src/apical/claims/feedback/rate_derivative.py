"""A unit can carry the error in the temporal derivative of its activity (Hinton)."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import optax
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import data_names, vector_loader
from apical.claims._effect_size import effect, lines_where, paired_difference
from apical.claims._plots import draw_over_epochs, draw_rows, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._tasks import Size, baseline_and_control, comparison_task
from apical.claims._verdict import Finding, Says, Verdict, as_well_as_backprop, decide
from apical.claims.feedback._activity_changes import activity_changes
from apical.claims.networks import tanh_net
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.models import own_model
from apical.lab.storage._jsonl import Line
from apical.lab.training._setup import TrainConfig

SOURCE = (
    "Hinton 2016, Can the brain do back-propagation?, Stanford EE Computer Systems "
    "Colloquium (a talk)"
)
EQUILIBRIUM, GENEREC = "equilibrium-propagation", "generec"
# One-sided, so that the change is one that happens: from before the target to after.
CHANGING: dict[str, rules.Rule] = {
    EQUILIBRIUM: rules.EquilibriumPropagation(0.1, estimate="one-sided", gain=0.3),
    GENEREC: rules.GeneRec(gain=0.1),
}
RULES: dict[str, rules.Rule] = {**baseline_and_control(), **CHANGING}
LAYERS = (1, 2)  # both hidden
CARRIES, NOTHING = 0.5, 0.1  # of a correlation
MARGIN = 0.5  # points, on MNIST
LEARNING, MEASURE = "learning", "changes"
RATE = 1e-3  # of Adam, where changes of activity are measured
SIZES: dict[Scale, Size] = {
    "full": Size("mnist", 10_000, None, 128, 8, 8, 16),
    "quick": Size("digits", None, None, 32, 4, 2, 0, 0.003),
    "smoke": Size("digits", 320, 160, 8, 1, 2, 0, 0.003),
}
_MEASURED = 1000  # test examples


def tasks(scale: Scale) -> Iterable[Task]:
    """The comparison, and for each rule the changes of activity in a network."""
    size, model = SIZES[scale], tanh_net(len(LAYERS) + 1, SIZES[scale].width)
    few = {name: RULES[name] for name in (BASELINE, EQUILIBRIUM)}
    arguments = {
        "models": {"tanh": model},
        "rules": few if scale == "smoke" else RULES,
        "loss": "squared-error",
        "batch_size": 50 if scale == "full" else 20,
        **size.arguments,
    }
    data = vector_loader(size.data, size.trained, size.tested)
    yield comparison_task(LEARNING, partial(dict, arguments), data, part=LEARNING)
    for name in CHANGING if scale != "smoke" else (EQUILIBRIUM,):
        yield Task(f"changes-{name}", partial(_changes, size, name, model, data))


def _changes(
    size: Size, name: str, model: Any, load: Any, context: TaskContext
) -> Iterator[Line]:
    data = load(context)
    batch = 50 if size.trained == SIZES["full"].trained else 20
    built = own_model(model, data.kind)
    config = TrainConfig(
        *(data, "tanh", built, optax.adam, RATE, size.epochs, batch, "squared-error")
    )
    for line in activity_changes(config, name, CHANGING[name], size.seeds, _MEASURED):
        yield {"part": MEASURE, "epochs": size.epochs, **line}


# ---- The verdict


def correlations(
    lines: Lines, rule: str, layer: int, kind: str = "partial", begin: bool = False
) -> dict[int, float]:
    """A correlation of a hidden layer by seed, after training or before."""
    mine = lines_where(lines, part=MEASURE, rule=rule, layer=layer)
    return {
        line["seed"]: line[kind]
        for line in mine
        if line["epoch"] == (0 if begin else line["epochs"]) and line[kind] is not None
    }


def judge(lines: Lines) -> Verdict:
    """From the partial correlations, and from what is learned by these changes."""
    findings = []
    for rule in CHANGING:
        for layer in LAYERS:
            findings += _of_layer(lines, rule, layer)
    learned = lines_where(lines, part=LEARNING)

    def against(rule: str, other: str, name: str) -> Any:
        runs = ({"part": LEARNING, "rule": rule}, {"part": LEARNING, "rule": other})
        what = f"{data_names(learned)}: {rule} - {name}"
        return paired_difference(what, lines, runs, MARGIN, compared=2)

    for rule in CHANGING:
        findings += as_well_as_backprop(
            against(rule, BASELINE, "backprop, squared error"),
            against(rule, CONTROL, "untrained hidden layers"),
            decides=rule == EQUILIBRIUM,
        )
    return decide(findings)


def _of_layer(lines: Lines, rule: str, layer: int) -> Iterator[Finding]:
    """The change against the error, and against that of other examples."""
    decides = rule == EQUILIBRIUM
    kinds: tuple[tuple[str, float, Says | None], ...] = (
        ("partial", CARRIES, "higher"),
        ("shuffled", NOTHING, "equal"),
        ("plain", CARRIES, None),
        ("activity", CARRIES, None),
    )
    for kind, margin, says in kinds:
        found = correlations(lines, rule, layer, kind)
        what = f"{rule}, hidden layer {layer}: {_WORDS[kind]}"
        zero = dict.fromkeys(found, 0.0)
        compared = effect(what, found, zero, margin, compared=len(LAYERS))
        yield Finding(compared, says if decides else None, decides, "")


_WORDS = {
    "partial": "change and error, given the activity",
    "shuffled": "change and the error of another example",
    "plain": "change and error, nothing regressed out",
    "activity": "activity and error",
}


def _told(lines: Lines) -> str:
    told = []
    for rule in CHANGING:
        found = [list(correlations(lines, rule, layer).values()) for layer in LAYERS]
        if all(found):
            means = ", ".join(f"{np.mean(each):.2f}" for each in found)
            told.append(f"{rule}: {means} (hidden layers 1, 2)")
    return "; ".join(told) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """Accuracy over training, and the correlations before and after it."""
    learned = lines_where(lines, part=LEARNING)
    figure, axes, look = panel_figure(2, RULES, rules_in(learned))
    draw_over_epochs(axes[0], learned, look, "test_accuracy")
    axes[0].set_title(f"{data_names(learned)}: accuracy on the test part (%)")
    rows = {
        f"{rule[:11]}, layer {layer}, {when}": correlations(
            lines, rule, layer, begin=when == "before"
        )
        for rule in CHANGING
        for layer in LAYERS
        for when in ("before", "after")
    }
    draw_rows(axes[1], rows)
    axes[1].set(title="change and error, given activity", xlabel="partial correlation")
    return figure


CLAIM = Claim(
    id="rate-derivative",
    sentence=(
        "A unit can carry the error in the temporal derivative of its activity, while "
        "the activity itself stands for a feature."
    ),
    source=SOURCE,
    work=(
        "The first 10,000 training pictures of MNIST and all test pictures, "
        "784-128-128-10 with tanh, squared error. Equilibrium propagation (one-sided, "
        "nudge 0.1, gain 0.3) and GeneRec, whose update is activity times the change "
        "of activity. In networks that each of them trains (Adam at 1e-3, 8 epochs, "
        "batches of 50), before and after: the partial correlation, over 1,000 test "
        "pictures, of a unit's change of activity when the target is shown with minus "
        "backprop's gradient at its drive, with its activity regressed out; the mean "
        "over the units of a layer. And their accuracy beside backprop with the same "
        "loss and the control in which only the readout learns, 16 trials each. 8 "
        "seeds."
    ),
    published=(
        Published(
            "temporal derivatives represent error derivatives",
            "a proposal, without a figure",
            "the table of contents and a listener's notes of the talk",
            _told,
        ),
    ),
    differences=(
        "The talk lets the error arrive while the input stays, and the synapse use the "
        "derivative of the rate at once; here the change is that between two states "
        "that have settled, before and after the target is shown. Feedback passes "
        "through the forward weights, at reduced strength; feedback alignment, which "
        "the talk adds, is the subject of other claims. Backprop's gradient is that of "
        "the forward computation, not of the settled network."
    ),
    rule=(
        "By seed. Holds if, for equilibrium propagation, (a) after training the "
        "partial correlation is higher than "
        f"{CARRIES:g} in both hidden layers, and that with the error of another "
        f"example is equal to 0 (m = {NOTHING:g}); and (b) its accuracy is at least as "
        "high as that of backprop with the same loss (m = 0.5 points) and higher than "
        "the control's. Holds within limits (it is carried, but learning is not as "
        "good) if (a) is as claimed. Does not hold if one of these is against the "
        "claim and the limits do not hold either. Intervals are corrected for two "
        "comparisons. GeneRec, the correlations with nothing regressed out, and that "
        "of activity with error, are shown only."
    ),
    margin=(
        "Of correlations 0.5: the change then has a quarter of the error's variance; "
        "and 0.1 for none."
    ),
    trials=16,
    hours=1.0,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("mnist",),
)
