"""Store and recall: keep a bit that is shown with one command until the other.

A sequence is cut into periods of equal length. Groups of channels stand for the value
0, the value 1, the command to store, and that to recall:

| period | channels that spike |
|---|---|
| store | store, and the value to keep |
| recall | recall |
| any other | a random value, to be ignored |

Stores and recalls alternate, and each is `1 + wait` periods after the last on average.
The label of a recall is the value of the store before it; other periods have none. A
channel of an active group spikes at each step with the probability `rate`, on its own.
A guess is right half of the time; so is a network that forgets.

Source: Bellec, Salaj, Subramoney, Legenstein & Maass 2018, arXiv:1803.09574 (100
channels, 12 periods of 200 ms, 50 Hz, wait 6).
"""

import numpy as np

from apical.lab._errors import LabError
from apical.lab.data._dataset import UNLABELLED, Data
from apical.lab.data.tasks._checks import (
    TEST,
    TRAIN,
    require_counts,
    require_groups,
    require_memory,
    require_seeds,
    require_share,
)

VALUE_0, VALUE_1, STORE, RECALL = range(4)
_GROUPS = 4


def store_recall_examples(
    number: int,
    seed: int,
    *,
    channels: int = 40,
    periods: int = 8,
    steps: int = 20,
    wait: int = 3,
    rate: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Spikes, and a label for each period.

    Args:
        number: how many sequences.
        seed: of the draw.
        channels: input channels, a multiple of 4.
        periods: periods of a sequence, at least 2.
        steps: steps of a period.
        wait: expected number of periods between two commands, below `periods`.
        rate: probability of a spike of an active channel at a step.

    Returns:
        Spikes, float32 `(number, periods * steps, channels)`, and labels, int32
        `(number, periods)`, -1 where nothing is recalled.

    Raises:
        LabError: if a store and a recall would hardly ever fit into the periods.
    """
    _require_wait(wait, periods)
    rng = np.random.default_rng(seed)
    commands = _commands(rng, number, periods, 1 / (1 + wait))
    values = rng.integers(2, size=(number, periods))
    active = np.zeros((number, periods, _GROUPS), bool)
    example, period = np.indices(values.shape)
    active[example, period, values] = commands != RECALL
    active[..., STORE], active[..., RECALL] = commands == STORE, commands == RECALL
    labels = np.full((number, periods), UNLABELLED, np.int32)
    kept = np.zeros(number, int)
    for t in range(periods):
        kept = np.where(commands[:, t] == STORE, values[:, t], kept)
        labels[:, t] = np.where(commands[:, t] == RECALL, kept, UNLABELLED)
    of_channels = active.repeat(channels // _GROUPS, axis=2).repeat(steps, axis=1)
    drawn = rng.random(of_channels.shape, np.float32) < rate
    return (of_channels & drawn).astype(np.float32), labels


def _require_wait(wait: int, periods: int) -> None:
    # Sequences are drawn until one is complete: without a wait, or with a long one,
    # that is never.
    if not 1 <= wait < periods:
        raise LabError(
            f"--data store-recall: wait = {wait} must be 1 to {periods - 1}, below the "
            f"number of periods ({periods}), so that a store and a recall fit into them"
        )


def _commands(
    rng: np.random.Generator, number: int, periods: int, probability: float
) -> np.ndarray:
    """STORE, RECALL or -1 in each period; drawn anew until the last is a recall."""
    found = np.empty((number, periods), int)
    left = np.arange(number)
    while len(left):
        drawn = np.full((len(left), periods), -1)
        last = np.full(len(left), RECALL)
        for t in range(periods):
            now = rng.random(len(left)) < probability
            last = np.where(now, np.where(last == RECALL, STORE, RECALL), last)
            drawn[now, t] = last[now]
        complete = (last == RECALL) & (drawn == RECALL).any(axis=1)
        found[left[complete]] = drawn[complete]
        left = left[~complete]
    return found


def store_recall(
    *,
    channels: int = 40,
    periods: int = 8,
    steps: int = 20,
    wait: int = 3,
    rate: float = 0.2,
    train: int = 4000,
    test: int = 1000,
    train_seed: int = TRAIN,
    test_seed: int = TEST,
) -> Data:
    """The store-recall task.

    Args:
        channels: input channels, a multiple of 4.
        periods: periods of a sequence, at least 2.
        steps: steps of a period.
        wait: expected number of periods between two commands, below `periods`.
        rate: probability of a spike of an active channel at a step.
        train: how many training examples.
        test: how many test examples.
        train_seed: of the training examples.
        test_seed: of the test examples.
    """
    require_counts("store-recall", steps=steps, train=train, test=test)
    require_counts("store-recall", wait=wait)
    require_counts("store-recall", lowest=2, periods=periods)
    _require_wait(wait, periods)
    require_groups("store-recall", channels, _GROUPS)
    require_share("store-recall", rate=rate)
    require_seeds("store-recall", train_seed, test_seed)
    require_memory("store-recall", train + test, periods * steps * channels)
    parts = (
        store_recall_examples(
            number,
            seed,
            channels=channels,
            periods=periods,
            steps=steps,
            wait=wait,
            rate=rate,
        )
        for number, seed in ((train, train_seed), (test, test_seed))
    )
    (x, y), (test_x, test_y) = parts
    return Data("store-recall", "sequences", x, y, test_x, test_y, 2, "chance is 50 %")
