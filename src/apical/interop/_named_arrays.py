"""Checks of arrays that are given by the names of a model's own."""

from collections.abc import Iterable
from typing import Any


def require_names(
    there: Iterable[str], given: Iterable[str], what: str, of: str
) -> None:
    """Refuse names that are not those of a model.

    Args:
      there: the names in the model.
      given: the names that were given.
      what: the argument that they were given as, for the message.
      of: what has the names: the model, the module.
    """
    there, given = set(there), set(given)
    if there != given:
        missing = sorted(there - given) or "none"
        unknown = sorted(given - there) or "none"
        raise ValueError(
            f"{what} must have the names of the {of}: missing are {missing}, unknown "
            f"are {unknown}."
        )


def require_shape(name: str, there: Any, given: Any, of: str) -> None:
    """Refuse an array that does not fit what it is to be written to."""
    if tuple(there.shape) != given.shape:
        raise ValueError(
            f"{name} has the shape {tuple(there.shape)} in the {of}, and "
            f"{given.shape} in what is written to it."
        )
