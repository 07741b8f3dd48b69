"""Sign concordance with few feedback connections against feedback alignment."""

from collections.abc import Iterable

from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Scale, Task
from apical.claims._data import data_names
from apical.claims._effect_size import (
    Effect,
    final_values,
    in_percent,
    paired_difference,
)
from apical.claims._plots import draw_line, panel_figure, rules_in
from apical.claims._tasks import baseline_and_control
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.feedback._fashion_mnist import (
    EARLIER_SETUP,
    MARGIN,
    batch_manhattan_task,
    with_small_steps,
)
from apical.lab._registry import BASELINE, CONTROL

REMOVED = (0.0, 0.5, 0.75, 0.9, 0.97)
LIMIT = 0.75  # the sparsest level within the limits
SIGNS, FEEDBACK = "signs", "feedback alignment"
_KINDS = {SIGNS: rules.SignConcordance, FEEDBACK: rules.FeedbackAlignment}


def without(kind: str, part: float) -> str:
    """The name of a rule without this part of its feedback connections."""
    return f"{kind} without {part:.0%}"


RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    **{
        without(kind, part): make(removed_backward=part)
        for kind, make in _KINDS.items()
        for part in REMOVED
    },
}
_LEVELS: dict[Scale, tuple[float, ...]] = {
    "full": REMOVED,
    "quick": (0.0, 0.75, 0.97),
    "smoke": (0.75,),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One comparison of all rules."""
    names = [without(kind, part) for kind in _KINDS for part in _LEVELS[scale]]
    beside = [] if scale == "smoke" else [BASELINE, CONTROL]
    compared = {n: with_small_steps(RULES[n]) for n in (*beside, *names)}
    yield batch_manhattan_task(scale, compared, seeds=13)


def judge(lines: Lines) -> Verdict:
    """From sparse signs against all connections, and against as few, at each level."""

    def beside(part: float, other: float, what: str) -> Effect:
        mine, many = without(SIGNS, part), len(REMOVED) - 1
        runs = ({"rule": mine}, {"rule": without(FEEDBACK, other)})
        return paired_difference(f"{mine} - {what}", lines, runs, MARGIN, many)

    findings = []
    for part in REMOVED[1:]:
        whole = beside(part, 0.0, f"all of {FEEDBACK}")
        findings.append(Finding(whole, "at least as high", part <= LIMIT))
        findings.append(Finding(beside(part, part, without(FEEDBACK, part))))
    return decide(findings)


def draw(lines: Lines) -> Figure:
    """The last accuracy against the part of the feedback that is removed."""
    names = [BASELINE, CONTROL, *_KINDS]
    ran = rules_in(lines)
    kinds = [k for k in _KINDS if any(without(k, part) in ran for part in REMOVED)]
    figure, (axes,), look = panel_figure(1, names, {*kinds, *ran})
    for kind in _KINDS:
        points = {
            100 * part: in_percent(
                final_values(lines, rule=without(kind, part))
            ).values()
            for part in REMOVED
        }
        draw_line(axes, points, look[kind])
    for name in (BASELINE, CONTROL):
        values = list(in_percent(final_values(lines, rule=name)).values())
        draw_line(
            axes, {100 * REMOVED[0]: values, 100 * REMOVED[-1]: values}, look[name]
        )
    axes.set(
        xlabel="feedback connections that do not exist (%)",
        ylabel="test accuracy (%)",
        title=data_names(lines),
    )
    return figure


CLAIM = Claim(
    id="sign-sparse",
    sentence=(
        "Sign concordance with sparse feedback does at least as well as feedback "
        "alignment."
    ),
    source="presumed in discussions; no source that tested it was found",
    work=(
        "The first 20,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU and batch norm, batch Manhattan "
        "(the sign of the gradient, momentum 0.9), batches of 100, 8 epochs. Sign "
        "concordance and feedback alignment without 0, 50, 75, 90 and 97 % of their "
        "feedback connections, drawn at random once; beside them backprop and the "
        "control. 16 trials of the step size each on a held-out part, 13 "
        "seeds."
    ),
    published=(),
    differences=(
        "There is no published set-up. A third of the training part takes about "
        "twenty minutes on two cores."
    ),
    rule=(
        "Holds if sign concordance without 50, 75, 90 and 97 % of its feedback is at "
        "each level at least as high as feedback alignment with all of its feedback (m "
        "= 0.5 points). Holds within limits if that is so at 50 and 75 %. Does not "
        "hold if one of these is against the claim and the limits do not hold either. "
        "Intervals are corrected for four comparisons. Against feedback alignment with "
        "as few connections: shown only."
    ),
    remaining=(
        "Seeds differ by half a point, and intervals are corrected for four "
        "comparisons, so that five seeds settle little. The means are at or above "
        "feedback alignment with all connections up to 90 % removed; at 97 % all five"
        " seeds are below it. The step sizes that won are mostly the smallest that "
        "were drawn."
    ),
    trials=16,
    corrected=(
        "An interval that excluded 0 and crossed the margin was counted as settled; "
        "and that the smallest step size of all that were drawn had won did not matter."
    ),
    earlier_setup=EARLIER_SETUP,
    hours=0.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
)
