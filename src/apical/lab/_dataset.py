"""What a labelled set is: arrays in two parts."""

import hashlib
from typing import NamedTuple

import numpy as np

KINDS = ("pictures", "characters", "vectors")


class Data(NamedTuple):
    """A labelled set in two parts, ready for training.

    Attributes:
        name: what it is called in records.
        kind: "pictures" `(examples, channels, height, width)`, "vectors"
            `(examples, features...)`, both float32, or "characters"
            `(examples, time)`, int32.
        train_x: the training part.
        train_y: its labels, int32: `(examples,)`, or for characters the one that
            follows each, `(examples, time)`.
        test_x: the test part.
        test_y: its labels.
        classes: how many classes, or symbols of the alphabet, there are.
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
