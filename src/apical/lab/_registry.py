"""The rules of the lab by name: the rows that a comparison can have."""

from typing import Any, NamedTuple

import optax

from apical import rules
from apical.lab._control_rules import UntrainedHiddenLayers
from apical.lab._rule_spec import RuleSpec

# ---- Rules that a comparison cannot run


class NotCompared(NamedTuple):
    """A rule that `compare` cannot run by name.

    Attributes:
        spec: the rule.
        why: what it needs that a comparison does not have.
    """

    spec: RuleSpec
    why: str


def _same(key: Any, *args: Any) -> Any:
    del key
    return args


def _clapp() -> rules.CLAPP:
    return rules.CLAPP(positive=_same)


_SPIKES = "for networks with stochastic nodes (`apical.bernoulli`)"
# By the names that `apical rules` shows.
NOT_COMPARED: dict[str, NotCompared] = {
    "recirculation": NotCompared(
        RuleSpec(rules.Recirculation), "for networks that reconstruct their input"
    ),
    "windowed-synthetic-gradients": NotCompared(
        RuleSpec(rules.WindowedSyntheticGradients),
        "for sequences in windows (`carry=` names what each passes to the next)",
    ),
    "rtrl": NotCompared(
        RuleSpec(rules.RTRL),
        "takes a forward pass for each parameter: the reference on small networks, as "
        "`apical.rules.RTRL()`",
    ),
    "clapp": NotCompared(
        RuleSpec(_clapp),
        "needs a positive example for each example (`positive=`), and uses no label",
    ),
    "stdp": NotCompared(
        RuleSpec(rules.STDP), "learns without a label or a loss, from spikes in time"
    ),
    "three-factor": NotCompared(
        RuleSpec(rules.ThreeFactor),
        "for networks of spiking units in time (`lax.scan`)",
    ),
    "score-function": NotCompared(RuleSpec(rules.ScoreFunction), _SPIKES),
    "straight-through": NotCompared(RuleSpec(rules.StraightThrough), _SPIKES),
    "concrete": NotCompared(RuleSpec(rules.Concrete), _SPIKES),
}


# ---- Equilibrium rules

_GAIN = {"gain": (0.03, 1.0, "log")}
_NUDGE_AND_GAIN = {"nudge": (0.01, 1.0, "log"), **_GAIN}


def _equilibrium() -> rules.EquilibriumPropagation:
    # Rectified units settle only where feedback is weaker than the forward weights.
    return rules.EquilibriumPropagation(gain=0.3)


def _relaxation() -> rules.ActivationRelaxation:
    # After 50 steps less than 1 % of the initial state is left at each rate of a sweep.
    return rules.ActivationRelaxation(steps=50)


# Costs are those of 50 steps of settling on an MLP.
ENERGY: dict[str, RuleSpec] = {
    "equilibrium-propagation": RuleSpec(
        _equilibrium, cost=15.0, search_space=_NUDGE_AND_GAIN
    ),
    "contrastive-hebbian": RuleSpec(
        rules.ContrastiveHebbian, cost=15.0, search_space=_GAIN
    ),
    "coupled-learning": RuleSpec(
        rules.CoupledLearning, cost=15.0, search_space=_NUDGE_AND_GAIN
    ),
    "generec": RuleSpec(rules.GeneRec, cost=15.0, search_space=_GAIN),
    "activation-relaxation": RuleSpec(_relaxation, cost=10.0),
    "dual-propagation": RuleSpec(rules.DualPropagation, cost=3.0),
}


# ---- Local objectives


def _similarity() -> rules.LocalLosses:
    return rules.LocalLosses(objective="similarity")


def _both() -> rules.LocalLosses:
    return rules.LocalLosses(objective="both")


LOCAL_OBJECTIVES: dict[str, RuleSpec] = {
    # With one objective there is nothing to balance.
    "local-losses": RuleSpec(rules.LocalLosses, cost=1.3, search_space={}),
    "local-losses-similarity": RuleSpec(_similarity, cost=1.3, search_space={}),
    "local-losses-both": RuleSpec(_both, cost=1.5),
    "forward-forward": RuleSpec(rules.ForwardForward, cost=2.5),
    "pepita": RuleSpec(rules.PEPITA, cost=1.3),
}


# ---- Predictive coding, beside the three rows that are compared by default


def _errors() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(
        8, prediction="free", inference=rules.ErrorRelaxation()
    )


def _zero_divergence() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", inference=rules.ZeroDivergence())


def _nudged() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", nudge=rules.Nudge(0.1, "centred"))


def _random_feedback() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free", feedback=rules.RandomFeedback())


def _learned_feedback() -> rules.PredictiveCoding:
    feedback = rules.RandomFeedback(optax.sgd(0.1))
    return rules.PredictiveCoding(prediction="free", feedback=feedback)


def _learned_precision() -> rules.PredictiveCoding:
    # At 10 the steps of inference exceed 2 / curvature before the last epoch.
    precision = rules.LearnedPrecision(highest=2.0)
    return rules.PredictiveCoding(prediction="free", precision=precision)


PREDICTIVE_CODING: dict[str, RuleSpec] = {
    "predictive-coding-errors": RuleSpec(_errors, cost=5.0, search_space={}),
    "predictive-coding-nudged": RuleSpec(_nudged, cost=16.0),
    "coding-with-random-feedback": RuleSpec(_random_feedback, cost=10.0),
    "coding-with-learned-feedback": RuleSpec(_learned_feedback, cost=10.0),
    "coding-with-learned-precision": RuleSpec(_learned_precision, cost=8.0),
    # It takes one step per level: there is no rate to draw.
    "zero-divergence": RuleSpec(_zero_divergence, cost=2.0, search_space={}),
    "incremental-predictive-coding": RuleSpec(
        rules.IncrementalPredictiveCoding, cost=5.0
    ),
}


# ---- Perturbation


def _activities() -> rules.ForwardGradient:
    return rules.ForwardGradient("activities")


SCALAR_FEEDBACK: dict[str, RuleSpec] = {
    "weight-perturbation": RuleSpec(rules.WeightPerturbation, cost=1.5),
    "node-perturbation": RuleSpec(rules.NodePerturbation, cost=1.5),
    "forward-gradient": RuleSpec(rules.ForwardGradient, cost=2.0),
    "forward-gradient-activities": RuleSpec(_activities, cost=1.5),
    "evolution-strategy": RuleSpec(rules.EvolutionStrategy, cost=40.0),
}


# ---- Rules through time, for models with a loop


def _random_eprop() -> rules.EProp:
    return rules.EProp("random")


def _adaptive_eprop() -> rules.EProp:
    return rules.EProp("adaptive")


def _direct_eprop() -> rules.EProp:
    return rules.EProp(rules.DirectFeedbackAlignment())


def _decolle() -> rules.EProp:
    return rules.EProp(rules.LocalLosses(readout="fixed"))


# A model without a loop refuses them.
THROUGH_TIME: dict[str, RuleSpec] = {
    "eprop": RuleSpec(rules.EProp, cost=1.5),
    "eprop-random": RuleSpec(_random_eprop, cost=1.5),
    "eprop-adaptive": RuleSpec(_adaptive_eprop, cost=1.5),
    "eprop-direct": RuleSpec(_direct_eprop, cost=1.5),
    "decolle": RuleSpec(_decolle, cost=1.5),
    "efficient-traces": RuleSpec(rules.EfficientTraces, cost=1.5),
    "rflo": RuleSpec(rules.RFLO, cost=1.5),
    "ottt": RuleSpec(rules.OTTT, cost=1.5),
    "snap": RuleSpec(rules.SnAp, cost=2.0),
    "uoro": RuleSpec(rules.UORO, cost=4.0),
}


# ---- Target propagation and synthetic gradients


def _plain() -> rules.TargetPropagation:
    return rules.TargetPropagation(first_target="nodes")


def _towards_backpropagation() -> rules.DifferenceTargetPropagation:
    return rules.DifferenceTargetPropagation(training=rules.DifferenceReconstruction())


def _fixed_weights() -> rules.DifferenceTargetPropagation:
    return rules.DifferenceTargetPropagation(training=None)


def _conditioned() -> rules.SyntheticGradients:
    return rules.SyntheticGradients(conditioned=True)


# Where inverses are fixed, their learning rate has no effect.
_STEP_ALONE = {"target_step": rules.TargetPropagation.search_space["target_step"]}
TARGETS: dict[str, RuleSpec] = {
    "target-propagation": RuleSpec(_plain, cost=2.0),
    "difference-target-propagation": RuleSpec(
        rules.DifferenceTargetPropagation, cost=2.0
    ),
    "difference-reconstruction": RuleSpec(_towards_backpropagation, cost=2.5),
    "fixed-weight-target-propagation": RuleSpec(
        _fixed_weights, cost=1.3, search_space=_STEP_ALONE
    ),
    "synthetic-gradients": RuleSpec(rules.SyntheticGradients, cost=1.5),
    "synthetic-gradients-conditioned": RuleSpec(_conditioned, cost=1.5),
}


def _sweep() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(inference=rules.Sweep())


def _sign_of_error() -> rules.DirectFeedbackAlignment:
    return rules.DirectFeedbackAlignment(error="sign")


def _free() -> rules.PredictiveCoding:
    return rules.PredictiveCoding(prediction="free")


def _of_squared_error() -> rules.Backpropagation:
    return rules.Backpropagation(descends="squared-error")


BASELINE = "backpropagation"
# The baseline of rules that descend the squared error, whatever the loss is.
SQUARED = "backprop-squared-error"
CONTROL = "untrained-hidden-layers"
_FIRST: dict[str, RuleSpec] = {
    BASELINE: RuleSpec(rules.Backpropagation),
    "feedback-alignment": RuleSpec(rules.FeedbackAlignment),
    "sign-concordance": RuleSpec(rules.SignConcordance),
    "kolen-pollack": RuleSpec(rules.KolenPollack),
    "weight-mirror": RuleSpec(rules.WeightMirror, cost=2.0),
    "direct-feedback-alignment": RuleSpec(rules.DirectFeedbackAlignment),
    "direct-feedback-alignment-sign": RuleSpec(_sign_of_error),
    "direct-random-target-projection": RuleSpec(rules.DirectRandomTargetProjection),
    "predictive-coding": RuleSpec(rules.PredictiveCoding),
    # One sweep is exact at rate 1: there is nothing to draw.
    "predictive-coding-sweep": RuleSpec(_sweep, search_space={}),
    "predictive-coding-free": RuleSpec(_free, cost=8.0),
    CONTROL: RuleSpec(UntrainedHiddenLayers, cost=0.3),
}
# Every rule, the control last: `--rules all`.
RULES: dict[str, RuleSpec] = {
    BASELINE: _FIRST[BASELINE],
    SQUARED: RuleSpec(_of_squared_error),
    **{name: spec for name, spec in _FIRST.items() if name != CONTROL},
    **PREDICTIVE_CODING,
    **ENERGY,
    **TARGETS,
    **LOCAL_OBJECTIVES,
    **SCALAR_FEEDBACK,
    **THROUGH_TIME,
    CONTROL: _FIRST[CONTROL],
}
# Those that are compared by default.
COMPARED: tuple[str, ...] = tuple(_FIRST)
