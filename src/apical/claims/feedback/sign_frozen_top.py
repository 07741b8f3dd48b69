"""Feedback alignment and sign concordance with a frozen readout (Liao et al. 2016)."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._data import data_names
from apical.claims._effect_size import Effect, paired_difference
from apical.claims._plots import draw_over_epochs, panel_figure, rules_in
from apical.claims._tasks import baseline_and_control
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.feedback._fashion_mnist import SOURCE, batch_manhattan_task
from apical.lab._control_rules import FrozenReadout
from apical.lab._registry import BASELINE, CONTROL

COLLAPSE = 10.0  # points that are lost
FEEDBACK, SIGNS = "feedback-alignment", "sign-concordance"
_TAUGHT = {
    BASELINE: rules.Backpropagation(),
    FEEDBACK: rules.FeedbackAlignment(),
    SIGNS: rules.SignConcordance(),
}


def frozen(name: str) -> str:
    """The name of a rule with a frozen readout."""
    return f"{name}, frozen"


RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    **_TAUGHT,
    **{frozen(name): FrozenReadout(rule) for name, rule in _TAUGHT.items()},
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One comparison of all rules."""
    names = list(RULES) if scale != "smoke" else [frozen(FEEDBACK)]
    yield batch_manhattan_task(scale, {name: RULES[name] for name in names})


def judge(lines: Lines) -> Verdict:
    """From what each rule loses with a frozen readout."""

    def lost(name: str) -> Effect:
        what = f"{name}: frozen readout - trained one"
        runs = ({"rule": frozen(name)}, {"rule": name})
        return paired_difference(what, lines, runs, COLLAPSE, compared=2)

    return decide(
        [
            Finding(lost(FEEDBACK), "lower"),
            Finding(lost(SIGNS), "at least as high"),
            Finding(lost(BASELINE)),
        ]
    )


def draw(lines: Lines) -> Figure:
    """Accuracy and alignment of the hidden layers over training, frozen and not."""
    figure, axes, look = panel_figure(4, [*_TAUGHT, CONTROL], rules_in(lines), 3.8)
    kinds = {"trained readout": _same, "frozen readout": frozen}
    fields = {
        "test accuracy (%)": ("test_accuracy", 100),
        "alignment": ("alignment", 1),
    }
    places = [(kind, field) for field in fields for kind in kinds]
    for panel, (kind, field) in zip(axes, places, strict=True):
        names = {kinds[kind](name): name for name in look}
        # The control has no frozen form, because nothing would learn.
        names |= {CONTROL: CONTROL} if field != "alignment" else {}
        mine = [{**e, "rule": names[e["rule"]]} for e in lines if e["rule"] in names]
        draw_over_epochs(panel, mine, look, *fields[field])
        panel.set_title(f"{kind}: {field}", fontsize=8)
    figure.suptitle(data_names(lines), x=0.01, ha="left", fontsize=10)
    return figure


def _same(name: str) -> str:
    return name


CLAIM = Claim(
    id="sign-frozen-top",
    sentence=(
        "With the last layer frozen at random feedback alignment collapses, and sign "
        "concordance does not."
    ),
    source=f"{SOURCE} (the control with a fixed last layer)",
    work=(
        "The first 20,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU and batch norm, batch Manhattan "
        "(the sign of the gradient, momentum 0.9), batches of 100, 8 epochs. Backprop, "
        "feedback alignment and sign concordance, each with a readout that learns and "
        "with one that stays as drawn; beside them the control in which only the "
        "readout learns. 16 trials of the step size each on a held-out "
        "part, 5 seeds."
    ),
    published=(
        Published("15 data sets", "no figure at hand", "the paper, as cited by others"),
    ),
    differences=(
        "One data set, a third of its training part, and a fully connected net. The "
        "frozen readout keeps its feedback weights: the signal of feedback alignment "
        "passes it through other random weights, that of sign concordance through its "
        "signs. The bias of the readout is frozen too."
    ),
    rule=(
        "A collapse is a loss of 10 points or more against the same rule with a "
        "readout that learns. Holds if, with a frozen readout, feedback alignment is "
        "lower by more than 10 points (m = 10) and sign concordance is not: at least "
        "as high. Does not hold if one of these is against the claim. Intervals are "
        "corrected for two comparisons. What backprop loses is shown only."
    ),
    remaining=(
        "No published figure was at hand. With a frozen readout "
        "feedback alignment ends between 2 and 14 %, two seeds far below chance: a "
        "readout that does not learn never aligns with the feedback weights, so that "
        "the signal is not just uninformative but wrong. The step sizes that won with "
        "a readout that learns are the smallest that were drawn: wider trials are "
        "needed for a verdict."
    ),
    trials=16,
    margin=(
        "A collapse is more than a loss: 10 points, a seventh of what these nets learn "
        "beyond chance. The figures of the source were not at hand."
    ),
    corrected=(
        "That the smallest step size of all that were drawn had won did not matter."
    ),
    hours=0.2,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
    paper="liao2016",
)
