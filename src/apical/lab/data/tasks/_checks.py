"""Checks of the arguments of tasks, and the seeds of their parts."""

from typing import Any

from apical.lab._errors import LabError
from apical.lab.data._size_limits import memory

# Of the training, validation and test examples of every task.
TRAIN, VALIDATION, TEST = 42, 41, 40


def require_counts(task: str, lowest: int = 1, **counts: Any) -> None:
    """Refuse arguments that are not whole numbers from `lowest` up."""
    for name, count in counts.items():
        if type(count) is not int or count < lowest:
            raise LabError(
                f"--data {task}: {name} = {count!r} must be a whole number, at least "
                f"{lowest}"
            )


_BYTES = 13  # per number: as drawn, as a condition, and twice as it is kept


def require_memory(task: str, examples: int, numbers: int) -> None:
    """Refuse more examples than fit into the memory of this machine.

    Args:
        task: its name.
        examples: training and test examples together.
        numbers: numbers of an example.
    """
    needed, there_is = _BYTES * examples * numbers, memory()
    if there_is is not None and needed > there_is:
        raise LabError(
            f"--data {task} would take about {needed / 1e9:,.1f} GB of memory, and "
            f"there are {there_is / 1e9:,.1f} GB: draw fewer examples (train, test) or "
            "shorter ones"
        )


def require_groups(task: str, channels: Any, groups: int) -> None:
    """Refuse a number of channels that cannot be cut into groups of equal size."""
    require_counts(task, channels=channels)
    if channels % groups:
        raise LabError(
            f"--data {task}: channels = {channels} must be a multiple of {groups}, as "
            f"there are {groups} groups of equal size"
        )


def require_share(task: str, **shares: Any) -> None:
    """Refuse arguments that are not above 0 and at most 1."""
    for name, share in shares.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 < share <= 1:
            raise LabError(
                f"--data {task}: {name} = {share!r} must be above 0 and at most 1"
            )


def require_seeds(task: str, train_seed: Any, test_seed: Any) -> None:
    """Refuse seeds that are not whole numbers, or equal: test examples must be new."""
    require_counts(task, lowest=0, train_seed=train_seed, test_seed=test_seed)
    for name, seed in (("train_seed", train_seed), ("test_seed", test_seed)):
        if seed >= 2**32:
            raise LabError(f"--data {task}: {name} = {seed} must be below 2**32")
    if train_seed == test_seed:
        raise LabError(
            f"--data {task}: train_seed and test_seed are both {train_seed}, so that "
            "test examples would be training examples: give two different seeds"
        )
