"""Published accuracies as anchors: the same rules on the same net, set beside ours."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from apical.lab._registry import BASELINE, CONTROL
from apical.lab.claims._claim import Claim, Lines, Published, Scale, Task
from apical.lab.claims._comparison import comparison, last, percent
from apical.lab.claims._decide import Finding, above, decide
from apical.lab.claims._given import vectors
from apical.lab.claims._measured import test_error
from apical.lab.claims._panels import over_epochs, panels
from apical.lab.claims._signs import baseline_and_control
from apical.lab.claims._size import Size
from apical.lab.claims._verdict import Verdict, effect
from apical.rules import Rule

MARGIN = 0.3  # points
RULE = (
    "Holds if, of each rule that has a published figure, the 95 % interval of the test "
    "accuracy after the last epoch, over all seeds, lies above 0.3 points below that "
    "figure, and if each of them but backprop is above the control with untrained "
    "hidden layers (the interval of the difference lies above 0). Does not hold if one "
    "of these is settled otherwise. A seed that diverges counts as 0 %."
)


@dataclass(frozen=True)
class Anchor:
    """What was published of some rules on one net, and how much of it is run here.

    Attributes:
        net: from a width to what builds the net.
        taught: the rules by name, beside backprop and the control.
        errors: the published test errors (percent) by name.
        sizes: how much is run at each scale.
        arguments: more of `apical.lab.compare`.
        published_by: where the errors stand.
        setup: in which work they were measured.
    """

    net: Callable[[int], Any]
    taught: Mapping[str, Rule]
    errors: Mapping[str, float]
    sizes: Mapping[Scale, Size]
    published_by: str
    setup: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def tasks(self, scale: Scale) -> Iterable[Task]:
        """One comparison."""
        size = self.sizes[scale]

        def given() -> dict[str, Any]:
            return {
                "models": {"net": self.net(size.width)},
                "rules": {**baseline_and_control(), **self.taught},
                **size.arguments,
                **self.arguments,
            }

        yield comparison("train", given, vectors(size.data, size.trained, size.tested))

    def judge(self, lines: Lines) -> Verdict:
        """Each rule against its published figure and against the control."""

        def ended(rule: str) -> dict[int, float]:
            found = percent(last(lines, rule=rule))
            return {line["seed"]: 0.0 for line in lines if line["rule"] == rule} | found

        findings = []
        for rule, error in self.errors.items():
            mine = ended(rule)
            figure = dict.fromkeys(mine, 100 - error)
            found = effect(f"{rule} - published", mine, figure, MARGIN)
            findings.append(Finding(found, above(found, -MARGIN)))
        for rule in self.taught:
            taught = effect(
                f"{rule} - untrained hidden layers", ended(rule), ended(CONTROL), MARGIN
            )
            findings.append(Finding(taught, above(taught, 0)))
        return decide(findings)

    def draw(self, lines: Lines) -> Figure:
        """Test accuracy over the epochs, with the published figures; alignment."""
        learning = (BASELINE, *self.taught)
        figure, axes, look = panels(2, (*learning, CONTROL))
        learned = [line for line in lines if line["epoch"]]
        over_epochs(axes[0], learned, look, "test_accuracy")
        drawn = {name: look[name] for name in learning}
        over_epochs(axes[1], lines, drawn, "alignment", 1)
        for rule, error in self.errors.items():
            axes[0].axhline(100 - error, color=look[rule].colour, lw=0.8)
        axes[0].set_title("test accuracy (%); thin: published")
        axes[1].set_title("cosine to backprop's gradient")
        axes[1].set_ylim(min(0, axes[1].get_ylim()[0]), 1.05)
        return figure

    def claim(self, **said: Any) -> Claim:
        """The claim that this work decides; what is said of it may replace any part."""
        given: dict[str, Any] = {
            "published": self.published,
            "rule": RULE,
            "tasks": self.tasks,
            "judge": self.judge,
            "draw": self.draw,
            "data": ("mnist",),
        }
        return Claim(**given | said)

    @property
    def published(self) -> tuple[Published, ...]:
        """The published errors, each beside ours."""
        return tuple(
            Published(
                f"{rule}: test error, {self.setup}",
                f"{error:.2f} %",
                self.published_by,
                test_error(rule),
            )
            for rule, error in self.errors.items()
        )
