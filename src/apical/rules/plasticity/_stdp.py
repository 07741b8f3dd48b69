"""Spike-timing-dependent plasticity: a weight changes by when its two ends spike."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from ...circuit import Circuit
from .._base import Credit, SearchSpace, rule, static
from ._bounds import AbstractBounds, Unbounded
from ._homeostasis import AbstractHomeostasis, AbstractNormalisation
from ._pairing import AbstractPairing, AllPairs
from ._synaptic_rule import SynapticRule, sums


@rule
class STDP(SynapticRule):
    """Change each weight by the times of the spikes at its two ends; no loss is used.

        dw = f_plus(w) sum_t p_t q_t  -  f_minus(w) sum_t p'_t q'_t,      grads = -dw

    with the factors p, q of `pairing` and f of `bounds`; the mean over the examples (or
    the sum, as `reduction=` says). The input of a synapse is what it reads in a step;
    its unit is the node that its output drives within the step (the spikes that enter
    the next synapse, or those marked by `apical.node`). On a convolution the update is
    that of a dense layer on patches. It is defined on the effective weight, and pulled
    to the parameter through the linear map between them (a reshape, a mask, a scale).

    The loss function says which network runs: `credit.value` is its loss, which the
    update does not read. Spikes need a derivative all the same (any surrogate), because
    the circuit is what the loss is differentiated through.

    **Time.** The steps are those of the `lax.scan` in the loss function. Without
    `carry=` each call is a sequence of its own and begins with traces of 0. With
    `carry=` calls are windows of one sequence, of one step or more: traces continue in
    the state, and windows joined give the update of the whole (with weights that stay;
    each call reads its weights once, for `bounds`). A loss without a scan is then one
    step. `learner.reset` sets the traces back to 0.

    **What is not updated.** Parameters that belong to no synapse (biases, thresholds)
    get zeros; `credit.info.not_updated` and `rule.not_updated(circuit)` list them.

    State: `PlasticityState`.

    Args:
      pairing: `AllPairs`, `NearestNeighbour`, `Triplet`, `PresynapticTrace` or your
        own.
      bounds: `Unbounded`, `AdditiveBounds`, `MultiplicativeBounds` or your own.
      homeostasis: `SynapticScaling` or your own; None: none.
      normalisation: `SubtractiveNormalisation`, `DivisiveNormalisation` or your own;
        None: none.
      synapses: the names of the synapses that are updated, as in `print(circuit)`;
        None: every one.

    Example:
      >>> import jax, jax.numpy as jnp, apical
      >>> def loss_fn(w, x):
      ...     def step(v, x):
      ...         v = 0.9 * v + x @ w
      ...         z = apical.node(jax.nn.sigmoid(20 * (v - 1)), "spikes")
      ...         return v - z, z
      ...     _, z = jax.lax.scan(step, jnp.zeros((3, 4)), x)
      ...     return jnp.mean(z)
      >>> w, x = jnp.full((2, 4), 0.5), jnp.ones((5, 3, 2))
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.STDP(), batch_axes=1)
      >>> state = learner.init(jax.random.key(0), w, x)
      >>> credit = learner(w, state, x)
      >>> credit.grads.shape, bool(jnp.all(credit.grads < 0))
      ((2, 4), True)

    Raises:
      ValueError: in `init`, for a synapse outside of every loop (without `carry=`), for
        one whose unit cannot be told, and for an effective weight that is not linear in
        the parameters.

    Source: Bi & Poo 1998; Morrison et al. 2008; and those of the parts.
    """

    pairing: AbstractPairing = AllPairs()
    bounds: AbstractBounds = Unbounded()
    homeostasis: AbstractHomeostasis | None = None
    normalisation: AbstractNormalisation | None = None
    synapses: tuple[str, ...] | None = static(default=None)

    search_space: ClassVar[SearchSpace] = {}

    def __post_init__(self) -> None:
        self.check_parts()

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The sources of the parts."""
        return self.parts_citation()

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The change of each weight by its pairs of spikes."""
        found = self.activity(circuit, params, args)
        changes: list[jax.Array] = []
        traces = []
        for synapse, start in zip(
            found.synapses, self.starts(circuit, state, found), strict=True
        ):
            end, terms = self.pairing.terms(start, synapse.pre, synapse.post)
            traces.append(end)
            changes.append(self.bounded(synapse, sums(synapse, terms)))
        return self.finished(circuit, state, found, changes, traces, state.factor)
