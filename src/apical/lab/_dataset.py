"""What a labelled set is: arrays in two parts."""

import hashlib
from typing import NamedTuple

import numpy as np

# The kinds of data, each with its axes.
KINDS = {
    "pictures": "(examples, channels, height, width)",
    "characters": "(examples, time)",
    "vectors": "(examples, features...)",
}


class Data(NamedTuple):
    """A labelled set in two parts, ready for training.

    Attributes:
        name: what it is called in records.
        kind: "pictures" `(examples, channels, height, width)`, "vectors"
            `(examples, features...)`, both float32, or "characters"
            `(examples, time)`, int32.
        train_x: the training part.
        train_y: its labels. Classes, int32 `(examples,)`; for characters the one that
            follows each, `(examples, time)`. Or numbers, float32 `(examples, outputs)`.
        test_x: the test part.
        test_y: its labels.
        classes: how many classes, symbols of the alphabet, or numbers in a label
            there are: the outputs of a model.
        note: what a reader of the results must know about the files.
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
        """The axes of `train_x` and of what a model is called on, in words."""
        return KINDS[self.kind]

    @property
    def has_numbers(self) -> bool:
        """Whether the labels are numbers, so that this is a regression."""
        y = self.train_y
        whole = self.kind == "characters" or not isinstance(y, np.ndarray)
        return not whole and bool(np.issubdtype(y.dtype, np.floating))

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell this set from any other.

        They are the head of a sha256 over kind, classes and every array's shape, type
        and bytes.
        """
        digest = hashlib.sha256(f"{self.kind} {self.classes}".encode())
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            digest.update(f"{array.shape} {array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]
