"""Labelled pictures: embedded digits, and files of MNIST or CIFAR-10 form.

Every set leaves here as `float32` pictures `(examples, channels, height, width)`,
standardised channel by channel with the statistics of its training part alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from apical.lab._errors import LabError, known
from apical.lab._files import Pictures, read_cifar10, read_mnist


class Data(NamedTuple):
    """A labelled set in two parts, ready for training."""

    name: str
    train_x: np.ndarray  # (examples, channels, height, width), standardised
    train_y: np.ndarray  # (examples,), 0 to classes - 1
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int
    note: str = ""  # what a reader of the results must know about the files

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one picture."""
        return self.train_x.shape[1:]


def load(name: str, folder: str | Path | None = None) -> Data:
    """Load a data set by name.

    Args:
        name: one of `DATASETS`.
        folder: where the files of every set but the embedded digits are.

    Returns:
        The set, standardised.
    """
    (name,) = known("data set", [name], DATASETS)
    return DATASETS[name](None if folder is None else Path(folder))


def _digits(folder: Path | None) -> Data:
    del folder  # carried by scikit-learn
    x, y = (np.asarray(array) for array in load_digits(return_X_y=True))
    # A split fixed once: every run, rule and version is scored on the same pictures.
    train, test = (
        np.asarray(chosen)
        for chosen in train_test_split(
            np.arange(len(y)), test_size=360, stratify=y, random_state=0
        )
    )
    x = x.reshape(-1, 1, 8, 8)
    return _standardised(
        "digits", Pictures(x[train], y[train]), Pictures(x[test], y[test])
    )


def _mnist(name: str, folders: tuple[str, ...]) -> Callable[[Path | None], Data]:
    def load_files(folder: Path | None) -> Data:
        places = _places(name, folder, folders)
        train, test = read_mnist(places, "train"), read_mnist(places, "t10k")
        return _standardised(name, train, test)

    return load_files


def _cifar10(folder: Path | None) -> Data:
    places = _places("cifar10", folder, ("cifar-10-batches-bin", "cifar10"))
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
    return _standardised("cifar10", train, test)._replace(note=note)


def _places(name: str, folder: Path | None, below: tuple[str, ...]) -> list[Path]:
    if folder is None:
        raise LabError(
            f"--data {name} needs --data-dir DIR, the folder with its files "
            f"(or with {below[0]}/ in it)"
        )
    if not folder.is_dir():
        raise LabError(f"--data-dir {folder}: there is no such folder")
    return [folder, *(folder / inner for inner in below)]


def _standardised(name: str, train: Pictures, test: Pictures) -> Data:
    pixels = train.x.astype(np.float32)
    mean = pixels.mean((0, 2, 3), keepdims=True)
    deviation = pixels.std((0, 2, 3), keepdims=True) + 1e-8
    train_x = (pixels - mean) / deviation
    test_x = (test.x.astype(np.float32) - mean) / deviation
    labels = train.y.astype(np.int32), test.y.astype(np.int32)
    return Data(name, train_x, labels[0], test_x, labels[1], classes=10)


DATASETS: dict[str, Callable[[Path | None], Data]] = {
    "digits": _digits,
    "mnist": _mnist("mnist", ("mnist", "MNIST/raw")),
    "fashion-mnist": _mnist(
        "fashion-mnist", ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw")
    ),
    "cifar10": _cifar10,
}
