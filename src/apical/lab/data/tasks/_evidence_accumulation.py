"""Evidence accumulation: on which side were more cues, asked after a delay.

    | cues x (on + off steps) | delay | recall |      delay: `delay`, recall: 1 period

A period has `on + off` steps. Groups of channels stand for cues on the left, cues on
the right, the recall, and noise. Each cue is on the left with the probability 0.3 or
0.7, drawn for each sequence, and for `on` steps a channel of its group spikes with the
probability `rate`; so do those of the recall in the last period, and those of the
noise at every step with a quarter of it. The label, in the last period alone, is 0 if
more cues were on the left, 1 if more were on the right; their number is odd. A guess
is right half of the time.

Source: Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, Nature
Communications 11:3625 (40 channels, 7 cues of 100 ms and 50 ms pause, a delay of 1,050
ms, 150 ms recall, 40 Hz), after Morcos & Harvey 2016.
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

LEFT, RIGHT, GO, NOISE = range(4)
_GROUPS = 4
_RARE = 0.3  # of the side that has fewer cues, on average
_NOISE = 1 / 4  # of the rate of cues


def evidence_examples(
    number: int,
    seed: int,
    *,
    channels: int = 40,
    cues: int = 5,
    on: int = 10,
    off: int = 5,
    delay: int = 5,
    rate: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Spikes, and a label for each period.

    Args:
        number: how many sequences.
        seed: of the draw.
        channels: input channels, a multiple of 4.
        cues: how many cues, an odd number.
        on: steps of a cue.
        off: steps between the end of a cue and the next.
        delay: periods of `on + off` steps between the cues and the recall.
        rate: probability of a spike of a channel at a step of a cue.

    Returns:
        Spikes, float32 `(number, (cues + delay + 1) (on + off), channels)`, and labels,
        int32 `(number, cues + delay + 1)`, -1 in all periods but the last.
    """
    rng = np.random.default_rng(seed)
    periods, steps = cues + delay + 1, on + off
    share_right = rng.choice([_RARE, 1 - _RARE], size=(number, 1))
    right = rng.random((number, cues)) < share_right
    rates = np.zeros((number, periods, steps, _GROUPS), np.float32)
    rates[:, :cues, :on, LEFT] = rate * ~right[..., None]
    rates[:, :cues, :on, RIGHT] = rate * right[..., None]
    rates[:, -1, :, GO] = rate
    rates[..., NOISE] = _NOISE * rate
    rates = rates.reshape(number, periods * steps, _GROUPS)
    of_channels = rates.repeat(channels // _GROUPS, axis=2)
    spikes = rng.random(of_channels.shape, np.float32) < of_channels
    labels = np.full((number, periods), UNLABELLED, np.int32)
    labels[:, -1] = 2 * right.sum(axis=1) > cues
    return spikes.astype(np.float32), labels


def evidence_accumulation(
    *,
    channels: int = 40,
    cues: int = 5,
    on: int = 10,
    off: int = 5,
    delay: int = 5,
    rate: float = 0.2,
    train: int = 4000,
    test: int = 1000,
    train_seed: int = TRAIN,
    test_seed: int = TEST,
) -> Data:
    """The evidence accumulation task.

    Args:
        channels: input channels, a multiple of 4.
        cues: how many cues, an odd number.
        on: steps of a cue.
        off: steps between the end of a cue and the next.
        delay: periods of `on + off` steps between the cues and the recall.
        rate: probability of a spike of a channel at a step of a cue.
        train: how many training examples.
        test: how many test examples.
        train_seed: of the training examples.
        test_seed: of the test examples.
    """
    task = "evidence-accumulation"
    require_counts(task, cues=cues, on=on, train=train, test=test)
    require_counts(task, lowest=0, off=off, delay=delay)
    if cues % 2 == 0:
        raise LabError(
            f"--data {task}: cues = {cues} must be odd, so that one side has more"
        )
    require_groups(task, channels, _GROUPS)
    require_share(task, rate=rate)
    require_seeds(task, train_seed, test_seed)
    numbers = (cues + delay + 1) * (on + off) * channels
    require_memory(task, train + test, numbers)
    parts = (
        evidence_examples(
            number,
            seed,
            channels=channels,
            cues=cues,
            on=on,
            off=off,
            delay=delay,
            rate=rate,
        )
        for number, seed in ((train, train_seed), (test, test_seed))
    )
    (x, y), (test_x, test_y) = parts
    return Data(task, "sequences", x, y, test_x, test_y, 2, "chance is 50 %")
