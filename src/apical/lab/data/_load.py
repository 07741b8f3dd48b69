"""`load`: a data set by name or path, checked."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from apical.lab._errors import LabError, resolve_names
from apical.lab.data._dataset import Data, check, standardised
from apical.lab.data._download import DOWNLOADS, cache_folder, fetch
from apical.lab.data._formats import (
    Pictures,
    find,
    idx_names,
    read_arrays,
    read_cifar10,
    read_mnist,
    require,
)
from apical.lab.data._spoken_digits import FILES as _SPOKEN
from apical.lab.data._spoken_digits import spoken_digits
from apical.lab.data._text import read_text
from apical.lab.data.tasks._registry import TASKS, draw, task_name

# ---- Images by name, standardised per channel over the training part


def digits() -> Data:
    """The 1,797 handwritten digits of 8 x 8 pixels in scikit-learn."""
    x, y = (np.asarray(array) for array in load_digits(return_X_y=True))
    # A fixed split: every run, rule and version is scored on the same images.
    train, test = (
        np.asarray(chosen)
        for chosen in train_test_split(
            np.arange(len(y)), test_size=360, stratify=y, random_state=0
        )
    )
    x = x.reshape(-1, 1, 8, 8)
    return _data("digits", Pictures(x[train], y[train]), Pictures(x[test], y[test]))


def mnist(name: str, places: list[Path]) -> Data:
    """MNIST, or a data set in its format; `places` are the folders to look in."""
    return _data(name, read_mnist(places, "train"), read_mnist(places, "t10k"))


def cifar10(name: str, places: list[Path]) -> Data:
    """CIFAR-10; a note says how many images the files have, if not all."""
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


def _data(name: str, train: Pictures, test: Pictures) -> Data:
    train_x, test_x = standardised(train.x, test.x)
    return Data(name, "pictures", train_x, train.y, test_x, test.y, classes=10)


def rows_of(data: Data) -> Data:
    """Images as sequences of their rows, from the first to the last.

    Args:
        data: images `(examples, channels, height, width)`, with one label each.

    Returns:
        Sequences `(examples, height, channels * width)`; the label is about the last
        row.
    """

    def rows(x: np.ndarray) -> np.ndarray:
        return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)

    return data._replace(
        name=f"{data.name}-rows",
        kind="sequences",
        train_x=rows(data.train_x),
        test_x=rows(data.test_x),
    )


class Source(NamedTuple):
    """How to find and read the files of a data set.

    Attributes:
        read: reads it from its name and the folders to look in.
        folders: subfolders of the data folder in which its files may be; downloads go
            to the first.
        wanted: for each of its files, the possible names.
    """

    read: Callable[[str, list[Path]], Data]
    folders: tuple[str, ...]
    wanted: tuple[tuple[str, ...], ...]


def _shakespeare(name: str, places: list[Path]) -> Data:
    (path,) = require(places, _INPUT)
    return read_text(path, name)


_INPUT = ("input.txt",)
_IDX = (*idx_names("train"), *idx_names("t10k"))
SOURCES: dict[str, Source] = {
    "mnist": Source(mnist, ("mnist", "MNIST/raw"), _IDX),
    "fashion-mnist": Source(
        mnist, ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw"), _IDX
    ),
    "cifar10": Source(
        cifar10,
        ("cifar-10-batches-bin", "cifar10"),
        (("data_batch_*.bin",), ("test_batch.bin",)),
    ),
    "shakespeare": Source(_shakespeare, ("tiny_shakespeare",), (_INPUT,)),
    "spoken-digits": Source(spoken_digits, ("fsdd",), (_SPOKEN,)),
}
_IMAGES = ("digits", "mnist", "fashion-mnist", "cifar10")
ROWS: dict[str, str] = {f"{name}-rows": name for name in _IMAGES}
DATASETS: tuple[str, ...] = ("digits", *SOURCES, *ROWS, *TASKS)


def is_name(text: str) -> bool:
    """Whether a text names a data set, perhaps with arguments, and not a file."""
    return text in DATASETS or task_name(text) is not None


def load(
    name: str | os.PathLike[str],
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Data:
    """Load a data set.

    Args:
        name: one of `DATASETS`, tasks with arguments if wanted (`"copy(delay=50)"`); or
            the path of a text in UTF-8, or of an .npz file with the arrays `train_x`,
            `train_y`, `test_x`, `test_y`.
        data_dir: where the files of a named set are, or go when fetched (default: the
            user's cache folder). The digits need none.
        download: whether to download files that are missing.

    Returns:
        The data set. Images of named sets and images as bytes are standardised with the
        statistics of the training part; floats from a file are not changed.

    Raises:
        LabError: for an unknown name or file, or a file with invalid contents.

    Example:
        >>> data = load("digits")
        >>> data.kind, data.shape, len(data.train_y), len(data.test_y)
        ('pictures', (1, 8, 8), 1437, 360)

    Source: the references of scikit-learn's digits; LeCun, Cortes & Burges 1998
    (MNIST); Xiao, Rasul & Vollgraf 2017 (Fashion-MNIST); Krizhevsky 2009 (CIFAR-10);
    Karpathy 2015 (the Shakespeare text); Jackson et al. (the spoken digits); those of
    the tasks in `apical.lab.data.tasks`.
    """
    if not isinstance(name, str | os.PathLike):
        raise LabError(
            f"name is a {type(name).__name__}: name a data set or a file by a string"
        )
    told = os.fsdecode(name).strip()
    try:
        return check(_read(told, data_dir, download))
    except MemoryError as error:
        raise LabError(f"--data {told} does not fit into memory") from error


def _read(name: str, data_dir: str | Path | None, download: bool) -> Data:
    try:
        path = Path(name).expanduser()
        looks_like_a_path = path.exists() or path.suffix or len(path.parts) > 1
    except (OSError, RuntimeError, ValueError) as error:  # too long, or no such user
        raise LabError(f"--data {name}: it cannot be looked up ({error})") from error
    if name and not is_name(name) and looks_like_a_path:
        return _from_path(path)
    if task_name(name) is not None:
        return draw(name)
    (name,) = resolve_names("data set", [name], DATASETS)
    if name in ROWS:
        return rows_of(_read(ROWS[name], data_dir, download))
    return digits() if name == "digits" else _named(name, data_dir, download)


def _from_path(path: Path) -> Data:
    if path.is_dir():
        raise LabError(
            f"--data {path} is a folder: name a file, or one of {', '.join(DATASETS)} "
            "with --data-dir"
        )
    if not path.exists():
        raise LabError(f"--data {path}: there is no such file")
    if not path.is_file():
        raise LabError(
            f"--data {path} is not a file but a device or a pipe: name a file"
        )
    read = read_arrays if path.suffix == ".npz" else read_text
    # The name may be in another encoding than the system's.
    return read(path, os.fsencode(path.name).decode("utf-8", "replace"))


def _named(name: str, data_dir: str | Path | None, download: bool) -> Data:
    source = SOURCES[name]
    folder = cache_folder() if data_dir is None else Path(data_dir).expanduser()
    # Its own folder first: MNIST and Fashion-MNIST have the same file names.
    places = [*(folder / inner for inner in source.folders), folder]
    missing = [names for names in source.wanted if not find(places, names)]
    if folder.exists() and not folder.is_dir():
        raise LabError(f"--data-dir {folder} is a file: name the folder that it is in")
    if missing and download:
        fetch(name, places[0], DOWNLOADS[name])
    elif data_dir is not None and not folder.is_dir():
        raise LabError(f"--data-dir {folder}: there is no such folder")
    elif missing:
        raise _missing(name, missing, places)
    return source.read(name, places)


def _missing(name: str, missing: list[tuple[str, ...]], places: list[Path]) -> LabError:
    files = ", ".join(
        f"{names[0]}[.gz]" if f"{names[0]}.gz" in names else names[0]
        for names in missing
    )
    looked = ", ".join(str(place) for place in places)
    return LabError(
        f"--data {name}: found no file {files}. Looked in {looked}. Name the "
        "folder that has them with --data-dir, or fetch them with --download"
    )
