"""The labelled pictures that the lab knows by name, standardised channel by channel.

x' = (x - mean) / deviation        both over the training part alone
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from apical.lab._dataset import Data
from apical.lab._files import Pictures, read_cifar10, read_mnist


def digits() -> Data:
    """The 1,797 handwritten digits of 8 x 8 that scikit-learn carries."""
    x, y = (np.asarray(array) for array in load_digits(return_X_y=True))
    # A split fixed once: every run, rule and version is scored on the same pictures.
    train, test = (
        np.asarray(chosen)
        for chosen in train_test_split(
            np.arange(len(y)), test_size=360, stratify=y, random_state=0
        )
    )
    x = x.reshape(-1, 1, 8, 8)
    return _data("digits", Pictures(x[train], y[train]), Pictures(x[test], y[test]))


def mnist(name: str, places: list[Path]) -> Data:
    """MNIST, or what has its form; `places` are the folders to look in."""
    return _data(name, read_mnist(places, "train"), read_mnist(places, "t10k"))


def cifar10(name: str, places: list[Path]) -> Data:
    """CIFAR-10; how many of its pictures the files have, where not all, is noted."""
    train = read_cifar10(places, "data_batch_*.bin")
    test = read_cifar10(places, "test_batch.bin")
    note = "; ".join(
        f"{part}: {len(pictures.y):,} of {official:,} pictures"
        for part, pictures, official in (
            ("training", train, 50_000),
            ("test", test, 10_000),
        )
        if len(pictures.y) != official
    )
    return _data(name, train, test)._replace(note=note)


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes `(examples, channels, height, width)` of both parts, as floats."""
    x, test_x = train.astype(np.float32), test.astype(np.float32)
    if not x.size:  # refused later, with all the rest that may be wrong
        return x, test_x
    mean = x.mean((0, 2, 3), keepdims=True)
    deviation = x.std((0, 2, 3), keepdims=True) + 1e-8
    for part in (x, test_x):  # in place: CIFAR-10 takes 600 MB
        part -= mean
        part /= deviation
    return x, test_x


def _data(name: str, train: Pictures, test: Pictures) -> Data:
    train_x, test_x = standardised(train.x, test.x)
    return Data(name, "pictures", train_x, train.y, test_x, test.y, classes=10)
