"""Anyone's arrays, from an .npz file: `train_x`, `train_y`, `test_x`, `test_y`.

| `train_x`, `test_x` | are |
|---|---|
| uint8 `(examples, channels, height, width)` | pictures, standardised |
| floats `(examples, channels, height, width)` | pictures, as given |
| other floats `(examples, features...)` | vectors, as given |
| integers `(examples, time)` | characters |

| `train_y`, `test_y` | are |
|---|---|
| integers `(examples,)` | classes, from 0 up |
| integers `(examples, time)` | the character that follows each |
| floats `(examples,)` or `(examples, outputs)` | numbers, as given: a regression |
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from apical.lab._dataset import Data
from apical.lab._errors import LabError
from apical.lab._pictures import standardised

KEYS = ("train_x", "train_y", "test_x", "test_y")
_CHANNELS = (1, 3, 4)  # grey, colours, colours and transparency
_AS_GIVEN = "floating-point numbers used as given, not standardised"


def read_arrays(path: Path, name: str) -> Data:
    """Read a set of arrays; what they are follows from their types and shapes.

    Args:
        path: an .npz file, as `numpy.savez` writes it.
        name: what the set is called.

    Returns:
        The set, not yet checked but for what its kind follows from.

    Raises:
        LabError: what is missing, torn or of no known kind, by its key.
    """
    arrays = _read(path)
    train_x, train_y, test_x, test_y = (arrays[key] for key in KEYS)
    if (train_x.dtype, train_x.shape[1:]) != (test_x.dtype, test_x.shape[1:]):
        raise LabError(
            f"{path}: train_x is {_form(train_x)}, but test_x is {_form(test_x)}: they "
            "must be alike in all but the number of examples"
        )
    kind, note = _kind(path, train_x, train_y), ""
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
    with _opened(path) as file:
        missing = [key for key in KEYS if key not in file]
        if missing:
            raise LabError(
                f"{path} has no array {', '.join(missing)}; it has "
                f"{', '.join(file) or 'none'}. It needs {', '.join(KEYS)}"
            )
        return {key: _array(path, file, key) for key in KEYS}


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    try:
        file = np.load(path, allow_pickle=False)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise _no_npz(path) from error
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise _no_npz(path)
    return file


def _no_npz(path: Path) -> LabError:
    return LabError(f"{path} is not an .npz file: write one with numpy.savez")


def _array(path: Path, file: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        array = file[key]
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise LabError(
            f"{path}: {key} cannot be read ({error}). It must be a whole array of "
            "numbers, not of objects"
        ) from error
    if not isinstance(array, np.ndarray):
        raise LabError(f"{path}: {key} is not an array: write it with numpy.savez")
    return array


def _kind(path: Path, x: np.ndarray, y: np.ndarray) -> str:
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
    # Arrays of another type, and empty ones, are refused later, with all the rest.
    whole = [a for a in arrays if a.size and np.issubdtype(a.dtype, np.integer)]
    return 1 + max((int(array.max()) for array in whole), default=1)
