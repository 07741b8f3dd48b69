"""The checks that every labelled set must pass, whoever made it."""

import numpy as np

from apical.lab._check_numbers import notes_of_numbers, numbers, require_numbers
from apical.lab._dataset import KINDS, Data
from apical.lab._errors import LabError

# A readout has a row for each: at a million, and 128 hidden units, half a gigabyte.
MOST_CLASSES = 1_000_000


def check(data: Data) -> Data:
    """Refuse a set that cannot be trained on; numbers leave as float32 and int32.

    Args:
        data: the set. Any floating-point numbers and any integers will do.

    Returns:
        The same set, with arrays of float32 and int32; labels that are numbers are
        `(examples, outputs)`.

    Raises:
        LabError: what is wrong, with the array's name and the first bad place in it.

    Example:
        >>> import numpy as np
        >>> from apical.lab._dataset import Data
        >>> x, y = np.zeros((4, 3)), np.array([0, 1, 0, 1])
        >>> data = check(Data("mine", "vectors", x, y, x, y, classes=2))
        >>> data.train_x.dtype, data.shape
        (dtype('float32'), (3,))
    """
    _check_kind(data)
    arrays = {part: _checked(data, part) for part in ("train", "test")}
    shapes = {part: x.shape[1:] for part, (x, _) in arrays.items()}
    if shapes["train"] != shapes["test"]:
        raise LabError(
            f"{data.name}: an example of train_x has the shape {shapes['train']}, one "
            f"of test_x {shapes['test']}: they must be the same"
        )
    (train_x, train_y), (test_x, test_y) = arrays["train"], arrays["test"]
    data = data._replace(train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y)
    odd = notes_of_numbers(data) if data.has_numbers else _oddities(data)
    new = [oddity for oddity in odd if oddity not in data.note]
    return data._replace(note="; ".join([*([data.note] if data.note else []), *new]))


def _oddities(data: Data) -> list[str]:
    """What is allowed, but seldom meant: classes that training never shows."""
    shown, asked = np.unique(data.train_y), np.unique(data.test_y)
    unseen = np.setdiff1d(asked, shown)
    unused = np.setdiff1d(np.arange(data.classes), np.union1d(shown, asked))
    told = []
    if len(unseen):
        told.append(f"no training example has the label {_listed(unseen)}")
    if len(unused):
        told.append(f"no example has the label {_listed(unused)}")
    return told


def _listed(labels: np.ndarray) -> str:
    few = ", ".join(map(str, labels[:5].tolist()))
    return f"{few} and {len(labels) - 5} others" if len(labels) > 5 else few


def _check_kind(data: Data) -> None:
    if data.kind not in KINDS:
        raise LabError(
            f"{data.name}: no data is of the kind {data.kind!r}. There are: "
            f"{', '.join(KINDS)}"
        )
    if isinstance(data.classes, bool) or not isinstance(data.classes, int | np.integer):
        raise LabError(
            f"{data.name}: classes must be a whole number, not {data.classes!r}"
        )
    if data.classes < (1 if data.has_numbers else 2):
        raise LabError(
            f"{data.name}: classes = {data.classes}, but there must be at least 2 to "
            "tell apart"
        )
    if data.classes > MOST_CLASSES:
        raise LabError(
            f"{data.name}: {data.classes:,} classes (one more than the largest label) "
            f"are too many: at most {MOST_CLASSES:,}, numbered from 0"
        )


def _checked(data: Data, part: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = getattr(data, f"{part}_x"), getattr(data, f"{part}_y")
    x_name, y_name = (f"{data.name}: {part}_{letter}" for letter in "xy")
    _check_arrays(x_name, x, y_name, y)
    if data.kind == "characters":
        x = _integers(x_name, x, data.classes)
    else:
        x = _floats(x_name, x)
    _check_shape(data.kind, x_name, x)
    if data.has_numbers:
        require_numbers(data)
        return x, numbers(_floats(y_name, y))
    _check_classes(data.kind, y_name, y, x_name, x)
    return x, _integers(y_name, y, data.classes)


def _check_arrays(x_name: str, x: np.ndarray, y_name: str, y: np.ndarray) -> None:
    for name, array in ((x_name, x), (y_name, y)):
        if not isinstance(array, np.ndarray):
            raise LabError(
                f"{name} is a {type(array).__name__}: make it a NumPy array with "
                "numpy.asarray"
            )
        if not array.size:
            raise LabError(f"{name} is empty: it has the shape {array.shape}")
    if x.ndim < 1 or y.ndim < 1 or len(x) != len(y):
        raise LabError(
            f"{x_name} has the shape {x.shape} and {y_name} {y.shape}: both must have "
            "one entry for each example on the first axis"
        )


def _check_shape(kind: str, name: str, x: np.ndarray) -> None:
    wanted = KINDS[kind]
    axes = wanted.count(",") + 1
    if x.ndim != axes and not ("..." in wanted and x.ndim > axes):
        raise LabError(f"{name} has the shape {x.shape}: {kind} must be {wanted}")


def _check_classes(
    kind: str, y_name: str, y: np.ndarray, x_name: str, x: np.ndarray
) -> None:
    if kind == "characters" and y.shape != x.shape:
        raise LabError(
            f"{y_name} has the shape {y.shape} and {x_name} {x.shape}: each character "
            "needs the one that follows it"
        )
    if kind != "characters" and y.ndim != 1:
        raise LabError(
            f"{y_name} has the shape {y.shape}: there must be one label for each "
            "example, a whole number; of labels in one-hot form take argmax(1). "
            "Labels that are numbers, for a regression, are floating-point"
        )


def _floats(name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        raise LabError(
            f"{name} is of the type {array.dtype}, but should be of floating-point "
            "numbers: convert it with astype('float32')"
        )
    with np.errstate(over="ignore"):  # what overflows is refused just below
        array = array.astype(np.float32, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        place = _first(~finite)
        raise LabError(
            f"{name}{place} is {array[tuple(place)]}: every entry must be a finite "
            "number of 32 bits"
        )
    return array


def _integers(name: str, array: np.ndarray, classes: int) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.integer):
        raise LabError(
            f"{name} is of the type {array.dtype}, but should be of whole numbers: "
            "convert it with astype('int32')"
        )
    bad = (array < 0) | (array >= classes)
    if bad.any():
        place = _first(bad)
        raise LabError(
            f"{name}{place} is {array[tuple(place)]}: it should be 0 to {classes - 1}, "
            f"as there are {classes} classes"
        )
    return array.astype(np.int32, copy=False)


def _first(bad: np.ndarray) -> list[int]:
    """The place of the first entry that is true."""
    return [int(i) for i in np.unravel_index(bad.argmax(), bad.shape)]
