"""Nudging: the loss pulls weakly, towards the target, away from it, or both in turn.

    E_b(v) = sum_n |e_n|^2 / 2 + b L

    positive   grads = dE_b / b
    negative   grads = dE_-b / -b
    centred    grads = (dE_b - dE_-b) / 2b

all at their equilibria; at b = 0 there are no errors. As b -> 0 each is
backpropagation; the centred one errs by b^2, the others by b.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, final

from .._field_checks import check_choice, check_positive

_PULLS = {"positive": (1.0,), "negative": (-1.0,), "centred": (1.0, -1.0)}


class AbstractNudge(abc.ABC):
    """How strongly the loss pulls, and how gradients are read from what settles.

    Inference settles once for each pull b, and the gradient is the sum of
    weight * dE_b. Subclass it as a frozen dataclass to write another one: it must have
    a hash, since it is part of the rule's type.

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
        """The pull of the loss in each settling: at least one, none of them 0."""

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each settling's gradient: 1 / (settlings * pull)."""
        return tuple(1 / (len(self.pulls) * pull) for pull in self.pulls)


@final
@dataclass(frozen=True)
class Nudge(AbstractNudge):
    """A loss that pulls weakly: towards the target, away from it, or both in turn.

    Args:
      strength: b above.
      kind: `"positive"`, `"negative"` or `"centred"` (two settlings).

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
        """The pull of the loss in each settling."""
        return tuple(sign * self.strength for sign in _PULLS[self.kind])
