"""Claims with a published accuracy: rules on the network of their source.

A rule is judged by its difference to backpropagation in the same runs. The published
accuracy is shown beside the measured one, and decides nothing alone.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task
from apical.claims._data import data_names, vector_loader
from apical.claims._effect_size import Effect, paired_difference
from apical.claims._plots import draw_over_epochs, panel_figure, rules_in
from apical.claims._published_numbers import final_error
from apical.claims._tasks import Size, baseline_and_control, comparison_task
from apical.claims._verdict import Finding, Verdict, as_well_as_backprop, decide
from apical.lab._registry import BASELINE, CONTROL
from apical.rules import Rule

MARGIN = 0.5  # points, on MNIST
_HOLDS_IF = "Holds if, paired by seed, the test accuracy after the last epoch of"
_AND = (
    "and higher than that of the control with untrained hidden layers. Does not hold "
    "if one of these is against the claim. A seed that diverges counts as 0 %. "
    "Published figures stand beside it and decide nothing alone."
)


@dataclass(frozen=True)
class PublishedAccuracy:
    """Published errors of rules on one network, and the comparison that is run.

    Attributes:
        net: from a width to a builder of the network.
        compared: the rules by name, beside backprop and the control.
        errors: the published test errors (percent) by rule.
        sizes: the size of the run at each scale.
        arguments: more arguments of `apical.lab.compare`.
        published_by: the source of the errors.
        setup: the set-up in which they were measured.
        read: whether the errors were read in the source; if not they are from memory.
        deciding: the rules that the sentence is about; none: all of them.
        nearly: whether the sentence allows each rule its published loss to backprop;
            the errors must have been read.
    """

    net: Callable[[int], Any]
    compared: Mapping[str, Rule]
    errors: Mapping[str, float]
    sizes: Mapping[Scale, Size]
    published_by: str = ""
    setup: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    read: bool = True
    deciding: tuple[str, ...] = ()
    nearly: bool = False

    def tasks(self, scale: Scale) -> Iterable[Task]:
        """One comparison of all rules."""
        size = self.sizes[scale]

        def given() -> dict[str, Any]:
            return {
                "models": {"net": self.net(size.width)},
                "rules": {**baseline_and_control(), **self.compared},
                **size.arguments,
                **self.arguments,
            }

        yield comparison_task(
            "train", given, vector_loader(size.data, size.trained, size.tested)
        )

    @property
    def _deciding(self) -> tuple[str, ...]:
        return self.deciding or tuple(self.compared)

    def judge(self, lines: Lines) -> Verdict:
        """Each rule against backprop and against the control."""
        findings: list[Finding] = []
        many = len(self._deciding)
        for rule in self.compared:
            decides = rule in self._deciding
            beside = self._to_backprop(lines, rule)
            control = _compared(lines, rule, CONTROL, "untrained hidden layers", many)
            findings += as_well_as_backprop(beside, control, decides)
        return decide(findings)

    def _to_backprop(self, lines: Lines, rule: str) -> Effect:
        many = len(self._deciding)
        found = _compared(lines, rule, BASELINE, "backprop", many)
        if not self.nearly:
            return found
        loss = self.errors[rule] - self.errors[BASELINE]
        return found._replace(
            what=f"{found.what}, beside the published {-loss:+.2f}",
            mean=found.mean + loss,
            low=found.low + loss,
            high=found.high + loss,
        )

    def draw(self, lines: Lines) -> Figure:
        """Test accuracy over the epochs, with the published figures; alignment."""
        learning = (BASELINE, *self.compared)
        figure, axes, look = panel_figure(2, (*learning, CONTROL), rules_in(lines))
        learned = [line for line in lines if line["epoch"]]
        draw_over_epochs(axes[0], learned, look, "test_accuracy")
        drawn = {name: look[name] for name in learning}
        draw_over_epochs(axes[1], lines, drawn, "alignment", 1)
        for rule, error in self.errors.items() if self.read else ():
            axes[0].axhline(100 - error, color=look[rule].colour, lw=0.8)
        thin = "; thin: published" if self.errors and self.read else ""
        axes[0].set_title(f"{data_names(lines)}: test accuracy (%){thin}")
        axes[1].set_title("cosine to backprop's gradient")
        axes[1].set_ylim(min(0, axes[1].get_ylim()[0]), 1.05)
        return figure

    def claim(self, **parts: Any) -> Claim:
        """The claim with these parts and those that follow from the comparison."""
        given: dict[str, Any] = {
            "published": self.published,
            "rule": self.rule,
            "tasks": self.tasks,
            "judge": self.judge,
            "draw": self.draw,
            "data": ("mnist",),
            "trials": self.sizes["full"].sweep,
        }
        return Claim(**given | parts)

    @property
    def rule(self) -> str:
        """How the verdict follows from the numbers, in words."""
        many = len(self._deciding)
        who = "each rule" if many > 1 else self._deciding[0]
        corrected = f" Intervals are corrected for {many} rules." if many > 1 else ""
        if not self.nearly:
            asked = f"is at least as high as backprop's (m = {MARGIN:g} points)"
        else:
            asked = (
                "is below backprop's by no more than in the published figures (the "
                "difference to backprop beside the published difference is at least 0, "
                f"m = {MARGIN:g} points)"
            )
        return f"{_HOLDS_IF} {who} {asked}, {_AND}{corrected}"

    @property
    def published(self) -> tuple[Published, ...]:
        """The published errors, each with the measured one beside it."""
        return tuple(
            Published(
                f"{rule}: test error, {self.setup}",
                f"{error:.2f} %",
                self.published_by if self.read else f"from memory: {self.published_by}",
                final_error(rule),
            )
            for rule, error in self.errors.items()
        )


def _compared(lines: Lines, rule: str, other: str, name: str, many: int) -> Effect:
    runs = ({"rule": rule}, {"rule": other})
    return paired_difference(f"{rule} - {name}", lines, runs, MARGIN, many, lost=0.0)
