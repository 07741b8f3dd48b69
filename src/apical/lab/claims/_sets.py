"""What the data sets of claims are called where a person reads it."""

from collections.abc import Sequence
from typing import Any

NAMES = {
    "digits": "8 x 8 digits",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "shakespeare": "Shakespeare",
}


def set_of(lines: Sequence[dict[str, Any]]) -> str:
    """The names of the sets that lines were measured on.

    Example:
        >>> set_of([{"data": "mnist"}, {"data": "mnist"}, {"error": 0.1}])
        'MNIST'
    """
    names = dict.fromkeys(str(line["data"]) for line in lines if line.get("data"))
    return ", ".join(NAMES.get(name, name) for name in names) or "no data"


def data_told(names: Sequence[str]) -> str:
    """In words, which sets the full form of a claim is run on, and which the others."""
    if not names:
        return "None is read from files: graphs and inputs are drawn at random."
    full, small = (
        dict.fromkeys(NAMES[n] for n in names),
        dict.fromkeys(
            "a line of Hamlet" if n == "shakespeare" else f"the {NAMES['digits']}"
            for n in names
        ),
    )
    said = f"{' and '.join(full)}. The quick and the smoke form take"
    return f"{said} {' and '.join(small)} instead."
