"""Readers of file formats: IDX (MNIST), CIFAR-10 binary and `.npz`.

IDX, plain or gzipped: two zero bytes, a type, the number of axes, the length of each
axis as a big-endian 32-bit number, then the bytes. CIFAR-10 binary: records of one
label byte and 3 x 32 x 32 pixel bytes. A damaged or mislabelled file is refused.
"""

import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from apical.lab._errors import LabError
from apical.lab.data._dataset import KINDS, Data, standardised
from apical.lab.data._size_limits import require_memory, require_plausible_size

_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_RECORD = 1 + 3 * 32 * 32
_COPIES_OF_A_BYTE = 9  # memory per byte: itself, and twice as a 32-bit number


class Pictures(NamedTuple):
    """Raw images `(examples, channels, height, width)` and their labels."""

    x: np.ndarray
    y: np.ndarray


def read_mnist(places: list[Path], part: str) -> Pictures:
    """Read the images and labels of one part, `"train"` or `"t10k"`."""
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
        promised = math.prod(shape)  # Python integers do not overflow
        require_plausible_size(path, _size(path), promised)
        require_memory(path, promised, _COPIES_OF_A_BYTE)
        content = file.read(promised + 1)  # one more than there should be
    if len(content) != promised:
        more = len(content) > promised
        raise LabError(
            f"{path} is {'too long' if more else 'cut short'}: its header declares "
            f"{promised:,} bytes of content, and it has "
            f"{'more' if more else f'{len(content):,}'}; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_cifar10(places: list[Path], pattern: str) -> Pictures:
    """Read the records of all files whose names match, in order of name."""
    paths = require(places, (pattern,))
    require_memory(paths[0], sum(_size(path) for path in paths), _COPIES_OF_A_BYTE)
    records = np.concatenate([_cifar_records(path) for path in paths])
    return Pictures(records[:, 1:].reshape(-1, *_CIFAR_SHAPE), records[:, 0])


def _cifar_records(path: Path) -> np.ndarray:
    with _opened(path) as file:
        raw = file.read()
    whole, rest = divmod(len(raw), _CIFAR_RECORD)
    if rest or not whole:
        raise LabError(
            f"{path} is truncated: {whole:,} whole records of {_CIFAR_RECORD} bytes "
            f"and {rest:,} bytes of another; fetch it again, or cut it to "
            f"{whole * _CIFAR_RECORD:,} bytes to use the whole ones"
        )
    records = np.frombuffer(raw, np.uint8).reshape(whole, _CIFAR_RECORD)
    _check_labels(path, records[:, 0])
    return records


def idx_names(part: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The possible names of the files of images and of labels of a part."""
    stems = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    # Some mirrors write "train-images.idx3-ubyte".
    x, y = ((stem, f"{stem}.gz", stem.replace("-idx", ".idx")) for stem in stems)
    return x, y


def find(places: list[Path], names: tuple[str, ...]) -> list[Path]:
    """The matching files of the first folder that has any, under the first name found.

    Args:
        places: folders, which need not exist.
        names: possible names of the file; with `*`, of several files.

    Returns:
        The files in order of name; empty if there are none.
    """
    for place in places:
        for name in names:
            found = sorted(path for path in place.glob(name) if path.is_file())
            if found:
                return found
    return []


def require(places: list[Path], names: tuple[str, ...]) -> list[Path]:
    """The same; no file is an error."""
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
    """Open a file, decompressing `.gz`; errors name the file."""
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


# ---- Arrays of the user: `train_x`, `train_y`, `test_x`, `test_y` in an .npz file
#
# | `train_x`, `test_x` | kind |
# |---|---|
# | uint8 `(examples, channels, height, width)` | images, standardised |
# | floats `(examples, channels, height, width)` | images, as given |
# | other floats `(examples, features...)` | vectors, as given |
# | integers `(examples, time)` | characters |
#
# | `train_y`, `test_y` | kind |
# |---|---|
# | integers `(examples,)` | classes, from 0 up |
# | integers `(examples, time)` | the next character of each |
# | floats `(examples,)` or `(examples, outputs)` | numbers, as given: a regression |
#
# An array `kind` with one of the words of `KINDS` says it instead: without it floats
# `(examples, time, channels)` are vectors, with "sequences" they are sequences.

KEYS = ("train_x", "train_y", "test_x", "test_y")
_ENCRYPTED = 0x1  # flag of a member of an archive
_CHANNELS = (1, 3, 4)  # grey, colours, colours and transparency
_AS_GIVEN = "floating-point numbers used as given, not standardised"


def read_arrays(path: Path, name: str) -> Data:
    """Read a data set from arrays, whose types and shapes decide its kind.

    Args:
        path: an .npz file, as `numpy.savez` writes it.
        name: the name of the data set.

    Returns:
        The data set, checked only as far as its kind depends on it.

    Raises:
        LabError: for an array that is missing, damaged or of no known kind.
    """
    arrays = _read(path)
    train_x, train_y, test_x, test_y = (arrays[key] for key in KEYS)
    if (train_x.dtype, train_x.shape[1:]) != (test_x.dtype, test_x.shape[1:]):
        raise LabError(
            f"{path}: train_x is {_form(train_x)}, but test_x is {_form(test_x)}: they "
            "must be alike in all but the number of examples"
        )
    kind, note = _kind(path, train_x, train_y, arrays.get("kind")), ""
    symbols = [train_y, test_y]
    if kind == "characters":
        symbols += [train_x, test_x]
    elif train_x.dtype != np.uint8:
        note = _AS_GIVEN
    elif train_x.size:
        train_x, test_x = standardised(train_x, test_x)
    outputs = train_y.shape[1] if train_y.ndim > 1 else 1
    numbers = np.issubdtype(train_y.dtype, np.floating)
    classes = outputs if numbers else _classes(symbols)
    return Data(name, kind, train_x, train_y, test_x, test_y, classes, note)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            missing = [key for key in KEYS if key not in members]
            if missing:
                raise LabError(
                    f"{path} has no array {', '.join(missing)}; it has "
                    f"{', '.join(members) or 'none'}. It needs {', '.join(KEYS)}"
                )
            keys = [*KEYS, "kind"] if "kind" in members else KEYS
            infos = {key: archive.getinfo(members[key]) for key in keys}
            promised = sum(info.file_size for info in infos.values())
            require_memory(path, promised, _COPIES_OF_A_BYTE)
            return {
                key: _array(f"{path}: {key}", path, archive, info)
                for key, info in infos.items()
            }
    except LabError:
        raise
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a directory may be invalid in any way
        raise LabError(
            f"{path} is not an .npz file ({error}): write one with numpy.savez"
        ) from error


def _array(
    told: str, path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> np.ndarray:
    if info.flag_bits & _ENCRYPTED:
        raise LabError(f"{told} is encrypted: write it with numpy.savez")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise LabError(
            f"{told} is compressed in a way that NumPy does not write: save it with "
            "numpy.savez_compressed"
        )
    require_plausible_size(path, info.compress_size, info.file_size, told)
    try:
        with archive.open(info) as file:
            _require_whole(cast(BinaryIO, file), info.file_size)
        with archive.open(info) as file:
            return np.lib.format.read_array(cast(BinaryIO, file), allow_pickle=False)
    except Exception as error:  # a header may be invalid in any way
        raise LabError(
            f"{told} cannot be read ({error}). It must be a whole array of numbers, "
            "not of objects"
        ) from error


def _require_whole(file: BinaryIO, size: int) -> None:
    """Read the header of an array, and refuse one that does not match the data."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"it is of version {version} of its form")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it is of objects")
    if any(length < 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    promised, found = math.prod(shape) * dtype.itemsize, size - file.tell()
    if promised != found:
        raise ValueError(
            f"its shape {shape} of {dtype} takes {promised:,} bytes, and it has "
            f"{found:,}"
        )


def _kind(path: Path, x: np.ndarray, y: np.ndarray, said: np.ndarray | None) -> str:
    if said is not None:
        return _said(path, x, said)
    if np.issubdtype(x.dtype, np.integer) and x.ndim == 2 and y.shape == x.shape:
        return "characters"
    if x.ndim == 4 and (np.issubdtype(x.dtype, np.floating) or x.dtype == np.uint8):
        _require_channels_first(path, x.shape)
        return "pictures"
    if np.issubdtype(x.dtype, np.floating):
        return "vectors"
    raise LabError(
        f"{path}: train_x is {_form(x)} and train_y is {_form(y)}, which is none of: "
        "pictures, uint8 or floats (examples, channels, height, width); vectors, "
        "floats (examples, features...); characters, integers (examples, time) with "
        "labels of the same shape. Grey pictures get their channel by x[:, None], and "
        "channels that come last are moved by numpy.moveaxis(x, -1, 1)"
    )


def _said(path: Path, x: np.ndarray, said: np.ndarray) -> str:
    """The kind that the file says, if floats can be of it."""
    kind = str(said)
    if said.shape or kind not in KINDS:
        raise LabError(f"{path}: kind is {kind!r}, not one of {', '.join(KINDS)}")
    if x.dtype == np.uint8 and kind == "pictures":
        return kind
    wanted = np.integer if kind == "characters" else np.floating
    if not np.issubdtype(x.dtype, wanted):
        raise LabError(
            f"{path}: train_x is {_form(x)}, and {kind} are "
            f"{'integers' if wanted is np.integer else 'floats'} {KINDS[kind]}"
        )
    return kind


def _require_channels_first(path: Path, shape: tuple[int, ...]) -> None:
    first, height, last = shape[1:]
    if last in _CHANNELS and first == height and first not in _CHANNELS:
        raise LabError(
            f"{path}: train_x has the shape {shape}, which looks as if the channels "
            "came last. Pictures are (examples, channels, height, width): move them "
            "by numpy.moveaxis(x, -1, 1)"
        )


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"


def _classes(arrays: list[np.ndarray]) -> int:
    # Arrays of another type, and empty ones, are refused later by `check`.
    whole = [a for a in arrays if a.size and np.issubdtype(a.dtype, np.integer)]
    return 1 + max((int(array.max()) for array in whole), default=1)
