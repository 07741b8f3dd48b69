"""Every rule of ours, against what it declares."""

import jax.numpy as jnp
import optax
import pytest
from support.locality import (
    measured,
    recurrent_loss_fn,
    recurrent_weights,
    weights,
)

from apical import rules

LEARNING = rules.RandomFeedback(optax.sgd(0.1))


def coding(**parts):
    return rules.PredictiveCoding(8, prediction="free", **parts)


def targets(**parts):
    return rules.DifferenceTargetPropagation(**parts)


RULES = {
    "FeedbackAlignment": rules.FeedbackAlignment(),
    "KolenPollack": rules.KolenPollack(0.01),
    "WeightMirror": rules.WeightMirror(),
    "DirectFeedbackAlignment": rules.DirectFeedbackAlignment(),
    "DirectRandomTargetProjection": rules.DirectRandomTargetProjection(),
    "PredictiveCoding, sweep": rules.PredictiveCoding(inference=rules.Sweep()),
    "PredictiveCoding, errors": coding(inference=rules.ErrorRelaxation()),
    "PredictiveCoding, zero divergence": rules.PredictiveCoding(
        prediction="free", inference=rules.ZeroDivergence()
    ),
    "PredictiveCoding, random feedback": coding(feedback=rules.RandomFeedback()),
    "PredictiveCoding, learned feedback": coding(feedback=LEARNING),
    "IncrementalPredictiveCoding": rules.IncrementalPredictiveCoding(4),
    "ContrastiveHebbian": rules.ContrastiveHebbian(gain=0.5),
    "GeneRec": rules.GeneRec(gain=0.5),
    "DualPropagation": rules.DualPropagation(),
    "ActivationRelaxation": rules.ActivationRelaxation(),
    "TargetPropagation": rules.TargetPropagation(first_target="nodes"),
    "DifferenceTargetPropagation": targets(),
    "DifferenceTargetPropagation, fixed": targets(training=None),
    "SyntheticGradients": rules.SyntheticGradients(),
    "SyntheticGradients, conditioned": rules.SyntheticGradients(conditioned=True),
    "LocalLosses": rules.LocalLosses(),
    "LocalLosses, fixed": rules.LocalLosses(readout="fixed"),
    "LocalLosses, blocks": rules.LocalLosses(blocks=2),
    "ForwardForward": rules.ForwardForward(),
    "PEPITA": rules.PEPITA(),
    "NodePerturbation": rules.NodePerturbation(),
    "NodePerturbation, drive": rules.NodePerturbation(at="drive"),
    "ForwardGradient": rules.ForwardGradient(),
    "ForwardGradient, activities": rules.ForwardGradient("activities"),
    "EvolutionStrategy": rules.EvolutionStrategy(),
    "Hebbian": rules.Hebbian(),
    "Hebbian, sanger": rules.Hebbian("sanger"),
    "Hebbian, subspace": rules.Hebbian("subspace"),
}


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("name", RULES)
def test_what_is_measured_is_what_a_rule_declares(name):
    # Critics start at 0.
    warm = 2 if name.startswith("SyntheticGradients") else 0
    assert measured(RULES[name], warm=warm).mismatches == ()


@pytest.mark.sweep
def test_the_sign_of_the_error_of_a_cross_entropy_is_the_label():
    def loss_fn(params, x, y):
        for layer in params[:-1]:
            x = jnp.tanh(x @ layer["w"])
        return jnp.mean(optax.softmax_cross_entropy(x @ params[-1]["w"], y))

    found = measured(rules.DirectFeedbackAlignment(error="sign"), loss_fn)
    assert found.measured["labels in every layer"]
    assert found.mismatches == ()


@pytest.mark.sweep
def test_one_tick_of_incremental_coding_is_unlocked_and_moves_weights_by_its_state():
    rule = rules.IncrementalPredictiveCoding(1, streaming=True)
    found = measured(rule, warm=4)
    assert [row.locked for row in found.rows] == ["none"] * 4
    assert [row.copied for row in found.rows] == ["none", "full", "full", "full"]
    assert found.measured["weight transport"]
    assert found.mismatches == ()


IN_TIME = {
    "Backpropagation": rules.Backpropagation(),
    "EProp": rules.EProp(),
    "EProp, random": rules.EProp("random"),
    "SnAp": rules.SnAp(),
    "RTRL": rules.RTRL(),
    "EfficientTraces": rules.EfficientTraces(),
}


@pytest.mark.sweep
@pytest.mark.parametrize("name", IN_TIME)
def test_what_is_measured_in_time_is_what_a_rule_declares(name):
    found = measured(IN_TIME[name], recurrent_loss_fn, recurrent_weights())
    differences = {m.need for m in found.mismatches}
    # Backpropagation declares what it needs without a loop.
    if name == "Backpropagation":
        differences.discard("backward through time")
    assert differences == set()


def test_a_wrong_declaration_is_found():
    class Modest(rules.FeedbackAlignment):
        needs = ()

    wrong = rules.rule(Modest)()
    found = measured(wrong, params=weights(5, 7, 6, 3))
    assert {m.need for m in found.mismatches} == {
        "derivative of the nonlinearity",
        "update locking",
    }
    # One layer between the input and the last one is too few to see it held longer.
    assert "stored activities" not in found.measured
