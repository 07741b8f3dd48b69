"""How the activity of units changes when feedback arrives, against their error.

partial correlation over examples of    - dL/dz_i    and    s'_i - s_i,    given s_i

for every hidden unit i, with s_i its activity before the target is shown, s'_i after,
and dL/dz_i backpropagation's gradient at its drive.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical import rules
from apical.lab._rule_spec import RuleSpec
from apical.lab.storage._jsonl import Line
from apical.lab.training._setup import TrainConfig, TrainSetup, VmappedRuns
from apical.lab.training._train import Trainer, train

# ---- The statistic


def partial_correlations(
    changes: np.ndarray, errors: np.ndarray, activities: np.ndarray
) -> np.ndarray:
    """Of each unit, over examples: changes and errors, with activities regressed out.

    Args:
        changes: `[examples, units]`.
        errors: the same.
        activities: the same.

    Returns:
        `[units]`; not a number where one of the two does not vary.
    """
    mine, other = (_without(each, activities) for each in (changes, errors))
    product = (mine * other).sum(0)
    sizes = np.sqrt((mine**2).sum(0) * (other**2).sum(0))
    return np.where(sizes > 1e-30, product / np.where(sizes > 0, sizes, 1), np.nan)


def _without(values: np.ndarray, activities: np.ndarray) -> np.ndarray:
    """The residuals of a linear regression on the activity of the unit itself."""
    values, given = (each - each.mean(0) for each in (values, activities))
    variance = (given**2).sum(0)
    slope = (values * given).sum(0) / np.where(variance > 0, variance, 1)
    return values - slope * given


# ---- Measured in a network that the rule trains


def activity_changes(
    config: TrainConfig, name: str, rule: rules.Rule, seeds: int, measured: int
) -> Iterator[Line]:
    """The correlations before and after training, by seed and hidden layer.

    Args:
        config: data, model (tanh units), optimiser and epochs.
        name: of the rule.
        rule: one whose teaching signal is minus the change of activity.
        seeds: their number.
        measured: test examples.
    """
    setup, numbers = TrainSetup(config), tuple(range(seeds))
    runs = VmappedRuns.with_seeds(numbers, config.learning_rate, {})
    training = Trainer(setup, RuleSpec(lambda: rule), runs, apart=False)
    x, y = (jnp.asarray(e[:measured]) for e in (config.data.test_x, config.data.test_y))
    for epoch in train(training, training.begin()):
        if epoch.number in (0, config.epochs):
            found = _signals(setup, rule, epoch.learned[0], x, y)
            for layer, (changes, errors, activities) in enumerate(found, 1):
                for seed in numbers:
                    yield {
                        **{"rule": name, "data": config.data.name, "seed": seed},
                        **{"epoch": epoch.number, "layer": layer},
                        **_summary(changes[seed], errors[seed], activities[seed]),
                    }


def _summary(
    changes: np.ndarray, errors: np.ndarray, activities: np.ndarray
) -> dict[str, float | None]:
    """Means over units; also with the errors of other examples, and nothing removed."""
    others = np.random.default_rng(0).permutation(len(errors))
    nothing = np.zeros_like(activities)
    every = {
        "partial": (changes, errors, activities),
        "plain": (changes, errors, nothing),
        "shuffled": (changes, errors[others], activities),
        # What the activity alone says of the error: the feature and its derivative.
        "activity": (activities, errors, nothing),
    }
    found = {}
    for kind, arrays in every.items():
        units = partial_correlations(*arrays)
        known = units[np.isfinite(units)]
        found[kind] = float(known.mean()) if len(known) else None
    return found


def _signals(
    setup: TrainSetup, rule: rules.Rule, learned: Any, x: Any, y: Any
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By hidden layer changes, errors and activities, `[seeds, examples, units]`."""
    loss = setup.loss
    ours, exact = (
        apical.value_and_grad(loss.evaluation, each, **loss.setting)
        for each in (rule, rules.Backpropagation(descends="squared-error"))
    )

    @jax.jit
    @jax.vmap
    def both(params: Any, statistics: Any, state: Any) -> Any:
        args = statistics, x, y
        mine = ours.signals(params, state.rule, *args)
        begun = exact.init(jax.random.key(0), params, *args)
        theirs = exact.signals(params, begun, *args)
        # At the drive of tanh units, as the rule's.
        return [
            (
                -mine[node].teaching,
                -theirs[node].teaching * (1 - theirs[node].value ** 2),
                mine[node].value,
            )
            for node in mine
            if node in theirs
        ]

    found = both(learned.params, learned.statistics, learned.state)
    return [(np.asarray(a), np.asarray(b), np.asarray(c)) for a, b, c in found]
