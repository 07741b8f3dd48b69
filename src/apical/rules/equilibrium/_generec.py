"""GeneRec: presynaptic activity times the change of postsynaptic activity.

    dw_ij = x-_i (y+_j - y-_j)

with - the free (expectation) phase and + the phase with the output clamped (outcome).
The error is not a separate signal: it is the change of a unit's activity. With the mean
of both phases in place of x-_i, and the updates of both directions of a symmetric
weight summed, it is contrastive Hebbian learning; with only one of the two it is not.
O'Reilly 1996.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from .._base import SearchSpace, rule, static
from ._phases import ClampedNetwork, Phases


@rule
class GeneRec(ClampedNetwork):
    """Multiply presynaptic activity by the change when the output is clamped.

        dtheta = -sum_n c_n <s+_n - s-_n, dz_n/dtheta(s-)>                    (plain)
        midpoint:   dz_n/dtheta at (s- + s+) / 2 in place of s-
        symmetric:  plus the update of the other direction of each weight,
                    -sum_n c_n (<s-_n, dz_n/dtheta(s+)> - <s-_n, dz_n/dtheta(s-)>)
                    (with midpoint: <(s- + s+)_n / 2, ...> in place of <s-_n, ...>)

    Drives and feedback use the same weights, which therefore stay symmetric; the plain
    rule applies the update of the forward direction alone. With `midpoint` and
    `symmetric` this is `ContrastiveHebbian`, whose notes on the output, the gain and
    the loss apply here too.

    Args:
      midpoint: whether the sender's activity is the mean of both phases.
      symmetric: whether the updates of both directions are summed.
      gain: the strength of feedback.
      free_steps: steps from zeros to the free state. None: 30, or twice the longest
        path of nodes if that is more.
      clamped_steps: steps from there to the clamped state. None: 20, or twice the
        longest path of nodes if that is more.
      rate: the size of a step: at 1 a unit takes its new value, and may oscillate; less
        damps.

    Example:
      >>> import apical
      >>> rule = apical.rules.GeneRec(midpoint=True, symmetric=True)

    Raises:
      ValueError: as `ContrastiveHebbian`.

    Source: O'Reilly 1996, Neural Computation 8(5).
    """

    gain: float = 0.1
    midpoint: bool = static(default=False)
    symmetric: bool = static(default=False)
    free_steps: int | None = static(default=None)
    clamped_steps: int | None = static(default=None)
    rate: float = 0.5

    citation: ClassVar[str] = (
        "@article{oreilly1996biologically, title={Biologically Plausible Error-Driven "
        "Learning Using Local Activation Differences: The Generalized Recirculation "
        "Algorithm}, author={O'Reilly, Randall C.}, journal={Neural Computation}, "
        "volume={8}, number={5}, year={1996}}"
    )
    needs: ClassVar[tuple[str, ...]] = (
        "weight transport",
        "separate phases",
        "stored activities",
        "update locking",
    )
    search_space: ClassVar[SearchSpace] = {"gain": (0.01, 1.0, "log")}

    def objective(self, learned: Any, phases: Phases) -> Any:
        """The product of the activity in one phase and its change to the other."""
        units, linear = phases.units, phases.units.with_output
        states = [phases.free.values, phases.clamped.values]
        # An output that is not a node takes part as one more unit.
        minus, plus = zip(states, phases.outputs, strict=True)
        change = jax.tree.map(lambda a, b: b - a, minus, plus)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, minus, plus)
        before = mean if self.midpoint else minus

        def product(at: Any, sent: Any) -> Any:
            output = sent[1] if linear else None
            return units.product(learned, at[0], units.scaled(sent[0]), output=output)

        forward = -product(before, change)
        if not self.symmetric:
            return forward
        return forward - product(plus, before) + product(minus, before)
