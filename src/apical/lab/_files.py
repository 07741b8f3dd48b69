"""Readers of two file forms, which refuse whatever is not wholly what it says it is.

IDX (MNIST, Fashion-MNIST), plain or gzipped: two zero bytes, a type, the number of
axes, the length of each axis as a big-endian 32-bit number, then the bytes.
CIFAR-10 binary: records of one label byte and 3 x 32 x 32 pixel bytes.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from apical.lab._errors import LabError
from apical.lab._room import require_honest, require_room

_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_RECORD = 1 + 3 * 32 * 32
_COPIES = 9  # bytes that a byte takes: itself, and as a number of 32 bits twice


class Pictures(NamedTuple):
    """Raw pictures `(examples, channels, height, width)` and their labels."""

    x: np.ndarray
    y: np.ndarray


def read_mnist(places: list[Path], part: str) -> Pictures:
    """Read the pictures and labels of one part, `"train"` or `"t10k"`."""
    x_path, y_path = (require(places, names)[0] for names in idx_names(part))
    x, y = read_idx(x_path, axes=3), read_idx(y_path, axes=1)
    if len(x) != len(y):
        raise LabError(
            f"{x_path} has {len(x):,} pictures but {y_path.name} has {len(y):,} "
            "labels: they do not belong together; fetch both again"
        )
    _check_labels(y_path, y)
    return Pictures(x[:, None], y)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read an IDX file of bytes with this number of axes."""
    header = 4 + 4 * axes
    with _opened(path) as file:
        raw = file.read(header)
        if len(raw) < header or raw[:4] != bytes((0, 0, 8, axes)):
            raise LabError(
                f"{path} is not an IDX file of bytes with {axes} axes "
                f"(it starts with {raw[:4].hex(' ') or 'nothing'}, not with "
                f"00 00 08 0{axes}); fetch it again"
            )
        shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", axes, offset=4))
        promised = math.prod(shape)  # of Python's integers, which do not wrap round
        require_honest(path, _size(path), promised)
        require_room(path, promised, _COPIES)
        content = file.read(promised + 1)  # one more than there should be
    if len(content) != promised:
        more = len(content) > promised
        raise LabError(
            f"{path} is {'too long' if more else 'cut short'}: it promises "
            f"{promised:,} bytes after its header and has "
            f"{'more' if more else f'{len(content):,}'}; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_cifar10(places: list[Path], pattern: str) -> Pictures:
    """Read every whole record of the files whose names match, in order of name."""
    paths = require(places, (pattern,))
    require_room(paths[0], sum(_size(path) for path in paths), _COPIES)
    records = np.concatenate([_cifar_records(path) for path in paths])
    return Pictures(records[:, 1:].reshape(-1, *_CIFAR_SHAPE), records[:, 0])


def _cifar_records(path: Path) -> np.ndarray:
    with _opened(path) as file:
        raw = file.read()
    whole, rest = divmod(len(raw), _CIFAR_RECORD)
    if rest or not whole:
        raise LabError(
            f"{path} is torn: {whole:,} whole records of {_CIFAR_RECORD} bytes "
            f"and {rest:,} bytes of another; fetch it again, or cut it to "
            f"{whole * _CIFAR_RECORD:,} bytes to use the whole ones"
        )
    records = np.frombuffer(raw, np.uint8).reshape(whole, _CIFAR_RECORD)
    _check_labels(path, records[:, 0])
    return records


def idx_names(part: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the files of pictures and of labels of a part may be called."""
    stems = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    # Some mirrors write "train-images.idx3-ubyte".
    x, y = ((stem, f"{stem}.gz", stem.replace("-idx", ".idx")) for stem in stems)
    return x, y


def find(places: list[Path], names: tuple[str, ...]) -> list[Path]:
    """The files of the first place, and there of the first name, that has any.

    Args:
        places: folders, which need not be there.
        names: what the file may be called; with `*` for anything it may be several.

    Returns:
        The files in order of name; none if there are none.
    """
    for place in places:
        for name in names:
            found = sorted(path for path in place.glob(name) if path.is_file())
            if found:
                return found
    return []


def require(places: list[Path], names: tuple[str, ...]) -> list[Path]:
    """The same, where there must be some."""
    found = find(places, names)
    if not found:
        looked = ", ".join(str(place) for place in places)
        raise LabError(
            f"found no file {' or '.join(names)}. Looked in {looked}: put it there, "
            "name its folder with --data-dir, or fetch it with --download"
        )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, unpacked as it is read; what goes wrong meanwhile names it."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LabError(
            f"{path} cannot be unpacked ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_labels(path: Path, labels: np.ndarray) -> None:
    if labels.size and labels.max() > 9:
        raise LabError(
            f"{path} has the label {labels.max()}, but its labels should be 0 to 9; "
            "is it a file of another data set?"
        )
