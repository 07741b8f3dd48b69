"""What the claims about signs have in common: data, nets, budget.

Three hidden layers, so that a teaching signal passes three synapses: what is wrong with
one of them adds up. Fully connected, because an hour on two cores trains each of some
sixty settings 21 times that way, and a convolutional net one of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from apical import rules
from apical.lab._control import UntrainedHiddenLayers
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.claims._claim import Scale, Task
from apical.lab.claims._comparison import comparison
from apical.lab.claims._dense import normed, plain
from apical.lab.claims._given import vectors
from apical.lab.claims._size import Size

NETS: dict[str, Callable[..., Any]] = {"with batch norm": normed, "plain": plain}
MARGIN = 0.5  # points: Fashion-MNIST is like MNIST

SOURCE = (
    "Liao, Leibo & Poggio 2016, How Important Is Weight Symmetry in Backpropagation?, "
    "AAAI"
)


SIZES: dict[Scale, Size] = {
    "full": Size("fashion-mnist", 20_000, None, 128, 4, 5, 16),
    # Their step sizes are for batch Manhattan with momentum.
    "quick": Size("digits", None, None, 32, 6, 5, 0, 0.001),
    "smoke": Size("digits", 320, 160, 16, 1, 2, 0, 0.001),
}


def batch_size(size: Size) -> int:
    """Of the examples: the digits are few."""
    return 100 if size.data != "digits" else 20


def baseline_and_control() -> dict[str, rules.Rule]:
    """What stands beside every rule."""
    return {BASELINE: rules.Backpropagation(), CONTROL: UntrainedHiddenLayers()}


def trained(
    name: str,
    size: Size,
    taught: dict[str, rules.Rule],
    nets: tuple[str, ...] = tuple(NETS),
    said: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Task:
    """A task that trains these nets with these rules.

    Args:
        name: of the task; every line has it as `task`.
        size: how much is run.
        taught: the rules by name.
        nets: which of `NETS`.
        said: more columns of every line.
        arguments: of `compare`, in place of those of the size.
    """

    def given() -> dict[str, Any]:
        widths = (size.width,) * 3
        return {
            "models": {net: NETS[net](*widths) for net in nets},
            "rules": taught,
            "batch_size": batch_size(size),
            **size.arguments,
            **arguments,
        }

    data = vectors(size.data, size.trained, size.tested)
    return comparison(name, given, data, **(said or {}))
