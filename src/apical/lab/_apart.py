"""The rules without a row in a comparison, which has not what they ask."""

from typing import Any, NamedTuple

from apical import rules
from apical.lab._entry import Entry


class Apart(NamedTuple):
    """A rule without a row.

    Attributes:
        entry: the rule.
        why: what a comparison does not have for it.
    """

    entry: Entry
    why: str


def _same(key: Any, *args: Any) -> Any:
    del key
    return args


def _clapp() -> rules.CLAPP:
    return rules.CLAPP(positive=_same)


_SPIKES = "for networks with stochastic nodes (`apical.bernoulli`)"
# Rules without a row, under the names that `apical rules` lists them by.
APART: dict[str, Apart] = {
    "recirculation": Apart(
        Entry(rules.Recirculation), "for networks that reconstruct their input"
    ),
    "windowed-synthetic-gradients": Apart(
        Entry(rules.WindowedSyntheticGradients),
        "for sequences in windows (`carry=` says what goes from one to the next)",
    ),
    "clapp": Apart(
        Entry(_clapp), "asks what comes next to an example (`positive=`), and no label"
    ),
    "score-function": Apart(Entry(rules.ScoreFunction), _SPIKES),
    "straight-through": Apart(Entry(rules.StraightThrough), _SPIKES),
    "concrete": Apart(Entry(rules.Concrete), _SPIKES),
}
