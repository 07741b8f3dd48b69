"""A claim that takes no time to run."""

from matplotlib.figure import Figure

from apical.claims import Claim, Published, Verdict
from apical.claims._claim import Task


def draw(lines):
    figure = Figure()
    figure.subplots().plot([line["x"] for line in lines])
    return figure


def judge(lines):
    return Verdict("holds", f"{sum(line['x'] for line in lines)} in all")


TOY = Claim(
    id="toy",
    sentence="Two and two are four.",
    source="Anyone.",
    work="Two tasks.",
    published=(Published("the sum", "4", "school"),),
    differences="None.",
    rule="It holds if it does.",
    hours=0.1,
    tasks=lambda scale: [
        Task(name, lambda context, name=name: [{"x": len(name)}])
        for name in ("ab", "cd")
    ],
    judge=judge,
    draw=draw,
)
