"""The checks of labels that are numbers, and what is said of them."""

import numpy as np

from apical.lab._dataset import Data
from apical.lab._errors import LabError

_USUAL_SPREAD = (0.1, 10.0)  # what default step sizes suit


def require_numbers(data: Data) -> None:
    """Refuse labels that are not a number, or several, for each example.

    Args:
        data: a set whose `train_y` are floating-point numbers.

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
    """The labels with their axis of outputs."""
    return y.reshape(len(y), -1)


def notes_of_numbers(data: Data) -> list[str]:
    """What a reader must know of labels that are numbers; refuse what has no score.

    Args:
        data: the set, checked.

    Raises:
        LabError: a label that is the same for all of the test part.
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
