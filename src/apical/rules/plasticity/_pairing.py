"""Pairings: which pre- and postsynaptic spikes count together, and how much.

    dw = f_plus(w) sum_t p_t q_t  -  f_minus(w) sum_t p'_t q'_t

A pairing gives the factors p (of the input) and q (of the unit) of both sums, from
their spikes; `bounds` gives f.

**One convention for all**: the synapse carries an input to its unit within the step, so
an input and a spike of the unit in the same step count as *pre before post* (at a time
difference of 0) and never as post before pre. The traces that potentiation reads hold
the input of the step itself; those that depression reads do not hold the unit's spike
of the step.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp

from .._base import rule, static
from .._field_checks import check_positive
from ._traces import Trace, trace


class Term(NamedTuple):
    """One sum over time of a factor of the input and a factor of the unit.

    Attributes:
      pre: `[steps, *input]`.
      post: `[steps, *node]`.
      potentiates: whether it is added, with the bounds of potentiation, or subtracted.
    """

    pre: jax.Array
    post: jax.Array
    potentiates: bool


class AbstractPairing(abc.ABC):
    """Which spikes count together: `STDP(pairing)` and `ThreeFactor(pairing, ...)`.

    Subclass it with `@apical.rules.rule`, so that its numbers are leaves, and write
    `start` and `terms`.

    Attributes:
      requires_spikes: whether activities must be 0 or 1, because a spike sets a trace.
      citation: the source, as BibTeX.

    Example:
      >>> import apical
      >>> from apical.rules.tools import AbstractPairing, Term
      >>> @apical.rules.rule
      ... class Coincidence(AbstractPairing):
      ...     amount: float = 1.0
      ...     def start(self, pre, post):
      ...         return ()
      ...     def terms(self, start, pre, post):
      ...         return start, (Term(pre, self.amount * post, True),)
      >>> rule = apical.rules.STDP(Coincidence(0.5))
    """

    requires_spikes: ClassVar[bool] = False
    citation: ClassVar[str] = ""

    @abc.abstractmethod
    def start(self, pre: jax.Array, post: jax.Array) -> Any:
        """The traces before the first step, from zeros like one step of each end."""

    @abc.abstractmethod
    def terms(
        self, start: Any, pre: jax.Array, post: jax.Array
    ) -> tuple[Any, tuple[Term, ...]]:
        """The traces after the last step, and the terms of the steps."""


class PairTraces(NamedTuple):
    """The traces of a pair rule after a step: of the input and of the unit."""

    pre: jax.Array
    post: jax.Array


BI_POO = (
    "@article{bi1998synaptic, title={Synaptic Modifications in Cultured Hippocampal "
    "Neurons: Dependence on Spike Timing, Synaptic Strength, and Postsynaptic Cell "
    "Type}, author={Bi, Guo-qiang and Poo, Mu-ming}, journal={Journal of Neuroscience},"
    " year={1998}}"
)
MORRISON = (
    "@article{morrison2008phenomenological, title={Phenomenological Models of Synaptic "
    "Plasticity Based on Spike Timing}, author={Morrison, Abigail and Diesmann, Markus "
    "and Gerstner, Wulfram}, journal={Biological Cybernetics}, year={2008}}"
)


class _Pairs(AbstractPairing):
    """Pairs of spikes, through one trace of each end."""

    a_plus: Any
    a_minus: Any
    tau_plus: Any
    tau_minus: Any

    def __post_init__(self) -> None:
        check_positive(self.tau_plus, "tau_plus")
        check_positive(self.tau_minus, "tau_minus")

    def start(self, pre: jax.Array, post: jax.Array) -> PairTraces:
        """Traces of 0."""
        return PairTraces(jnp.zeros_like(pre), jnp.zeros_like(post))

    def terms(self, start: Any, pre: jax.Array, post: jax.Array) -> Any:
        """Potentiation at a spike of the unit, depression at an input."""
        x, y = self._traces(start, pre, post)
        plus = Term(x.after, self.a_plus * post, potentiates=True)
        minus = Term(pre, self.a_minus * y.before, potentiates=False)
        return PairTraces(x.end, y.end), (plus, minus)

    @abc.abstractmethod
    def _traces(self, start: Any, pre: Any, post: Any) -> tuple[Trace, Trace]:
        """The traces of the input and of the unit."""


@final
@rule
class AllPairs(_Pairs):
    """Every pair of an input spike and a spike of the unit.

        dw = sum over pairs,  D = t_post - t_pre:
             + a_plus  exp(-D / tau_plus)      D >= 0
             - a_minus exp( D / tau_minus)     D < 0

    Args:
      a_plus: the change for a pair in one step (D = 0).
      a_minus: the size of the change as D goes to 0 from below.
      tau_plus: the time constant of potentiation, in steps of the loop.
      tau_minus: that of depression.

    Example:
      >>> import apical
      >>> rule = apical.rules.STDP(apical.rules.AllPairs(a_plus=0.01, a_minus=0.012))

    Source: Bi & Poo 1998 (the measured window); Morrison et al. 2008, section 4.1.1.
    """

    a_plus: float = 0.01
    a_minus: float = 0.012
    tau_plus: float = 20.0
    tau_minus: float = 20.0

    citation: ClassVar[str] = f"{BI_POO}\n{MORRISON}"

    def _traces(self, start: Any, pre: Any, post: Any) -> tuple[Trace, Trace]:
        x = trace(pre, self.tau_plus, start.pre)
        return x, trace(post, self.tau_minus, start.post)


@final
@rule
class NearestNeighbour(_Pairs):
    """Each spike with the last spike of the other end: *symmetric* nearest neighbours.

    A spike of the unit is paired with the last input at or before it, an input with the
    last spike of the unit before it:

        dw = sum_post a_plus exp(-D / tau_plus) - sum_pre a_minus exp(-D / tau_minus)

    with D the time since that last spike. One input may so be paired with several later
    spikes of the unit. This is the first of the three nearest-neighbour schemes of
    Morrison et al. 2008 (figure 7A). The other two (presynaptic centred, and reduced
    symmetric) pair each spike once only, and need a trace for each synapse.

    Inputs and units must be spikes, 0 or 1: a spike sets a trace to 1.

    Args:
      a_plus: the change for a pair in one step (D = 0).
      a_minus: the size of the change as D goes to 0 from below.
      tau_plus: the time constant of potentiation, in steps of the loop.
      tau_minus: that of depression.

    Example:
      >>> import apical
      >>> rule = apical.rules.STDP(apical.rules.NearestNeighbour(tau_plus=16.8))

    Source: Morrison et al. 2008, section 4.1.1 and figure 7A.
    """

    a_plus: float = 0.01
    a_minus: float = 0.012
    tau_plus: float = 20.0
    tau_minus: float = 20.0

    requires_spikes: ClassVar[bool] = True
    citation: ClassVar[str] = MORRISON

    def _traces(self, start: Any, pre: Any, post: Any) -> tuple[Trace, Trace]:
        x = trace(pre, self.tau_plus, start.pre, nearest=True)
        return x, trace(post, self.tau_minus, start.post, nearest=True)


@final
@rule
class PresynapticTrace(AbstractPairing):
    """The trace of the input, less an offset, read at each spike of the unit.

        dw = amount (x_t - offset)      at each spike of the unit
        x_t = exp(-1 / tau) x_{t-1} + s_t

    An input that was silent before the spike loses weight. With a rate in place of the
    trace this is competitive learning. `ThreeFactor(PresynapticTrace(), ...)` with a
    teaching signal for each unit and `at_spikes=False` multiplies the trace itself by
    the signal.

    Args:
      amount: the change per unit of the trace.
      tau: the time constant of the trace, in steps of the loop; 0: the input itself.
      offset: the trace at which nothing changes.
      at_spikes: whether the trace is read at spikes of the unit, or in every step.

    Example:
      >>> import apical
      >>> rule = apical.rules.STDP(apical.rules.PresynapticTrace(0.01, offset=0.4))

    Source: Diehl & Cook 2015, Frontiers in Computational Neuroscience, section 2.3.
    """

    amount: float = 0.01
    tau: float = 20.0
    offset: float = 0.0
    at_spikes: bool = static(default=True)

    citation: ClassVar[str] = (
        "@article{diehl2015unsupervised, title={Unsupervised Learning of Digit "
        "Recognition Using Spike-Timing-Dependent Plasticity}, author={Diehl, Peter U. "
        "and Cook, Matthew}, journal={Frontiers in Computational Neuroscience}, "
        "year={2015}}"
    )

    def __post_init__(self) -> None:
        check_positive(self.tau, "tau", or_zero=True)

    def start(self, pre: jax.Array, post: jax.Array) -> jax.Array:
        """A trace of 0."""
        del post
        return jnp.zeros_like(pre)

    def terms(self, start: Any, pre: jax.Array, post: jax.Array) -> Any:
        """Potentiation by the trace, depression by the offset."""
        x = trace(pre, self.tau, start)
        read = self.amount * (post if self.at_spikes else jnp.ones_like(post))
        plus = Term(x.after, read, potentiates=True)
        minus = Term(jnp.ones_like(pre) * self.offset, read, potentiates=False)
        return x.end, (plus, minus)
