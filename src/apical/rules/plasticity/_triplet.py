"""Triplets of spikes: potentiation and depression that depend on a third spike.

    r1, r2   traces of the input, o1, o2 of the unit
    at an input              w -= o1 (a2_minus + a3_minus r2)
    at a spike of the unit   w += r1 (a2_plus  + a3_plus  o2)

r2 and o2 are read before the spike of the step adds to them. Pfister & Gerstner 2006.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp

from .._base import rule, static
from .._field_checks import check_positive
from ._pairing import AbstractPairing, Term
from ._traces import trace


class TripletTraces(NamedTuple):
    """The four traces after a step."""

    r1: jax.Array
    r2: jax.Array
    o1: jax.Array
    o2: jax.Array


@final
@rule
class Triplet(AbstractPairing):
    """Pairs and triplets of spikes: the sign of the change depends on the rates too.

        at an input              w -= o1 (a2_minus + a3_minus r2)
        at a spike of the unit   w += r1 (a2_plus  + a3_plus  o2)

    r1 (`tau_plus`) and o1 (`tau_minus`) are the traces of a pair rule; the slow traces
    r2 (`tau_x`) and o2 (`tau_y`) make triplets pre-post-pre and post-pre-post. With
    `a3_plus = a3_minus = 0` this is `AllPairs`. r1 holds the input of the step itself;
    o1, r2 and o2 hold earlier steps only (the convention of all pairings).

    The fits of the source, with `tau_plus` 16.8 ms and `tau_minus` 33.7 ms, `tau_x` and
    `tau_y` in ms (one step is 1 ms by the defaults), amplitudes per pair:

    | fit                        | a2+     | a3+    | a2-    | a3-    | tau_x | tau_y |
    |----------------------------|---------|--------|--------|--------|-------|-------|
    | visual, all pairs          | 5e-10   | 6.2e-3 | 7e-3   | 2.3e-4 | 101   | 125   |
    | visual, all, minimal       | 0       | 6.5e-3 | 7.1e-3 | 0      | -     | 114   |
    | visual, nearest            | 8.8e-11 | 5.3e-2 | 6.6e-3 | 3.1e-3 | 714   | 40    |
    | visual, nearest, minimal   | 0       | 5e-2   | 8e-3   | 0      | -     | 40    |
    | hippocampus, all pairs     | 6.1e-3  | 6.7e-3 | 1.6e-3 | 1.4e-3 | 946   | 27    |
    | hippocampus, all, minimal  | 5.3e-3  | 8e-3   | 3.5e-3 | 0      | -     | 40    |

    (Tables 3 and 4 of the source, quoted from memory.) The defaults are the minimal fit
    to hippocampus.

    Args:
      a2_plus: potentiation by pairs.
      a3_plus: potentiation by triplets.
      a2_minus: depression by pairs.
      a3_minus: depression by triplets.
      tau_plus: the time constant of r1, in steps of the loop.
      tau_x: that of r2.
      tau_minus: that of o1.
      tau_y: that of o2.
      nearest: whether a spike sets the traces to 1 rather than adding 1 (then inputs
        and units must be 0 or 1).

    Example:
      >>> import apical
      >>> visual = apical.rules.Triplet(0.0, 6.5e-3, 7.1e-3, 0.0, tau_y=114.0)
      >>> rule = apical.rules.STDP(visual)

    Source: Pfister & Gerstner 2006, Journal of Neuroscience 26, equations 3 and 4.
    """

    a2_plus: float = 5.3e-3
    a3_plus: float = 8e-3
    a2_minus: float = 3.5e-3
    a3_minus: float = 0.0
    tau_plus: float = 16.8
    tau_x: float = 946.0
    tau_minus: float = 33.7
    tau_y: float = 40.0
    nearest: bool = static(default=False)

    citation: ClassVar[str] = (
        "@article{pfister2006triplets, title={Triplets of Spikes in a Model of Spike "
        "Timing-Dependent Plasticity}, author={Pfister, Jean-Pascal and Gerstner, "
        "Wulfram}, journal={Journal of Neuroscience}, year={2006}}"
    )

    def __post_init__(self) -> None:
        for name in ("tau_plus", "tau_x", "tau_minus", "tau_y"):
            check_positive(getattr(self, name), name)

    @property
    def requires_spikes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether activities must be 0 or 1."""
        return self.nearest

    def start(self, pre: jax.Array, post: jax.Array) -> TripletTraces:
        """Traces of 0."""
        x, y = jnp.zeros_like(pre), jnp.zeros_like(post)
        return TripletTraces(x, x, y, y)

    def terms(self, start: Any, pre: jax.Array, post: jax.Array) -> Any:
        """Potentiation at a spike of the unit, depression at an input."""
        r1, r2 = (
            trace(pre, tau, begun, nearest=self.nearest)
            for tau, begun in ((self.tau_plus, start.r1), (self.tau_x, start.r2))
        )
        o1, o2 = (
            trace(post, tau, begun, nearest=self.nearest)
            for tau, begun in ((self.tau_minus, start.o1), (self.tau_y, start.o2))
        )
        plus = post * (self.a2_plus + self.a3_plus * o2.before)
        minus = pre * (self.a2_minus + self.a3_minus * r2.before)
        terms = Term(r1.after, plus, True), Term(minus, o1.before, False)
        return TripletTraces(r1.end, r2.end, o1.end, o2.end), terms
