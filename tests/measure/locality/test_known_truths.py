"""What is known of each rule, against what is measured."""

import math

import jax
import jax.numpy as jnp
import pytest
from support.locality import (
    OwnFeedback,
    ScaleFree,
    backpropagation,
    learner_of,
    measured,
    static,
    weights,
)

import apical
from apical import rules


def free(steps, **parts):
    return rules.PredictiveCoding(steps, rate=0.1, prediction="free", **parts)


# ---------------------------------------------------------------- backpropagation


def test_backpropagation_transports_the_weights_above_fully():
    rows = {row.name: row for row in backpropagation().rows}
    assert rows["0.w"].transport == rows["2.b"].transport == "full"
    assert rows["0.w"].of == ("1.w", "2.w", "3.w")
    assert rows["0.w"].through == ("reverse",)
    assert rows["3.w"].transport == "none"


def test_backpropagation_waits_for_the_layers_above():
    rows = {row.name: row for row in backpropagation().rows}
    assert rows["1.w"].locked_by == ("2.b", "2.w", "3.b", "3.w")
    assert rows["3.w"].locked == "none"


def test_backpropagation_passes_every_weight_between_the_label_and_a_leaf():
    rows = [row for row in backpropagation().rows if row.name.endswith("w")]
    assert [row.label.fewest for row in rows] == [row.distance for row in rows]
    assert [row.crossings for row in rows] == [3, 2, 1, 0]
    assert [row.distance for row in rows] == [3, 2, 1, 0]


def test_backpropagation_holds_activities_longer_the_lower_they_are():
    rows = [row for row in backpropagation().rows if row.name.endswith("w")]
    assert [row.held for row in rows[1:]] == [5, 3, 1]


def test_backpropagation_uses_the_derivatives_of_its_own_and_all_later_nodes():
    rows = {row.name: row for row in backpropagation().rows}
    assert rows["1.w"].slopes == ("1", "2")
    assert rows["3.w"].slopes == ()


def test_backpropagation_is_a_sum_over_examples_and_hears_every_output():
    assert not any(row.coupled for row in backpropagation().rows)
    assert {row.rank for row in backpropagation().rows} == {3}


def test_the_declared_needs_of_backpropagation_are_measured():
    found = backpropagation()
    assert found.mismatches == ()
    assert found.measured["weight transport"] and found.measured["update locking"]


# ---------------------------------------------------------------- weight transport

NONE = {
    "FeedbackAlignment": rules.FeedbackAlignment(),
    "DirectFeedbackAlignment": rules.DirectFeedbackAlignment(),
    "KolenPollack": rules.KolenPollack(0.01),
    "WeightMirror": rules.WeightMirror(),
}


def transports(update):
    """The channels by which other weights reach each update."""
    return [
        {s.channel for s in value.seen} & {"reverse", "gain", "direct"}
        for value in update.of_grads
    ]


@pytest.mark.parametrize("name", NONE)
def test_rules_with_feedback_weights_have_no_path_from_the_forward_weights(name):
    update = static(NONE[name])
    assert not any(transports(update))
    assert not any(source.tree == "params" for v in update.of_state for source in v.raw)


def test_the_path_of_backpropagation_is_found():
    assert transports(static(rules.Backpropagation()))[0] == {"reverse"}


def test_sign_concordance_transports_signs_alone():
    found = measured(rules.SignConcordance())
    assert [row.transport for row in found.rows] == ["sign", "sign", "sign", "none"]
    assert found.mismatches == ()


def test_weights_without_their_size_are_scale_free():
    found = measured(ScaleFree())
    assert found.rows[0].transport == "scale-free"
    assert [m.need for m in found.mismatches] == ["weight transport"]


@pytest.mark.sweep
@pytest.mark.parametrize(
    "rule",
    [free(8), rules.EquilibriumPropagation(gain=0.5), rules.PredictiveCoding(8)],
    ids=["free", "equilibrium", "fixed"],
)
def test_energy_based_rules_transport_weights_fully(rule):
    found = measured(rule)
    assert found.rows[0].transport == "full"
    assert found.mismatches == ()


# ---------------------------------------------------------------- locking


def above(update, leaf):
    """The leaves above a leaf on which its update may depend."""
    seen = {s.source.leaf for s in update.of_grads[leaf].seen}
    return seen & update.above[leaf]


@pytest.mark.parametrize(
    "rule",
    [rules.DirectRandomTargetProjection(), rules.LocalLosses(readout="fixed")],
    ids=["targets", "local losses"],
)
def test_random_targets_and_local_losses_are_unlocked(rule):
    update = static(rule)
    assert [above(update, leaf) for leaf in range(3)] == [set()] * 3


def test_feedback_alignment_is_locked():
    assert above(static(rules.FeedbackAlignment()), 0) == {1, 2, 3}


# ---------------------------------------------------------------- hops and rounds


def label_hops(update):
    """The fewest weight uses from the label to each update; inf if it is not told."""
    paths = [value.hops.get("label", (math.inf,)) for value in update.of_grads]
    return [path[0] for path in paths]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_label_reaches_a_layer_after_its_distance_in_rounds(steps):
    found = label_hops(static(free(steps)))
    assert [hops < math.inf for hops in found] == [d <= steps for d in (3, 2, 1, 0)]


@pytest.mark.parametrize("layers", [3, 5])
def test_a_round_of_free_coding_takes_two_weight_uses_at_any_depth(layers):
    params = weights(5, *[6] * (layers - 1), 3)
    assert static(free(12), params=params).hops_per_round == 2


@pytest.mark.parametrize("layers", [3, 5])
def test_a_round_in_error_space_takes_more_the_deeper_the_network(layers):
    params = weights(5, *[6] * (layers - 1), 3)
    rule = free(8, inference=rules.ErrorRelaxation())
    assert static(rule, params=params).hops_per_round == 2 * (layers - 1)


def test_direct_feedback_takes_one_weight_use_to_every_layer():
    update = static(rules.DirectFeedbackAlignment())
    assert label_hops(update) == [1, 1, 1, 0]


def test_random_targets_come_from_the_label_and_not_from_the_output():
    update = static(rules.DirectRandomTargetProjection())
    assert label_hops(update) == [1, 1, 1, 0]
    assert ["output" in v.hops for v in update.of_grads] == [False, False, False, True]


# ---------------------------------------------------------------- rank


def test_the_feedback_of_weight_perturbation_is_one_number():
    found = measured(rules.WeightPerturbation())
    assert [row.rank for row in found.rows] == [1] * 4
    assert all(row.label is None for row in found.rows)
    assert found.measured["global reward"]
    assert found.mismatches == ()


def test_the_feedback_of_own_weights_is_a_vector():
    found = measured(OwnFeedback())
    assert not found.measured["global reward"]
    assert found.mismatches == ()


# ---------------------------------------------------------------- refusals


def test_units_that_are_off_are_refused():
    params = weights(5, 7, 3)
    params[0]["w"] = jnp.zeros_like(params[0]["w"])
    params[1]["w"] = jnp.zeros_like(params[1]["w"])
    with pytest.raises(ValueError, match=r"gradient of '0\.w' is 0 here"):
        measured(rules.Backpropagation(), params=params)


def test_a_call_under_jit_is_refused():
    learner = learner_of(rules.Backpropagation())
    with pytest.raises(ValueError, match=r"outside of `jax\.jit`"):
        jax.jit(lambda w: apical.measure.locality(learner, w, (), w, w).rows)(
            jnp.ones(2)
        )
