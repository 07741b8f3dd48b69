"""Copying: repeat the symbols of the start, after a delay.

    input  | s_1 ... s_n | blank x (delay - 1) | go | blank x n  |
    label  |      -      |          -          | -  | s_1 ... s_n|

Each step shows one of the symbols, the blank or the signal to go, in one-hot form. Only
the last n steps have a label: a guess is right once in `symbols` times, and the
cross-entropy without memory is log(symbols).

Source: Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464,
where n = 10, there are 8 symbols, and blanks have labels too.
"""

import numpy as np

from apical.lab.data._dataset import UNLABELLED, Data
from apical.lab.data.tasks._checks import (
    TEST,
    TRAIN,
    require_counts,
    require_memory,
    require_seeds,
)


def copying_examples(
    number: int, seed: int, *, symbols: int = 8, length: int = 5, delay: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences to copy, and a label for each step.

    Args:
        number: how many.
        seed: of the draw.
        symbols: how many symbols there are.
        length: n, the number of symbols to copy.
        delay: steps between the last symbol and the first answer.

    Returns:
        Steps in one-hot form, float32 `(number, delay + 2 n, symbols + 2)`, and labels,
        int32 `(number, delay + 2 n)`, -1 where there is none.
    """
    drawn = np.random.default_rng(seed).integers(symbols, size=(number, length))
    blank, go, time = symbols, symbols + 1, delay + 2 * length
    shown = np.full((number, time), blank)
    shown[:, :length] = drawn
    shown[:, length + delay - 1] = go
    labels = np.full((number, time), UNLABELLED, np.int32)
    labels[:, -length:] = drawn
    return np.eye(symbols + 2, dtype=np.float32)[shown], labels


def copying(
    *,
    symbols: int = 8,
    length: int = 5,
    delay: int = 10,
    train: int = 10_000,
    test: int = 1000,
    train_seed: int = TRAIN,
    test_seed: int = TEST,
) -> Data:
    """The copying task.

    Args:
        symbols: how many symbols there are.
        length: the number of symbols to copy.
        delay: steps between the last symbol and the first answer.
        train: how many training examples.
        test: how many test examples.
        train_seed: of the training examples.
        test_seed: of the test examples.
    """
    require_counts("copy", length=length, delay=delay, train=train, test=test)
    require_counts("copy", lowest=2, symbols=symbols)
    require_seeds("copy", train_seed, test_seed)
    numbers = (delay + 2 * length) * (symbols + 2)
    require_memory("copy", train + test, numbers)
    parts = (
        copying_examples(n, seed, symbols=symbols, length=length, delay=delay)
        for n, seed in ((train, train_seed), (test, test_seed))
    )
    (x, y), (test_x, test_y) = parts
    note = f"chance is {100 / symbols:.4g} %"
    return Data("copy", "sequences", x, y, test_x, test_y, symbols, note)
