"""The rules in the columns of docs/rules-and-models.md, by family."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from apical.rules import (
    CLAPP,
    OTTT,
    PEPITA,
    RFLO,
    UORO,
    ActivationRelaxation,
    Backpropagation,
    ContrastiveHebbian,
    CoupledLearning,
    DifferenceReconstruction,
    DifferenceTargetPropagation,
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    DualPropagation,
    EfficientTraces,
    EProp,
    EquilibriumPropagation,
    EvolutionStrategy,
    FeedbackAlignment,
    ForwardForward,
    ForwardGradient,
    GeneRec,
    Hebbian,
    Holomorphic,
    IncrementalPredictiveCoding,
    KolenPollack,
    LocalLosses,
    NodePerturbation,
    Plasticity,
    PredictiveCoding,
    Rule,
    SignConcordance,
    SnAp,
    Sweep,
    SyntheticGradients,
    TargetPropagation,
    WeightMirror,
    WeightPerturbation,
)


def shifted(key: jax.Array, *args: Any) -> tuple[Any, ...]:
    """For every example the one before it, as its positive example."""
    del key

    def before(x: Any) -> Any:
        return jnp.roll(x, 1, axis=0) if jnp.ndim(x) else x

    return tuple(jax.tree.map(before, arg) for arg in args)


FEEDBACK: dict[str, Rule] = {
    "Backpropagation()": Backpropagation(),
    "FeedbackAlignment()": FeedbackAlignment(),
    "FeedbackAlignment(removed_forward=0.3, removed_backward=0.3)": FeedbackAlignment(
        removed_forward=0.3, removed_backward=0.3
    ),
    "SignConcordance()": SignConcordance(),
    'SignConcordance("batch")': SignConcordance("batch"),
    "KolenPollack()": KolenPollack(),
    "PredictiveCoding()": PredictiveCoding(),
    "PredictiveCoding(inference=Sweep())": PredictiveCoding(inference=Sweep()),
    'PredictiveCoding(rate=0.1, prediction="free")': PredictiveCoding(
        rate=0.1, prediction="free"
    ),
    "WeightMirror()": WeightMirror(),
    "DirectFeedbackAlignment()": DirectFeedbackAlignment(),
    'DirectFeedbackAlignment(error="sign")': DirectFeedbackAlignment(error="sign"),
    "DirectRandomTargetProjection()": DirectRandomTargetProjection(),
    "IncrementalPredictiveCoding()": IncrementalPredictiveCoding(),
}
SETTLING: dict[str, Rule] = {
    "EquilibriumPropagation()": EquilibriumPropagation(),
    "EquilibriumPropagation(estimate=Holomorphic())": EquilibriumPropagation(
        estimate=Holomorphic()
    ),
    "ContrastiveHebbian()": ContrastiveHebbian(),
    "CoupledLearning()": CoupledLearning(),
    "GeneRec()": GeneRec(),
    "DualPropagation()": DualPropagation(),
    "ActivationRelaxation()": ActivationRelaxation(),
}
TARGETS: dict[str, Rule] = {
    "TargetPropagation()": TargetPropagation(),
    "DifferenceTargetPropagation()": DifferenceTargetPropagation(),
    "DifferenceTargetPropagation(training=DifferenceReconstruction())": (
        DifferenceTargetPropagation(training=DifferenceReconstruction())
    ),
    "DifferenceTargetPropagation(training=None)": DifferenceTargetPropagation(
        training=None
    ),
    "SyntheticGradients()": SyntheticGradients(),
    "SyntheticGradients(conditioned=True)": SyntheticGradients(conditioned=True),
}
LOCAL: dict[str, Rule] = {
    "LocalLosses()": LocalLosses(),
    'LocalLosses(objective="similarity")': LocalLosses(objective="similarity"),
    "ForwardForward()": ForwardForward(),
    "CLAPP(positive=shifted)": CLAPP(positive=shifted),
    "PEPITA()": PEPITA(),
}
SCALAR: dict[str, Rule] = {
    "WeightPerturbation()": WeightPerturbation(),
    "NodePerturbation()": NodePerturbation(),
    "ForwardGradient()": ForwardGradient(),
    'ForwardGradient("activities")': ForwardGradient("activities"),
    "EvolutionStrategy()": EvolutionStrategy(),
}
# `RTRL` is the gradient on every model, and takes one forward pass per parameter.
THROUGH_TIME: dict[str, Rule] = {
    "EProp()": EProp(),
    'EProp("random")': EProp("random"),
    "SnAp()": SnAp(),
    "RFLO()": RFLO(),
    "OTTT()": OTTT(),
    "UORO()": UORO(),
    "EfficientTraces()": EfficientTraces(),
}
# They follow from the two ends of a synapse; a teacher's signal may be a third factor.
ENDS: dict[str, Rule] = {
    "Hebbian()": Hebbian(),
    "Plasticity()": Plasticity(),
    'Plasticity(post="output")': Plasticity(post="output"),
    "Plasticity({(1, 0, 0, 1): 1.0}, Backpropagation())": Plasticity(
        {(1, 0, 0, 1): 1.0}, Backpropagation()
    ),
}
FAMILIES = {
    "Feedback and predictive coding": FEEDBACK,
    "States that settle": SETTLING,
    "Targets and synthetic gradients": TARGETS,
    "Local objectives": LOCAL,
    "Scalar feedback": SCALAR,
    "Rules through time": THROUGH_TIME,
    "Plasticity": ENDS,
}
