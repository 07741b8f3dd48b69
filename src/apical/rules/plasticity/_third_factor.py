"""Third factors: the reward or teaching signal that turns a trace into learning.

    dw = sum_t (R_t - b_t) e_t                 R a reward, b its baseline, e a trace

A reward is one number for all synapses (in each step or at the end of a call, for each
example or all of them); a teaching signal is a number for each unit.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp

from ...circuit import Circuit, SynapticActivity, at_path, mean_over_devices, scan
from .._base import Rule, cited, has_signals, rule, static
from .._field_checks import check_choice, check_fraction

IZHIKEVICH = (
    "@article{izhikevich2007solving, title={Solving the Distal Reward Problem through "
    "Linkage of STDP and Dopamine Signaling}, author={Izhikevich, Eugene M.}, journal="
    "{Cerebral Cortex}, year={2007}}"
)
FREMAUX = (
    "@article{fremaux2016neuromodulated, title={Neuromodulated Spike-Timing-Dependent "
    "Plasticity, and Theory of Three-Factor Learning Rules}, author={Fr{\\'e}maux, "
    "Nicolas and Gerstner, Wulfram}, journal={Frontiers in Neural Circuits}, year="
    "{2016}}"
)

_MISSING = "The reward is looked for in `aux` at {key!r}, and is not there"


class AbstractThirdFactor(abc.ABC):
    """What multiplies an eligibility trace: `ThreeFactor(factor=...)`.

    Subclass it with `@apical.rules.rule` and write `start` and `factors`.

    Attributes:
      needs: biologically implausible requirements, in the words of `Rule.needs`.
      for_each_unit: whether it is a number for each unit, rather than for all.
      citation: the source, as BibTeX.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from apical.rules.tools import AbstractThirdFactor
      >>> @apical.rules.rule
      ... class Always(AbstractThirdFactor):
      ...     amount: float = 1.0
      ...     def start(self, circuit, key, params, args):
      ...         return ()
      ...     def factors(self, circuit, params, state, args, found):
      ...         steps = found.synapses[0].post.shape[0]
      ...         return state, [jnp.full(steps, self.amount)] * len(found.synapses)
      >>> rule = apical.rules.ThreeFactor(factor=Always())
    """

    needs: ClassVar[Any] = ()
    for_each_unit: ClassVar[bool] = False
    citation: ClassVar[Any] = ""

    @abc.abstractmethod
    def start(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """The state before the first call."""

    @abc.abstractmethod
    def factors(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        found: SynapticActivity,
    ) -> tuple[Any, Sequence[jax.Array]]:
        """The next state, and the factor of each synapse in each step.

        A factor is `[steps]`, `[steps, examples]`, or of the shape of `synapse.post`
        where `for_each_unit` is set.
        """


class _Scalar(AbstractThirdFactor):
    """A reward for all synapses alike, less a running mean."""

    baseline_rate: Any
    per: Any
    needs = ("global reward", "update locking")

    def start(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """A baseline of 0; what this call's reward is, is checked."""
        del key
        jax.eval_shape(lambda: self._reward(circuit, params, args))
        return jnp.zeros((), jnp.result_type(float))

    def factors(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        found: SynapticActivity,
    ) -> tuple[Any, Sequence[jax.Array]]:
        """The reward less its baseline, which then moves to it."""
        steps = found.synapses[0].post.shape[0]
        reward = jax.lax.stop_gradient(self._reward(circuit, params, args, found.aux))
        if self.per == "call":
            surprise = (reward - state)[None]
            state = state + self.baseline_rate * mean_over_devices(jnp.mean(surprise))
            rest = jnp.zeros((steps - 1, *surprise.shape[1:]), surprise.dtype)
            each = jnp.concatenate([rest, surprise])
        else:
            reward = _in_steps(reward, steps, circuit.batch.size)

            def step(baseline: jax.Array, now: jax.Array) -> Any:
                surprise = now - baseline
                mean = mean_over_devices(jnp.mean(surprise))
                return baseline + self.baseline_rate * mean, surprise

            state, each = scan(step, state.astype(reward.dtype), reward)
        if any(s.post.shape[0] != steps for s in found.synapses):
            raise ValueError(
                "The synapses stand in loops of different lengths, so that a reward "
                "for all of them has no common time: choose those of one loop by "
                "`synapses=`."
            )
        return state, [each] * len(found.synapses)

    @abc.abstractmethod
    def _reward(
        self, circuit: Circuit, params: Any, args: Any, aux: Any = None
    ) -> jax.Array:
        """The reward of this call."""


@final
@rule
class Reward(_Scalar):
    """A reward that the loss function returns in `aux`.

        factor_t = R_t - b_t,      b_{t+1} = b_t + baseline_rate (mean R_t - b_t)

    `per="call"`: one reward, at the last step of the call, for all examples (shape
    `()`) or for each (`[examples]`). `per="step"`: one in each step of the loop
    (`[steps]` or `[steps, examples]`; where the loss has no loop, `()` or
    `[examples]`). The baseline starts at 0, is the mean over examples, and continues
    over calls, with or without `carry=`.

    Args:
      path: the key, position or attribute of the reward in `aux`, or a tuple of them.
      per: `"call"` or `"step"`.
      baseline_rate: how fast the baseline follows; 0: none.

    Example:
      >>> import apical
      >>> rule = apical.rules.ThreeFactor(factor=apical.rules.Reward("reward"))

    Source: Izhikevich 2007, Cerebral Cortex; Frémaux & Gerstner 2016, equation 14
    (the baseline).
    """

    path: Any = static(default="reward")
    per: str = static(default="call")
    baseline_rate: float = 0.1

    citation: ClassVar[str] = f"{IZHIKEVICH}\n{FREMAUX}"

    def __post_init__(self) -> None:
        check_choice(self.per, "per", ("call", "step"))
        check_fraction(self.baseline_rate, "baseline_rate")

    def _reward(
        self, circuit: Circuit, params: Any, args: Any, aux: Any = None
    ) -> jax.Array:
        if not circuit.spec.has_aux:
            raise ValueError(
                f"`Reward({self.path!r})` reads the reward from what `loss_fn` returns "
                "beside the loss: pass `has_aux=True`, and return `(loss, "
                "{'reward': ...})`."
            )
        aux = circuit.run(params, args, sites=()).aux if aux is None else aux
        reward = jnp.asarray(at_path(aux, self.path, _MISSING))
        examples = circuit.batch.size
        allowed = ((), (examples,)) if self.per == "call" else None
        if allowed and reward.shape not in allowed:
            raise ValueError(
                f"The reward in `aux` at {self.path!r} has shape {reward.shape}; with "
                f"`per='call'` it is one number or one for each of the {examples} "
                "examples. (`per='step'`: one for each step.)"
            )
        return reward.astype(jnp.result_type(float))


@final
@rule
class NegativeLoss(_Scalar):
    """Minus the loss of each example, as the reward at the last step of the call.

        factor = b - L,      b <- b + baseline_rate (mean of -L - b)

    Args:
      baseline_rate: how fast the baseline follows; 0: none.

    Example:
      >>> import apical
      >>> rule = apical.rules.ThreeFactor(factor=apical.rules.NegativeLoss())

    Raises:
      ValueError: in `init`, if the loss is no sum of per-example losses.

    Source: Frémaux & Gerstner 2016, section 3.
    """

    baseline_rate: float = 0.1
    per: str = static(default="call")

    citation: ClassVar[str] = FREMAUX

    def __post_init__(self) -> None:
        check_choice(self.per, "per", ("call",))
        check_fraction(self.baseline_rate, "baseline_rate")

    def _reward(
        self, circuit: Circuit, params: Any, args: Any, aux: Any = None
    ) -> jax.Array:
        del aux
        return -circuit.by_example(params, args)[1][:-1]


@final
@rule
class TeachingSignal(AbstractThirdFactor):
    """The teaching signal of another rule at each unit, with the opposite sign.

        factor_jt = -delta_jt

    With `DirectFeedbackAlignment` the error of the output reaches each unit through
    fixed random weights. The signal is that of the whole window of a call: rules that
    pass it back through the loop (`Backpropagation`, `FeedbackAlignment`) look back
    from the window's end.

    Args:
      rule: one whose `signals` are defined. Its state is that of its `init`: feedback
        weights stay as they were drawn.

    Example:
      >>> import apical
      >>> broadcast = apical.rules.TeachingSignal(
      ...     apical.rules.DirectFeedbackAlignment())
      >>> rule = apical.rules.ThreeFactor(
      ...     apical.rules.PresynapticTrace(at_spikes=False), broadcast)

    Source: Frémaux & Gerstner 2016, section 5.2; Murray 2019, eLife (random feedback to
    each unit).
    """

    rule: Rule

    for_each_unit: ClassVar[bool] = True

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the rule."""
        return self.rule.needs

    @property
    def citation(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Its own, and that of the rule."""
        return cited(FREMAUX, self.rule)

    def start(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """The state of the rule, which must have signals at nodes."""
        if not has_signals(self.rule):
            raise ValueError(
                f"`TeachingSignal({type(self.rule).__name__}(...))` has no teaching "
                "signals at nodes (`signals`). Use a rule that has, as "
                "`FeedbackAlignment()` or `DirectFeedbackAlignment()`."
            )
        return self.rule.init(circuit, key, params, args)

    def factors(
        self,
        circuit: Circuit,
        params: Any,
        state: Any,
        args: Any,
        found: SynapticActivity,
    ) -> tuple[Any, Sequence[jax.Array]]:
        """Minus the signal at the node of each synapse, for one example."""
        signals = self.rule.signals(circuit, params, state, args)
        scale = circuit.scale
        return state, [
            -scale * s.in_steps(signals[s.node].teaching) for s in found.synapses
        ]


def _in_steps(reward: jax.Array, steps: int, examples: int) -> jax.Array:
    """A reward with the steps on the first axis."""
    allowed = ((steps,), (steps, examples))
    if steps == 1 and reward.shape in ((), (examples,)):
        return reward[None]
    if reward.shape not in allowed:
        raise ValueError(
            f"The reward has shape {reward.shape}; with `per='step'` it is "
            f"{allowed[0]} or {allowed[1]}: steps, then examples."
        )
    return reward
