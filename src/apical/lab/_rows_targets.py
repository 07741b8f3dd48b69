"""Rows of a comparison: targets that come down, and synthetic gradients."""

from apical import rules
from apical.lab._entry import Entry


def _plain() -> rules.TargetPropagation:
    return rules.TargetPropagation(first_target="nodes")


def _towards_backpropagation() -> rules.DifferenceTargetPropagation:
    return rules.DifferenceTargetPropagation(training=rules.DifferenceReconstruction())


def _fixed_weights() -> rules.DifferenceTargetPropagation:
    return rules.DifferenceTargetPropagation(training=None)


def _conditioned() -> rules.SyntheticGradients:
    return rules.SyntheticGradients(conditioned=True)


# Where inverses stay as they are drawn there is no rate of theirs to draw.
_STEP_ALONE = {"target_step": rules.TargetPropagation.search_space["target_step"]}

TARGETS: dict[str, Entry] = {
    "target-propagation": Entry(_plain, cost=2.0),
    "difference-target-propagation": Entry(rules.DifferenceTargetPropagation, cost=2.0),
    "difference-reconstruction": Entry(_towards_backpropagation, cost=2.5),
    "fixed-weight-target-propagation": Entry(
        _fixed_weights, cost=1.3, space=_STEP_ALONE
    ),
    "synthetic-gradients": Entry(rules.SyntheticGradients, cost=1.5),
    "synthetic-gradients-conditioned": Entry(_conditioned, cost=1.5),
}
