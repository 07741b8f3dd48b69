"""With slightly wrong hyper-parameters, does the right algorithm not work at all?"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._data import data_names
from apical.claims._effect_size import effect, final_values, in_percent, lines_where
from apical.claims._plots import draw_line, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._tasks import Size
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.feedback._fashion_mnist import (
    MARGIN,
    PLAIN,
    SIZES,
    step_size_task,
)
from apical.lab._registry import BASELINE, CONTROL, RULES

# Step sizes of Adam by octaves, from 1.5e-5 to 0.25; those of the control are ten
# times as large, as in every sweep.
OCTAVES = tuple(range(-16, -1))
SLIGHTLY = 2.0  # octaves: from half of the best step to twice it
WITHIN = 1.0  # points below the best that count as working as well
OCTAVE_MARGIN = 0.5
LEARNING = (
    *(BASELINE, "feedback-alignment", "sign-concordance", "kolen-pollack"),
    *("weight-mirror", "direct-feedback-alignment", "predictive-coding-free"),
    *("equilibrium-propagation", "difference-target-propagation", "local-losses"),
    *("forward-forward", "pepita", "node-perturbation"),
)
_SIZES: dict[Scale, Size] = {
    "full": SIZES["full"]._replace(trained=10_000, epochs=6, sweep=0),
    "quick": SIZES["quick"]._replace(epochs=3),
    "smoke": SIZES["smoke"],
}
_PARTS: dict[Scale, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "full": (OCTAVES, (*LEARNING, CONTROL)),
    "quick": (OCTAVES[1::3], (BASELINE, "feedback-alignment", CONTROL)),
    "smoke": (OCTAVES[6:9], (BASELINE,)),
}


def tasks(scale: Scale) -> Iterable[Task]:
    """One for each rule, at all step sizes."""
    octaves, names = _PARTS[scale]
    for name in names:
        rule = RULES[name].make()
        rates = tuple(rule.rate_scale * 2.0**octave for octave in octaves)
        yield step_size_task(
            rates, _SIZES[scale], PLAIN, (name, rule), {}, True, "adam"
        )


# ---- Accuracies against the step size


class Curves(NamedTuple):
    """The last accuracies (points) of a rule: a curve over step sizes for each seed.

    Attributes:
        octaves: the logarithms to base 2 of the step sizes, in order.
        points: by seed; 0 where a run diverged.
    """

    octaves: list[float]
    points: dict[int, list[float]]

    @classmethod
    def of(cls, lines: Lines, rule: str) -> "Curves":
        """The curves of the seeds of a rule."""
        mine = lines_where(lines, rule=rule)
        rates = sorted({line["learning_rate"] for line in mine})
        ended = [in_percent(final_values(mine, learning_rate=r)) for r in rates]
        seeds = sorted({line["seed"] for line in mine})
        points = {seed: [found.get(seed, 0.0) for found in ended] for seed in seeds}
        return cls([math.log2(rate) for rate in rates], points)

    @property
    def best(self) -> int:
        """The place of the step size with the highest mean accuracy of the seeds."""
        return int(np.argmax(np.mean(list(self.points.values()), axis=0)))

    def at_best(self) -> dict[int, float]:
        """The accuracy at the best step size, by seed."""
        return {seed: found[self.best] for seed, found in self.points.items()}

    def beside_best(self) -> dict[int, float]:
        """The lower of the accuracies at half and at twice that step, by seed."""
        return {
            seed: min(found[max(0, self.best - 1) : self.best + 2])
            for seed, found in self.points.items()
        }

    def widths(self) -> dict[int, float]:
        """By seed the octaves around the best within a point of it, interpolated."""
        return {
            seed: self._reach(found, -1) + self._reach(found, 1)
            for seed, found in self.points.items()
        }

    def _reach(self, found: list[float], way: int) -> float:
        """Octaves from the best step size to where the curve falls below the level."""
        level, place = found[self.best] - WITHIN, self.best
        while 0 <= place + way < len(found):
            here, there = found[place], found[place + way]
            if there < level:
                part = (here - level) / (here - there)
                beyond = part * (self.octaves[place + way] - self.octaves[place])
                return abs(self.octaves[place] - self.octaves[self.best] + beyond)
            place += way
        return abs(self.octaves[place] - self.octaves[self.best])

    def at_an_end(self) -> bool:
        """Whether the best step size is the smallest or the largest that ran."""
        return bool(self.points) and self.best in (0, len(self.octaves) - 1)


# ---- The verdict


def judge(lines: Lines) -> Verdict:
    """From the width of each rule's range, and from what is left beside its best."""
    curves = {rule: Curves.of(lines, rule) for rule in (*LEARNING, CONTROL)}
    control = curves[CONTROL].at_best()
    findings, refused = [], []
    for rule in LEARNING:
        mine, compared = curves[rule], len(LEARNING)
        widths = mine.widths()
        narrow = effect(
            f"{rule}, octaves within a point of the best - {SLIGHTLY:g}",
            *(widths, dict.fromkeys(widths, SLIGHTLY), OCTAVE_MARGIN, compared),
        )
        what = f"{rule}, a factor of two beside its best step - untrained hidden layers"
        dead = effect(what, mine.beside_best(), control, MARGIN, compared)
        what = f"{rule}, at its best step - untrained hidden layers"
        learns = effect(what, mine.at_best(), control, MARGIN, compared)
        findings += [
            Finding(narrow, "lower", inside=True, unit="octaves"),
            Finding(dead, "at most as high"),
            Finding(learns),
        ]
        if mine.at_an_end():
            refused.append(f"the best step size of {rule} is an end of what was tried")
    return decide(findings).with_refusals(refused)


def _told(lines: Lines) -> str:
    widths = {rule: Curves.of(lines, rule).widths().values() for rule in LEARNING}
    told = [f"{rule} {np.mean([*w]):.1f}" for rule, w in widths.items() if w]
    return f"octaves within a point: {', '.join(told)}" if told else NOT_RUN


def draw(lines: Lines) -> Figure:
    """The last accuracy against the step size, divided among three panels."""
    ran = rules_in(lines)
    figure, axes, look = panel_figure(3, (*LEARNING, CONTROL), ran, 4.4, sharey=True)
    for place, panel in enumerate(axes):
        panel.set(xscale="log", xlabel="step size of Adam")
        for rule in (*LEARNING[place::3], CONTROL):
            curves = Curves.of(lines, rule)
            by_rate = zip(*curves.points.values(), strict=True)
            draw_line(
                panel,
                {2.0**at: v for at, v in zip(curves.octaves, by_rate, strict=False)},
                look[rule],
            )
    axes[0].set_ylabel(f"{data_names(lines)}: test accuracy (%)")
    return figure


def _rule_in_words() -> Iterator[str]:
    yield (
        "Slightly wrong is a factor of two. Holds if for each of the "
        f"{len(LEARNING)} rules, by seed, (a) the range of step sizes around the best "
        f"in which the accuracy stays within {WITHIN:g} point is narrower than "
        f"{SLIGHTLY:g} octaves by more than {OCTAVE_MARGIN:g} octaves, so that half or "
        "twice the best step costs more than that; and (b) at the worse of these two "
        "the accuracy is at most as high as the best of the control with untrained "
        f"hidden layers (m = {MARGIN:g} points): the hidden layers do not work at all. "
    )
    yield (
        "Holds within limits (sensitive, but not dead) if (a) is as claimed for each. "
        "Does not hold if one of these is against the claim and the limits do not hold "
        "either. Intervals are corrected for the number of rules. Refused if a best "
        "step size is the smallest or the largest tried. Whether a rule beats the "
        "control at its best step is shown only."
    )


CLAIM = Claim(
    id="sensitivity",
    sentence=(
        "With slightly wrong hyper-parameters the right algorithm does not work at all."
    ),
    source="said in a discussion on LessWrong, 2018 (from memory)",
    work=(
        "The first 10,000 training pictures of Fashion-MNIST and all test pictures, "
        "784-128-128-128-10 with ReLU, Adam, batches of 100, 6 epochs. Every step size "
        "from 1.5e-5 to 0.25 by octaves, 5 seeds, for backprop and twelve rules with "
        "their default numbers, and the control in which only the readout learns. The "
        "best step size of a rule is that with the highest mean accuracy; the width of "
        "its range is interpolated linearly between octaves."
    ),
    published=(
        Published(
            "how narrow the range of working hyper-parameters is",
            "not stated",
            "from memory: a discussion",
            _told,
        ),
    ),
    differences=(
        "Of all hyper-parameters the step size alone is varied, which every rule has; "
        "the others keep their defaults. Adam divides out the size of a gradient, not "
        "its direction: the same octaves can be compared between rules. The best step "
        "and the range around it are found on the same test pictures, with equal bias "
        "for all rules."
    ),
    rule="".join(_rule_in_words()),
    margin=(
        "Of widths half an octave, half the spacing of the step sizes; of accuracies "
        "0.5 points."
    ),
    hours=1.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("fashion-mnist",),
)
