"""Nudging: inference with a small positive or negative weight of the loss, or both.

    E_b(v) = sum_n |e_n|^2 / 2 + b L

    positive   grads = dE_b / b
    negative   grads = dE_-b / -b
    centred    grads = (dE_b - dE_-b) / 2b

all at their equilibria; at b = 0 all errors are 0. As b -> 0 each equals
backpropagation; the error is O(b^2) for the centred one and O(b) for the others.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, final

import jax

from .._field_checks import check_choice, check_positive

_PULLS = {"positive": (1.0,), "negative": (-1.0,), "centred": (1.0, -1.0)}


class AbstractNudge(abc.ABC):
    """The weights of the loss during inference, and those of the resulting gradients.

    Inference runs once for each pull b, and the gradient is the sum of weight * dE_b.
    Subclass it as a frozen dataclass to write your own. It must be hashable, because it
    is a static field of the rule.

    Attributes:
      citation: the source, as BibTeX.

    Example:
      >>> from dataclasses import dataclass
      >>> import apical
      >>> from apical.rules.tools import AbstractNudge
      >>> @dataclass(frozen=True)
      ... class Repulsion(AbstractNudge):
      ...     @property
      ...     def pulls(self):
      ...         return (-0.1,)
      >>> Repulsion().weights
      (-10.0,)
    """

    citation: ClassVar[str] = ""

    @property
    @abc.abstractmethod
    def pulls(self) -> tuple[float, ...]:
        """The weight b of the loss in each run of inference: one or more, none 0."""

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of the gradient of each run: 1 / (number of runs * pull)."""
        return tuple(1 / (len(self.pulls) * pull) for pull in self.pulls)


@final
@dataclass(frozen=True)
class Nudge(AbstractNudge):
    """A small weight b of the loss: positive, negative, or both (centred).

    Args:
      strength: b above.
      kind: `"positive"`, `"negative"` or `"centred"` (two runs of inference).

    Example:
      >>> import apical
      >>> nudge = apical.rules.Nudge(0.1, "centred")
      >>> rule = apical.rules.PredictiveCoding(prediction="free", nudge=nudge)

    Source: Scellier et al. 2023, NeurIPS (for equilibrium propagation); Pinchetti et
    al. 2025, ICLR (for predictive coding).
    """

    strength: float = 0.1
    kind: str = "centred"

    citation: ClassVar[str] = (
        "@inproceedings{pinchetti2025benchmarking, title={Benchmarking Predictive"
        " Coding Networks -- Made Simple}, author={Pinchetti, Luca and Qi, Chang "
        "and Lokshyn, Oleh and others}, booktitle={ICLR}, year={2025}}"
    )

    def __post_init__(self) -> None:
        check_positive(self.strength, "strength")
        check_choice(self.kind, "kind", tuple(_PULLS))

    @property
    def pulls(self) -> tuple[float, ...]:
        """The weight of the loss in each run of inference."""
        return tuple(sign * self.strength for sign in _PULLS[self.kind])


def combined(
    nudge: AbstractNudge | None, grads: list[list[jax.Array]]
) -> list[jax.Array]:
    """The weighted sum of the gradients of all runs of inference."""
    if nudge is None:
        return grads[0]
    weights = nudge.weights

    def weighted(*of_runs: jax.Array) -> jax.Array:
        parts = [f * g for f, g in zip(weights, of_runs, strict=True)]
        # Keep the gradient's dtype: a strength may be wider.
        return sum(parts[1:], start=parts[0]).astype(of_runs[0].dtype)

    return [weighted(*g) for g in zip(*grads, strict=True)]
