"""`Data`, a labelled data set with a training and a test part, and its checks."""

import hashlib
from typing import NamedTuple

import numpy as np

from apical.lab._errors import LabError

# The kinds of data, each with its axes.
KINDS = {
    "pictures": "(examples, channels, height, width)",
    "characters": "(examples, time)",
    "sequences": "(examples, time, channels)",
    "vectors": "(examples, features...)",
}


class Data(NamedTuple):
    """A labelled data set with a training and a test part.

    Attributes:
        name: its name in records.
        kind: "pictures" `(examples, channels, height, width)`, "vectors"
            `(examples, features...)`, "sequences" `(examples, time, channels)`, all
            float32, or "characters" `(examples, time)`, int32.
        train_x: the training examples.
        train_y: their labels. Classes, int32 `(examples,)`; for characters the next
            character, `(examples, time)`. Or numbers, float32 `(examples, outputs)`.
            Labels of sequences are about the last step; or, `(examples, parts)`, about
            parts of equal length into which the time is cut, -1 where there is none.
        test_x: the test examples.
        test_y: their labels.
        classes: the number of classes, of symbols in the alphabet, or of numbers per
            label: the outputs of a model.
        note: a remark on the data that is shown with the results.
    """

    name: str
    kind: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int
    note: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.train_x.shape[1:]

    @property
    def axes(self) -> str:
        """The axes of `train_x`, which are those of a model's input, in words."""
        return KINDS[self.kind]

    @property
    def has_numbers(self) -> bool:
        """Whether the labels are numbers (a regression)."""
        y = self.train_y
        whole = self.kind == "characters" or not isinstance(y, np.ndarray)
        return not whole and bool(np.issubdtype(y.dtype, np.floating))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify the data.

        The head of a sha256 over kind, classes, and shape, dtype and bytes of every
        array.
        """
        digest = hashlib.sha256(f"{self.kind} {self.classes}".encode())
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            digest.update(f"{array.shape} {array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


# ---- Labels that are numbers

_USUAL_SPREAD = (0.1, 10.0)  # for which default step sizes are suitable


def require_numbers(data: Data) -> None:
    """Refuse labels that are not one or more numbers per example.

    Args:
        data: a data set whose `train_y` are floating-point numbers.

    Raises:
        LabError: with the array's name.
    """
    for name in ("train_y", "test_y"):
        y, told = getattr(data, name), f"{data.name}: {name}"
        if y.dtype.kind != "f":
            raise LabError(
                f"{told} is {y.dtype}, but train_y is {data.train_y.dtype}: both must "
                "be whole numbers (classes), or both floating-point (a regression)"
            )
        outputs = y.shape[1] if y.ndim == 2 else 1
        if y.ndim > 2 or outputs != data.classes:
            raise LabError(
                f"{told} has the shape {y.shape}: labels that are numbers must be "
                f"(examples,) or (examples, outputs), here with {data.classes} to an "
                "example (`classes`)"
            )
        if outputs > 1 and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
            raise LabError(
                f"{told} has the shape {y.shape} and a single 1 in each row: of labels "
                "in one-hot form take argmax(1)"
            )


def numbers(y: np.ndarray) -> np.ndarray:
    """The labels with an axis of outputs."""
    return y.reshape(len(y), -1)


def notes_of_numbers(data: Data) -> list[str]:
    """Notes for the reader of a regression; refuse labels that have no score.

    Args:
        data: the checked data set.

    Raises:
        LabError: for a label that is the same in the whole test set.
    """
    still = np.flatnonzero(data.test_y.var(axis=0) == 0)
    if still.size:
        place = f"test_y[:, {still[0]}]" if data.classes > 1 else "test_y"
        raise LabError(
            f"{data.name}: {place} is {data.test_y[0, still[0]]:g} for every example, "
            "so that there is no variance to explain: test on others"
        )
    told = ["labels are numbers: R² is the share of their variance that is explained"]
    if (data.train_y == np.round(data.train_y)).all():
        told.append(
            "train_y are whole numbers in a floating-point type: if they are classes, "
            "convert them with astype('int32')"
        )
    spread = float(data.train_y.std(axis=0).max())
    low, high = _USUAL_SPREAD
    if not low <= spread <= high:
        told.append(
            f"train_y has a standard deviation of {spread:.3g}: step sizes suit about "
            "1, so divide by it"
        )
    return told


# ---- Checks of every data set

UNLABELLED = -1  # a part of a sequence that has no label
# The readout has a row per class: with 128 hidden units, a million take 0.5 GB.
MOST_CLASSES = 1_000_000


def check(data: Data) -> Data:
    """Check a data set and convert its arrays to float32 and int32.

    Args:
        data: the data set, with any floating-point and integer types.

    Returns:
        The same data as float32 and int32; labels that are numbers have the shape
        `(examples, outputs)`.

    Raises:
        LabError: with the name of the array and the first invalid entry.

    Example:
        >>> import numpy as np
        >>> from apical.lab.data._dataset import Data
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
    """Notes on classes that have no training example."""
    shown, asked = (np.unique(y[y >= 0]) for y in (data.train_y, data.test_y))
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
    in_parts = data.kind == "sequences" and y.ndim == 2
    return x, _integers(y_name, y, data.classes, UNLABELLED if in_parts else 0)


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
    if kind == "sequences" and y.ndim == 2:
        return _check_parts(y_name, y, x_name, x)
    if kind != "characters" and y.ndim != 1:
        raise LabError(
            f"{y_name} has the shape {y.shape}: there must be one label for each "
            "example, a whole number; of labels in one-hot form take argmax(1). "
            "Labels that are numbers, for a regression, are floating-point"
        )


def _check_parts(y_name: str, y: np.ndarray, x_name: str, x: np.ndarray) -> None:
    """Check labels `(examples, parts)` of sequences."""
    time, parts = x.shape[1], y.shape[1]
    if time % parts:
        raise LabError(
            f"{y_name} has the shape {y.shape}, a label for each of {parts} parts, but "
            f"the {time} steps of {x_name} cannot be cut into {parts} of equal length"
        )
    without = (y == UNLABELLED).all(axis=1)
    if without.any():
        raise LabError(
            f"{y_name}[{without.argmax()}] is {UNLABELLED} everywhere: each example "
            "needs a label in at least one part"
        )


def _floats(name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        raise LabError(
            f"{name} is of the type {array.dtype}, but should be of floating-point "
            "numbers: convert it with astype('float32')"
        )
    with np.errstate(over="ignore"):  # overflow is refused below
        array = array.astype(np.float32, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        place = _first(~finite)
        raise LabError(
            f"{name}{place} is {array[tuple(place)]}: every entry must be a finite "
            "number of 32 bits"
        )
    return array


def _integers(
    name: str, array: np.ndarray, classes: int, lowest: int = 0
) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.integer):
        raise LabError(
            f"{name} is of the type {array.dtype}, but should be of whole numbers: "
            "convert it with astype('int32')"
        )
    bad = (array < lowest) | (array >= classes)
    if bad.any():
        place = _first(bad)
        none = f", or {UNLABELLED} for no label" if lowest else ""
        raise LabError(
            f"{name}{place} is {array[tuple(place)]}: it should be 0 to {classes - 1}, "
            f"as there are {classes} classes{none}"
        )
    return array.astype(np.int32, copy=False)


def _first(bad: np.ndarray) -> list[int]:
    """The index of the first true entry."""
    return [int(i) for i in np.unravel_index(bad.argmax(), bad.shape)]


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both parts as floats, standardised per channel over the training part.

    Args:
        train: bytes `(examples, channels, height, width)`.
        test: the same.
    """
    x, test_x = train.astype(np.float32), test.astype(np.float32)
    if not x.size:  # refused later by `check`
        return x, test_x
    mean = x.mean((0, 2, 3), keepdims=True)
    deviation = x.std((0, 2, 3), keepdims=True) + 1e-8
    for part in (x, test_x):  # in place: CIFAR-10 takes 600 MB
        part -= mean
        part /= deviation
    return x, test_x
