"""The rows of a comparison for rules whose nodes have objectives of their own."""

from apical import rules
from apical.lab._entry import Entry


def _similarity() -> rules.LocalLosses:
    return rules.LocalLosses(objective="similarity")


def _both() -> rules.LocalLosses:
    return rules.LocalLosses(objective="both")


LOCAL_OBJECTIVES: dict[str, Entry] = {
    # One objective has nothing to balance.
    "local-losses": Entry(rules.LocalLosses, cost=1.3, space={}),
    "local-losses-similarity": Entry(_similarity, cost=1.3, space={}),
    "local-losses-both": Entry(_both, cost=1.5),
    "forward-forward": Entry(rules.ForwardForward, cost=2.5),
    "pepita": Entry(rules.PEPITA, cost=1.3),
}
