"""What `STDP` and `ThreeFactor` share: traces in the state, parts, and the pull.

A call reads the ends of every synapse in time, asks the rule for the change of each
effective weight, adds homeostasis and normalisation, and pulls the result to the
parameters. Directions are to be *descended*: grads = -dw.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ...circuit import (
    Circuit,
    Synapse,
    SynapseActivity,
    SynapticActivity,
    at_path,
    carry_of,
    mean_over_devices,
    require_linear_weights,
    require_same_carry,
    synapse_activity,
)
from .._base import Credit, Rule, cited, rule, static
from ._bounds import AbstractBounds
from ._homeostasis import AbstractHomeostasis, AbstractNormalisation
from ._pairing import AbstractPairing, Term

NO_LOSS = "nothing"
_MISSING = "The carry is looked for in `aux` at {key!r}, and is not there"


class PlasticityState(NamedTuple):
    """The state of a plasticity rule.

    Attributes:
      traces: for each synapse those of the pairing (and eligibilities); `()` without
        `carry=`, where every call begins with zeros.
      rates: for each synapse the state of homeostasis; `()` without it.
      factor: the state of the third factor (a baseline); `()` for `STDP`.
    """

    traces: Any
    rates: Any
    factor: Any


@rule
class PlasticityInfo:
    """Diagnostics of a plasticity rule.

    Attributes:
      not_updated: the parameters whose direction is 0 because they belong to no synapse
        that the rule updates (biases, gains, time constants; synapses left out by
        `synapses=`), by name.
      input_rates: for each synapse the mean of its input.
      unit_rates: for each synapse the mean of the node that it drives.
    """

    not_updated: tuple[str, ...] = static(default=())
    input_rates: Any = ()
    unit_rates: Any = ()


class SynapticRule(Rule):
    """A rule that learns from the two ends of each synapse.

    Subclasses have the fields `pairing`, `bounds`, `homeostasis`, `normalisation` and
    `synapses`.
    """

    pairing: Any
    bounds: Any
    homeostasis: Any
    normalisation: Any
    synapses: Any

    descends: ClassVar[str] = NO_LOSS

    @property
    def _name(self) -> str:
        return type(self).__name__

    def check_parts(self) -> None:
        """Refuse parts of the wrong kind."""
        _require_part(self.pairing, AbstractPairing, "pairing")
        _require_part(self.bounds, AbstractBounds, "bounds")
        for name, kind in (
            ("homeostasis", AbstractHomeostasis),
            ("normalisation", AbstractNormalisation),
        ):
            if getattr(self, name) is not None:
                _require_part(getattr(self, name), kind, name)
        check_names(self.synapses)

    # ---- The change of one synapse: what subclasses write.

    def begun(self, synapse: SynapseActivity) -> Any:
        """The traces of one synapse before the first step."""
        return self.pairing.start(
            jnp.zeros_like(synapse.pre[0]), jnp.zeros_like(synapse.post[0])
        )

    # ---- The protocol.

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the ends of every synapse; traces of 0."""
        del key
        asked: Any = {"names": self.synapses, "rule": self._name}
        require_linear_weights(circuit, params, args, **asked)
        found = self.activity(circuit, params, args)
        self._require_time(circuit, found)
        require_carry(circuit, args, found.aux, self._name)
        return PlasticityState(
            self._traces(circuit, found), self._first_rates(found), ()
        )

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """Traces of 0, for a new batch; rates and baselines stay."""
        found = self.activity(circuit, params, args)
        return state._replace(traces=self._traces(circuit, found))

    def activity(self, circuit: Circuit, params: Any, args: Any) -> SynapticActivity:
        """One evaluation, seen from the synapses."""
        return synapse_activity(
            circuit, params, args, names=self.synapses, rule=self._name
        )

    def not_updated(self, circuit: Circuit) -> tuple[str, ...]:
        """The names of the learned parameters whose direction is always 0."""
        chosen = (
            s
            for s in circuit.synapses
            if self.synapses is None or s.name in self.synapses
        )
        return names_without(circuit, leaves_of(chosen))

    def _require_time(self, circuit: Circuit, found: SynapticActivity) -> None:
        if not found.synapses:
            raise ValueError(
                f"{self._name} updates synapses, and the loss function has none."
            )
        for synapse in found.synapses:
            if not synapse.timed and circuit.spec.carry is None:
                raise ValueError(
                    f"{self._name} learns from spikes in time, and the synapse "
                    f"{synapse.name!r} stands in no loop over time. Let `loss_fn` run "
                    "over the steps by `jax.lax.scan`; or, if each call is one step of "
                    "a sequence, pass `carry=`: the position of the state among the "
                    "arguments, and where `aux` holds the next one."
                )

    def _traces(self, circuit: Circuit, found: SynapticActivity) -> Any:
        if circuit.spec.carry is None:
            return ()
        return tuple(map(self.begun, found.synapses))

    def starts(self, circuit: Circuit, state: Any, found: SynapticActivity) -> Any:
        """The traces of each synapse before the first step of this call."""
        if circuit.spec.carry is None:
            return tuple(map(self.begun, found.synapses))
        return state.traces

    def _first_rates(self, found: SynapticActivity) -> Any:
        if self.homeostasis is None:
            return ()
        return tuple(
            self.homeostasis.start(jnp.zeros_like(s.unit_means(s.post[:1])[0]))
            for s in found.synapses
        )

    # ---- From the changes of weights to a credit.

    def bounded(self, synapse: SynapseActivity, sums: Sequence[Any]) -> jax.Array:
        """The change of a weight from its potentiation and its depression."""
        plus, minus = self.bounds.factors(synapse.weight)
        return plus * sums[0] - minus * sums[1]

    def finished(
        self,
        circuit: Circuit,
        state: Any,
        found: SynapticActivity,
        changes: Iterable[jax.Array],
        traces: Any,
        factor: Any,
    ) -> Credit:
        """The credit, from the change of each weight summed over the examples."""
        rates, updates = [], []
        share = 1 / circuit.scale
        for i, (synapse, change) in enumerate(
            zip(found.synapses, changes, strict=True)
        ):
            mean = change / synapse.examples
            if self.homeostasis is not None:
                rate, more = self.homeostasis.change(state.rates[i], synapse)
                rates.append(rate)
                mean = mean + more
            if self.normalisation is not None:
                mean = self.normalisation.constrain(synapse, mean)
            updates.append(-(synapse.examples * share) * mean)
        kept = () if circuit.spec.carry is None else tuple(traces)
        info = info_of(found, self.not_updated(circuit))
        after = PlasticityState(kept, tuple(rates), factor)
        return Credit(found.loss, found.aux, found.pull(updates), after, info)

    def descended(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """There is no such loss."""
        del circuit, params, state, args
        raise no_descent(self._name)

    def parts_citation(self, *more: Any) -> str:
        """The sources of the parts."""
        return cited(
            *more, self.pairing, self.bounds, self.homeostasis, self.normalisation
        )


# ---- Pieces that the other rules on the ends of synapses share.


def check_names(synapses: Any) -> None:
    """Refuse a single name in place of a tuple of them."""
    if isinstance(synapses, str):
        raise ValueError(
            f"`synapses` must be a tuple of names: `synapses=({synapses!r},)`."
        )


def leaves_of(synapses: Iterable[Synapse]) -> set[int]:
    """The positions of the leaves that make the weights of synapses."""
    return {leaf for s in synapses for leaf in s.leaves}


def names_without(circuit: Circuit, leaves: Collection[int]) -> tuple[str, ...]:
    """The names of the learned parameters, without those at these positions."""
    names = circuit.leaves.names
    return tuple(name for i, name in enumerate(names) if i not in leaves)


def info_of(found: SynapticActivity, not_updated: tuple[str, ...]) -> PlasticityInfo:
    """The diagnostics of one evaluation."""
    return PlasticityInfo(
        not_updated,
        tuple(mean_over_devices(jnp.mean(s.pre)) for s in found.synapses),
        tuple(mean_over_devices(jnp.mean(s.post)) for s in found.synapses),
    )


def no_descent(name: str) -> ValueError:
    """The error of a rule that descends no loss where its loss is asked for."""
    return ValueError(
        f"{name} descends no loss, so its update has no gradient to be compared with."
    )


def require_carry(circuit: Circuit, args: Any, aux: Any, name: str) -> None:
    """Require of a stream that a call returns the state that the next begins with."""
    if circuit.spec.carry is None:
        return
    position, path = carry_of(circuit.spec, args, name)
    ended = at_path(aux, path, _MISSING)
    require_same_carry(args[position], ended, position, path, dtypes=False)


_PARTS = (AbstractPairing, AbstractBounds, AbstractHomeostasis, AbstractNormalisation)


def sums(synapse: SynapseActivity, terms: Sequence[Term]) -> list[Any]:
    """The sums over time of the terms: of potentiation and of depression."""
    found: list[Any] = [0.0, 0.0]
    for term in terms:
        product = synapse.product(term.pre, term.post)
        found[not term.potentiates] = found[not term.potentiates] + product
    return found


def _require_part(given: Any, kind: type, name: str) -> None:
    # To compare tree structures, JAX builds rules with other values in place of parts.
    wrong = isinstance(given, (type, str, int, float, *_PARTS))
    if wrong and not isinstance(given, (bool, kind)):
        hint = f": call it, `{given.__name__}()`" if isinstance(given, type) else ""
        raise TypeError(f"`{name}` must be an `{kind.__name__}`, not {given!r}{hint}.")
