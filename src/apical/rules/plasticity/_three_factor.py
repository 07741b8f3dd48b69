"""Three-factor learning: an eligibility trace of two ends, times a third factor."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import Circuit, SynapseActivity
from .._base import Credit, SearchSpace, rule, static
from ._bounds import AbstractBounds, Unbounded
from ._homeostasis import AbstractHomeostasis, AbstractNormalisation
from ._pairing import AbstractPairing, AllPairs, Term
from ._synaptic_rule import SynapticRule, sums
from ._third_factor import AbstractThirdFactor, NegativeLoss
from ._traces import decay, later_sum


class EligibleTraces(NamedTuple):
    """The traces of one synapse after a step.

    Attributes:
      pairing: those of the pairing.
      eligibility: `[examples, *weight]`.
    """

    pairing: Any
    eligibility: jax.Array


@rule
class ThreeFactor(SynapticRule):
    """Keep what plasticity would have done in a trace, until a signal says its worth.

        e_t = exp(-1 / tau) e_{t-1} + h_t        h_t the change of step t by the pairing
        dw  = sum_t m_t e_t,                     grads = -dw

    m is the third factor: a reward less its baseline, or a teaching signal for each
    unit. With `AllPairs` or `Triplet` and `Reward` this is reward-modulated STDP. At
    `tau=0` only the change of the same step is credited: a constant reward in each step
    is then `STDP` times the reward. At `tau=math.inf` nothing is forgotten: one reward
    of 1 at the end of a call is `STDP`.

    Eligibilities are kept for each example, and only with `carry=` (memory: examples x
    weights); within a call the sum over time is taken the other way round, the factor
    summed over what follows each step. They hold the bounds' factors of the call in
    which the spikes occurred.

    Time, units, and what is not updated: as `STDP` says. State: `PlasticityState`.

    Args:
      pairing: what the two ends leave in the trace: `AllPairs`, `NearestNeighbour`,
        `Triplet`, `PresynapticTrace` or your own.
      factor: `Reward`, `NegativeLoss`, `TeachingSignal` or your own.
      tau: the time constant of the eligibility, in steps of the loop; 0 and infinity
        are allowed.
      bounds: as of `STDP`.
      homeostasis: as of `STDP`.
      normalisation: as of `STDP`.
      synapses: as of `STDP`.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     def step(v, x):
      ...         v = 0.9 * v + x @ w
      ...         z = apical.node(jax.nn.sigmoid(20 * (v - 1)), "spikes")
      ...         return v - z, z
      ...     _, z = jax.lax.scan(step, jnp.zeros((3, 4)), x)
      ...     return jnp.mean(z), {"reward": jnp.mean(z, axis=(0, 2))}
      >>> w, x = jnp.full((2, 4), 0.5), jnp.ones((5, 3, 2))
      >>> rule = apical.rules.ThreeFactor(factor=apical.rules.Reward("reward"))
      >>> learner = apical.value_and_grad(loss_fn, rule, has_aux=True, batch_axes=1)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> credit = learner(w, state, x)
      >>> credit.grads.shape, float(credit.state.factor) > 0
      ((2, 4), True)

    Raises:
      ValueError: in `init`, as `STDP`; for a reward that `aux` does not hold or of
        another shape; for a teaching signal at a convolution with `carry=`.

    Source: Izhikevich 2007, Cerebral Cortex; Frémaux & Gerstner 2016, Frontiers in
    Neural Circuits.
    """

    pairing: AbstractPairing = AllPairs()
    factor: AbstractThirdFactor = NegativeLoss()
    tau: float = 200.0
    bounds: AbstractBounds = Unbounded()
    homeostasis: AbstractHomeostasis | None = None
    normalisation: AbstractNormalisation | None = None
    synapses: tuple[str, ...] | None = static(default=None)

    search_space: ClassVar[SearchSpace] = {"tau": (1.0, 1000.0, "log")}

    def __post_init__(self) -> None:
        self.check_parts()
        if isinstance(self.factor, (type, str)):
            raise TypeError(
                "`factor` must be an `AbstractThirdFactor`, as `Reward('reward')`, not "
                f"{self.factor!r}."
            )
        if isinstance(self.tau, (int, float)) and not self.tau >= 0:
            raise ValueError(f"`tau` must be a number of at least 0, not {self.tau!r}.")

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the third factor."""
        return tuple(self.factor.needs)

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The sources of the parts."""
        return self.parts_citation(self.factor)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Traces of 0, and the first state of the third factor."""
        state = super().init(circuit, key, params, args)
        if self.factor.for_each_unit and circuit.spec.carry is not None:
            for synapse in self.activity(circuit, params, args).synapses:
                _require_one_use(synapse)
        return state._replace(factor=self.factor.start(circuit, key, params, args))

    def begun(self, synapse: SynapseActivity) -> EligibleTraces:
        """Traces and eligibilities of 0."""
        shape = (synapse.examples, *synapse.weight.shape)
        eligible = jnp.zeros(shape, synapse.weight.dtype)
        return EligibleTraces(super().begun(synapse), eligible)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The change of each weight by its eligibility and the third factor."""
        found = self.activity(circuit, params, args)
        factor, signals = self.factor.factors(
            circuit, params, state.factor, args, found
        )
        streams = circuit.spec.carry is not None
        changes: list[jax.Array] = []
        traces = []
        every = zip(
            found.synapses, signals, self.starts(circuit, state, found), strict=True
        )
        for synapse, signal, start in every:
            end, terms = self.pairing.terms(start.pairing, synapse.pre, synapse.post)
            signal = jax.lax.stop_gradient(signal).astype(synapse.post.dtype)
            kept = decay(self.tau).astype(signal.dtype)
            worth = self._at_units(synapse, later_sum(signal, kept))
            weighted = [Term(t.pre, t.post * worth, t.potentiates) for t in terms]
            change = self.bounded(synapse, sums(synapse, weighted))
            if streams:
                older = self._for_each(synapse, kept * later_sum(signal, kept)[:1])
                change = change + jnp.sum(older * start.eligibility, axis=0)
                eligible = self._eligibility(synapse, start.eligibility, terms, kept)
                traces.append(EligibleTraces(end, eligible))
            changes.append(change)
        return self.finished(circuit, state, found, changes, traces, factor)

    def _at_units(self, synapse: SynapseActivity, signal: jax.Array) -> jax.Array:
        """A signal, broadcastable to the units of a synapse in each step."""
        if self.factor.for_each_unit:
            return signal
        return synapse.along_examples(signal)

    def _for_each(self, synapse: SynapseActivity, signal: jax.Array) -> jax.Array:
        """The signal of one step, `[examples, *broadcastable to the weight]`."""
        if self.factor.for_each_unit:
            return synapse.unit_means_of_each(signal)[0]
        rest = (1,) * synapse.weight.ndim
        return signal.reshape(-1, *rest)

    def _eligibility(
        self,
        synapse: SynapseActivity,
        start: jax.Array,
        terms: tuple[Term, ...],
        kept: jax.Array,
    ) -> jax.Array:
        """The eligibility after the last step."""
        steps = synapse.post.shape[0]
        ages = jnp.arange(steps - 1, -1, -1)
        left = synapse.along_examples(
            jnp.where(ages == 0, 1.0, kept ** jnp.maximum(ages, 1))
        )
        parts: list[Any] = [0.0, 0.0]
        for term in terms:
            aged = term.post * left.astype(term.post.dtype)
            more = synapse.product_of_each(term.pre, aged)
            parts[not term.potentiates] = parts[not term.potentiates] + more
        return kept**steps * start + self.bounded(synapse, parts)


def _require_one_use(synapse: SynapseActivity) -> None:
    if not synapse.used_once:
        raise ValueError(
            f"The weight of synapse {synapse.name!r} is used at several positions in "
            "each step, so its eligibility belongs to no one unit, and a teaching "
            "signal for each unit cannot meet it in a later call: leave `carry=` out, "
            "or use a reward."
        )
