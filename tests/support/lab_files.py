"""Tiny data sets for the tests of the lab, in memory and in files."""

import gzip
from pathlib import Path

import numpy as np

from apical.lab.data._load import Data

RECORD = 3073  # bytes of a CIFAR-10 picture and its label


def tiny(train: int = 40, test: int = 12, shape=(1, 4, 4), note: str = "") -> Data:
    """Pictures whose class is where their bright pixel is: easily learned."""
    rng = np.random.default_rng(0)

    def part(number):
        y = rng.integers(0, 10, number)
        x = 0.1 * rng.normal(size=(number, *shape))
        x.reshape(number, -1)[np.arange(number), y] += 3.0
        return x.astype(np.float32), y.astype(np.int32)

    return Data("tiny", "pictures", *part(train), *part(test), classes=10, note=note)


def sequences(train: int = 12, test: int = 4, time: int = 5) -> Data:
    """Sequences of three channels whose class is the channel with the most input."""
    rng = np.random.default_rng(0)

    def part(number):
        y = rng.integers(0, 3, number)
        x = rng.uniform(size=(number, time, 3))
        x[np.arange(number), :, y] += 2.0
        return x.astype(np.float32), y.astype(np.int32)

    return Data("sequences", "sequences", *part(train), *part(test), classes=3)


def blank(kind: str, shape: tuple[int, ...], classes: int, number: int = 4) -> Data:
    """A set of this kind and shape in which every number is nought."""
    characters = kind == "characters"
    x = np.zeros((number, *shape), np.int32 if characters else np.float32)
    y = np.zeros((number, *shape) if characters else number, np.int32)
    return Data("blank", kind, x, y, x, y, classes)


def idx(array: np.ndarray) -> bytes:
    """The array as the bytes of an IDX file."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 20, test: int = 10, zipped=False) -> None:
    """The four files of MNIST, in little."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, number in (("train", train), ("t10k", test)):
        files = {
            f"{part}-images-idx3-ubyte": rng.integers(0, 256, (number, 28, 28)),
            f"{part}-labels-idx1-ubyte": np.arange(number) % 10,
        }
        for name, array in files.items():
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))


def cifar_records(number: int, label: int | None = None) -> bytes:
    """This many records of CIFAR-10; labels go round unless one is given."""
    records = np.random.default_rng(1).integers(0, 256, (number, RECORD), np.uint8)
    records[:, 0] = np.arange(number) % 10 if label is None else label
    return records.tobytes()


def write_cifar(folder: Path, batches: int = 2, each: int = 6, test: int = 5) -> None:
    """The binary files of CIFAR-10, in little."""
    folder.mkdir(parents=True, exist_ok=True)
    for batch in range(1, batches + 1):
        (folder / f"data_batch_{batch}.bin").write_bytes(cifar_records(each))
    (folder / "test_batch.bin").write_bytes(cifar_records(test))


def arrays(kind: str = "vectors") -> dict[str, np.ndarray]:
    """Arrays that are right: what `numpy.savez` is given."""
    rng = np.random.default_rng(0)

    def part(number):
        y = np.arange(number) % 3
        if kind == "vectors":
            return rng.normal(size=(number, 4)), y
        if kind == "pictures":
            return rng.normal(size=(number, 2, 5, 5)), y
        if kind == "bytes":
            return rng.integers(0, 256, (number, 2, 5, 5), np.uint8), y
        text = rng.integers(0, 7, (number, 9))
        return text[:, :-1], text[:, 1:]

    (train_x, train_y), (test_x, test_y) = part(12), part(6)
    return {
        "train_x": train_x,
        "train_y": train_y,
        "test_x": test_x,
        "test_y": test_y,
    }
