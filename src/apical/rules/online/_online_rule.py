"""The base of rules whose eligibility traces follow units forwards in time.

    dL/dW = sum over t [ direct_t + lambda_t . e_{t-1} ]
    e_t   = D_t e_{t-1} + d(states_t)/d(drive) . input_t

`direct_t` and `lambda_t` are the derivatives of what step t contributes to the loss,
with respect to the weights and the states before the step. What a recurrent synapse
passes back in time is what tells these rules apart. Within a step, signals pass back
through the weights or through other ones: `feedback`.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, NamedTuple

import jax
import optax

from ...circuit import (
    Circuit,
    Decays,
    FactorTraces,
    Loop,
    MixedUnitsError,
    Traces,
    at_path,
    carry_of,
    require_same_carry,
)
from .._base import Credit, Rule, cited, rule, static
from .._field_checks import check_positive, check_whole
from ..feedback import FeedbackAlignment, KolenPollack
from ..feedback._backward_path import BackwardPathRule
from ..feedback._direct_projection import DirectProjectionRule
from ..feedback._feedback_weights import through_feedback
from ..local_objectives import LocalLosses
from ._step_signals import require_same_steps

_FEEDBACK = {"random": FeedbackAlignment, "adaptive": KolenPollack}
_AT_NODES = DirectProjectionRule, LocalLosses
_KAISER = (
    "@article{kaiser2020synaptic, title={Synaptic Plasticity Dynamics for Deep "
    "Continuous Local Learning (DECOLLE)}, author={Kaiser, Jacques and Mostafa, "
    "Hesham and Neftci, Emre}, journal={Frontiers in Neuroscience}, volume={14}, "
    "year={2020}}"
)
# Needs of a rule that sends signals to nodes, which it does not have within a step.
_BETWEEN_PHASES = frozenset({"separate phases", "stored activities"})


class OnlineState(NamedTuple):
    """The state of an online rule.

    Attributes:
      feedback: the state of the rule that finds the credit within a step.
      traces: the eligibility traces of each loop; empty without `carry=`.
    """

    feedback: Any
    traces: tuple[Traces | FactorTraces, ...]


@rule
class OnlineRule(Rule):
    """A rule with eligibility traces; subclasses say what recurrent synapses pass."""

    feedback: Any = None
    chunk: int = static(default=32)
    memory_limit: float = static(default=4e9)

    passes: ClassVar[str] = "nothing"
    source: ClassVar[str] = ""  # the rule's own paper, as BibTeX
    through_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        name = type(self).__name__
        if isinstance(self.feedback, str):
            if self.feedback not in ("symmetric", *_FEEDBACK):
                raise ValueError(
                    f"`feedback` must be 'symmetric', 'random', 'adaptive' or a rule "
                    f"of `apical.rules`, not {self.feedback!r}."
                )
            made = _FEEDBACK.get(self.feedback, lambda: None)()
            object.__setattr__(self, "feedback", made)
        if isinstance(self.feedback, type):
            raise TypeError(
                f"`feedback` must be a rule, not a class: `{self.feedback.__name__}()`."
            )
        known = isinstance(self.feedback, (BackwardPathRule, *_AT_NODES))
        if isinstance(self.feedback, (Rule, int, float)) and not (
            known or isinstance(self.feedback, bool)  # as JAX builds empty trees
        ):
            raise ValueError(
                f"`feedback` of {name} must be 'symmetric', 'random', 'adaptive', a "
                "rule with another backward path (FeedbackAlignment, SignConcordance, "
                "KolenPollack, WeightMirror), or one that sends signals to nodes "
                "(DirectFeedbackAlignment, DirectRandomTargetProjection, LocalLosses), "
                f"not {type(self.feedback).__name__}."
            )
        given = self.feedback
        if isinstance(given, BackwardPathRule) and given.frozen_feedback:
            raise ValueError(
                f"{name} does not send signals through feedback weights of frozen "
                "networks: leave out `frozen_feedback`, or make them a part of "
                "`params` and let the optimiser freeze them."
            )
        check_whole(self.chunk, "chunk")
        check_positive(self.memory_limit, "memory_limit")

    @property
    def citation(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """The rule's paper, and that of the feedback."""
        local = _KAISER if isinstance(self.feedback, LocalLosses) else ""
        return cited(self.source, local, self.feedback)

    @property
    def needs(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> tuple[str, ...]:
        """Symmetric feedback transports weights; some feedback is itself learned."""
        found = (
            "global error",
            "derivative of the nonlinearity",
            "update locking",
            "signed error units",
        )
        if self.feedback is None:
            return ("weight transport", *found)
        if self.at_nodes:
            return tuple(n for n in self.feedback.needs if n not in _BETWEEN_PHASES)
        learned = "second network" in self.feedback.needs
        return (*found, "second network") if learned else found

    @property
    def coupled(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> bool:
        """Whether the feedback moves together with the parameters."""
        return isinstance(self.feedback, Rule) and self.feedback.coupled

    @property
    def at_nodes(self) -> bool:
        """Whether the feedback sends signals to nodes, and none passes between them."""
        return isinstance(self.feedback, _AT_NODES)

    @property
    def nodes(  # pyright: ignore[reportIncompatibleVariableOverride]
        self,
    ) -> str:
        """Signals are sent to what enters a synapse, not to the states of a unit."""
        return "step" if self.at_nodes else "entry"

    @property
    def decays(self) -> Decays | None:
        """The filters of traces with two factors; None for other traces."""
        return None

    # ---- The protocol of rules.

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """Find the units, allocate traces, and draw the feedback."""
        loops = self.loops(circuit)
        streams = circuit.spec.carry is not None
        if streams:
            require_continuing(circuit, params, args, self.passes, type(self).__name__)
        self._require_memory(circuit, loops)
        self._warn_of_parameters(circuit)
        if self.at_nodes:
            circuit.loops.require_nodes(self.passes, type(self).__name__)
            require_same_steps(circuit, type(self).__name__)
        traces = circuit.loops.zero_traces(self.passes) if streams else ()
        view = self.view(circuit, None)
        inner = ()
        if self.feedback is not None:
            inner = self.feedback.init(view, key, params, args)
        return OnlineState(inner, traces)

    def reset(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The state at the start of another sequence: traces of zero."""
        traces = state.traces
        if traces:  # the batch may have another size
            traces = circuit.loops.zero_traces(self.passes)
        inner = state.feedback
        if self.feedback is not None:
            view = self.view(circuit, None)
            inner = self.feedback.reset(view, params, inner, args)
        return OnlineState(inner, traces)

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The loss, its gradient forwards in time, and the traces after it."""
        view = self.view(circuit, state)
        if self.feedback is None:
            found = through_feedback(view, params, args, ())
        else:
            found = self.feedback.credit(view, params, state.feedback, args)
        return self._with_traces(found, state)

    def signals(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Any:
        """The signal at each node, if the feedback sends signals to nodes.

        Raises:
          ValueError: if it does not.
        """
        if not self.at_nodes:
            return super().signals(circuit, params, state, args)
        view = self.view(circuit, state._replace(traces=()))
        return self.feedback.signals(view, params, state.feedback, args)

    def train(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        optimizer: optax.GradientTransformation,
        optimizer_state: Any,
    ) -> tuple[Any, Any, Credit]:
        """One update; feedback that moves with the parameters moves too."""
        if not self.coupled:
            return super().train(
                circuit, params, state, args, optimizer, optimizer_state
            )
        view = self.view(circuit, state)
        params, optimizer_state, found = self.feedback.train(
            view, params, state.feedback, args, optimizer, optimizer_state
        )
        return params, optimizer_state, self._with_traces(found, state)

    def check_optimizer(
        self, circuit: Circuit, params: Any, optimizer: optax.GradientTransformation
    ) -> None:
        """Refuse an optimiser that the feedback cannot work with."""
        if self.feedback is not None:
            self.feedback.check_optimizer(circuit, params, optimizer)

    # ---- Loops.

    def loops(self, circuit: Circuit) -> tuple[Loop, ...]:
        """The loops that the rule follows.

        Raises:
          ValueError: if there is none, or if units depend on each other other than by
            synapses.
        """
        name = type(self).__name__
        try:
            found = circuit.loops.of_units(self.passes)
        except MixedUnitsError as error:
            raise ValueError(
                f"{name} needs a loop whose units keep to themselves. {error} Use "
                "`RTRL` or `UORO`, which need no units; or compute it without reading "
                "the state (inside `jax.lax.stop_gradient`)."
            ) from error
        if not found:
            raise ValueError(
                f"{name} finds derivatives forwards in time, and the loss function has "
                "no `lax.scan` whose carry depends on the parameters. For one step of "
                "a sequence at a time, return the state in `aux` and pass `carry=`; "
                "for a network without a state, use `FeedbackAlignment` or "
                "`Backpropagation`."
            )
        return found

    def view(self, circuit: Circuit, state: Any) -> Circuit:
        """The circuit with derivatives found forwards in time."""
        traces = state.traces if state is not None and state.traces else None
        online = circuit.loops.online(self.passes, self.chunk, traces, self.decays)
        return circuit.with_loops(online)

    def _with_traces(self, found: Credit, state: OnlineState) -> Credit:
        aux, traces = found.aux, state.traces
        if traces:
            aux, after = found.aux
            traces = tuple(after)
        return found._replace(aux=aux, state=OnlineState(found.state, traces))

    def _require_memory(self, circuit: Circuit, loops: tuple[Loop, ...]) -> None:
        sizes = circuit.loops.trace_bytes(self.passes)
        needed = sum(sizes)
        if needed > self.memory_limit:
            largest = loops[sizes.index(max(sizes))]
            raise ValueError(
                f"The eligibility traces would take {needed / 1e9:.2g} GB (most of it "
                f"in the loop at {largest.scans.op.where}), and `memory_limit` is "
                f"{self.memory_limit / 1e9:.2g} GB. Use fewer examples at a time, "
                "`EfficientTraces`, a unit whose state decays by one number (its "
                "traces factor: `OTTT`), or raise `memory_limit`."
            )

    def _warn_of_parameters(self, circuit: Circuit) -> None:
        """Warn of parameters that have no trace, or no gradient at all."""
        unread = circuit.loops.without_credit(self.passes)
        if unread:
            warnings.warn(
                f"{type(self).__name__} gives {', '.join(map(repr, unread))} a "
                "gradient of zero: they act on the loss only through other units at a "
                "later step, and back in time signals pass through no synapse. `RTRL` "
                "and `UORO` have no such limit.",
                UserWarning,
                stacklevel=3,
            )
        cut = circuit.loops.cut_readouts()
        if cut:
            warnings.warn(
                f"{type(self).__name__} loses what reaches the weights below through "
                f"the state of the read-out at {', '.join(cut)}: it has a loop of its "
                "own, and continues from call to call. Compute it in the loop of the "
                "units that it reads, where its credit is kept.",
                UserWarning,
                stacklevel=3,
            )
        names = circuit.loops.within_step(self.passes)
        if names:
            warnings.warn(
                f"{type(self).__name__} keeps no eligibility trace for "
                f"{', '.join(map(repr, names))}: these reach the units of a loop "
                "through another synapse, or through an operation that is not entry by "
                "entry, so they learn from the credit of each step alone, not from its "
                "later effects. `RTRL` and `UORO` have no such limit.",
                UserWarning,
                stacklevel=3,
            )


def require_continuing(
    circuit: Circuit, params: Any, args: Any, passes: str | None, rule: str
) -> None:
    """Require that a sequence can continue from call to call by `carry=`."""
    position, path = carry_of(circuit.spec, args, rule)
    ended = jax.eval_shape(lambda: circuit.run(params, args, sites=()).aux)
    require_same_carry(args[position], at_path(ended, path), position, path)
    circuit.loops.require_streaming(passes, rule)
