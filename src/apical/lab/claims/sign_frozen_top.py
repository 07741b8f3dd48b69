"""A readout that stays random: who can still teach the layers below it?"""

from collections.abc import Iterable

from matplotlib.figure import Figure

from apical import rules
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.claims._claim import Claim, Lines, Published, Scale, Task
from apical.lab.claims._comparison import last, percent
from apical.lab.claims._decide import Finding, above, below, decide
from apical.lab.claims._frozen import FrozenReadout
from apical.lab.claims._panels import over_epochs, panels
from apical.lab.claims._signs import SIZES, SOURCE, baseline_and_control, trained
from apical.lab.claims._verdict import Verdict, effect

COLLAPSE = 10.0  # points that are lost
FEEDBACK, SIGNS = "feedback-alignment", "sign-concordance"
NET = "with batch norm"
OPTIMIZER = "batch_manhattan(momentum=0.9)"
_TAUGHT = {
    BASELINE: rules.Backpropagation(),
    FEEDBACK: rules.FeedbackAlignment(),
    SIGNS: rules.SignConcordance(),
}


def frozen(name: str) -> str:
    """What a rule is called where the readout stays."""
    return f"{name}, frozen"


RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    **_TAUGHT,
    **{frozen(name): FrozenReadout(rule) for name, rule in _TAUGHT.items()},
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One comparison of all."""
    names = list(RULES) if scale != "smoke" else [frozen(FEEDBACK)]
    taught = {name: RULES[name] for name in names}
    size = SIZES[scale]._replace(epochs={"full": 8, "quick": 6, "smoke": 1}[scale])
    yield trained("train", size, taught, (NET,), optimizer=OPTIMIZER)


def judge(lines: Lines) -> Verdict:
    """From what each rule loses when the readout stays."""

    def lost(name: str):
        mine, usual = last(lines, rule=frozen(name)), last(lines, rule=name)
        what = f"{name}: frozen readout - trained one"
        return effect(what, percent(mine), percent(usual), COLLAPSE, compared=2)

    feedback, signs = lost(FEEDBACK), lost(SIGNS)
    backprop = lost(BASELINE)
    return decide(
        [
            Finding(feedback, below(feedback, -COLLAPSE)),
            Finding(signs, above(signs, -COLLAPSE)),
            Finding(backprop, above(backprop, -COLLAPSE), decides=False),
        ]
    )


def draw(lines: Lines) -> Figure:
    """Accuracy and alignment of the hidden layers over training, frozen and not."""
    figure, axes, look = panels(4, [*_TAUGHT, CONTROL], height=3.8)
    kinds = {"trained readout": _same, "frozen readout": frozen}
    fields = {
        "test accuracy (%)": ("test_accuracy", 100),
        "alignment": ("alignment", 1),
    }
    places = [(kind, field) for field in fields for kind in kinds]
    for panel, (kind, field) in zip(axes, places, strict=True):
        names = {kinds[kind](name): name for name in look}
        # The control has no frozen form: nothing would learn.
        names |= {CONTROL: CONTROL} if field != "alignment" else {}
        mine = [{**e, "rule": names[e["rule"]]} for e in lines if e["rule"] in names]
        over_epochs(panel, mine, look, *fields[field])
        panel.set_title(f"{kind}: {field}", fontsize=8)
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
        "readout learns. 16 trials of the step size (1e-5 to 1) each on a held-out "
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
        "readout that learns. Holds if the interval of feedback alignment's loss lies "
        "beyond 10 points and that of sign concordance's loss within. Does not hold if "
        "feedback alignment's lies within, or sign concordance's beyond. Intervals are "
        "corrected for two comparisons. What backprop loses is shown only."
    ),
    remaining=(
        "Nothing that we know of: no figure was at hand. With a frozen readout "
        "feedback alignment ends between 2 and 14 %, two seeds far below chance: a "
        "readout that does not learn never comes to agree with the feedback weights, "
        "so that the signal is not idle but wrong."
    ),
    hours=0.2,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
    paper="liao2016",
)
