"""Refusals of the path kernel: each says why, before a number is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import batch, layers, loss_fn, network

import apical
from apical import rules
from apical.measure import path_kernel

KEY = jax.random.key(0)
PARAMS, DATA, X = layers(3, 4, 4, 1), batch(6, 3, 1), batch(5, 3, 1, seed=2)[0]


def predict(params):
    return network(params, X)


def measured(rule=None, optimizer=None, loss=loss_fn, predict=predict, **options):
    rule = rules.Backpropagation() if rule is None else rule
    options = {"steps": 2, "kernel": False} | options
    learner = apical.value_and_grad(loss, rule)
    state = learner.init(KEY, PARAMS, *DATA)
    optimizer = optax.sgd(0.1) if optimizer is None else optimizer
    return path_kernel(learner, predict, optimizer, **options)(PARAMS, state, *DATA)


OPTIMIZERS = {
    "momentum": (optax.sgd(0.1, momentum=0.9), r"memory .*TraceState"),
    "adam": (optax.adam(1e-2), r"memory .*ScaleByAdamState"),
    "average": (
        optax.chain(optax.ema(0.9), optax.scale(-0.1)),
        r"memory .*EmaState",
    ),
    "decay": (
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
        "gradient is zero",
    ),
    "signs": (optax.sign_sgd(0.1), "not linear"),
    "normalised": (
        optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.1)),
        "not linear",
    ),
}


@pytest.mark.parametrize(("optimizer", "reason"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimiser_with_memory_or_not_linear_is_refused(optimizer, reason):
    with pytest.raises(ValueError, match=reason):
        measured(optimizer=optimizer)


def test_an_optimiser_that_clips_later_is_refused_when_it_does():
    """Its limit is above the numbers that it is tried with."""
    optimizer = optax.chain(optax.clip_by_global_norm(50.0), optax.sgd(1e-6))

    def large(params, x, y):
        return 1e4 * loss_fn(params, x, y)

    with pytest.raises(ValueError, match=r"do not sum to the update.*optimiser clips"):
        measured(optimizer=optimizer, loss=large)


def test_noise_drawn_for_each_example_is_refused():
    with pytest.raises(ValueError, match=r"do not sum .*NodePerturbation draws noise"):
        measured(rules.NodePerturbation())


def test_a_rule_that_decays_weights_is_refused_and_without_decay_measured():
    with pytest.raises(ValueError, match=r"do not sum .*a decay of weights"):
        measured(rules.KolenPollack(decay=0.1))
    assert measured(rules.KolenPollack(decay=0.0)).error < 1e-3


def test_batch_normalisation_is_refused_by_its_line():
    def normalised(params, x, y):
        x = jnp.tanh(x @ params[0]["w"])
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)
        return loss_fn(params[1:], x, y)

    with pytest.raises(ValueError, match=r"at .*test_refusals\.py.* joins several"):
        measured(loss=normalised, predict=lambda p: p[0]["w"])


def test_a_state_with_values_of_examples_is_refused():
    rule = rules.IncrementalPredictiveCoding(streaming=True)
    with pytest.raises(ValueError, match="holds values of each example"):
        measured(rule)


def test_a_penalty_in_a_summed_loss_belongs_to_no_example():
    def penalised(params, x, y):
        return jnp.sum((network(params, x) - y) ** 2) + jnp.sum(params[0]["w"] ** 2)

    learner = apical.value_and_grad(penalised, rules.Backpropagation(), reduction="sum")
    measure = path_kernel(learner, predict, optax.sgd(0.01), steps=1)
    with pytest.raises(ValueError, match=r"do not sum .*reduction="):
        measure(PARAMS, (), *DATA)


def test_a_derivative_that_is_not_that_of_the_predictions_is_refused():
    def stopped(params):
        return network(jax.lax.stop_gradient(params[:1]) + params[1:], X)

    with pytest.raises(ValueError, match=r"miss the change of the predictions"):
        measured(predict=stopped)


def test_a_training_that_diverges_is_refused():
    with pytest.raises(ValueError, match="training diverged"):
        measured(optimizer=optax.sgd(1e30), steps=9)


def test_a_rule_that_descends_another_loss_has_no_kernel():
    rule = rules.Backpropagation(descends="squared-error")
    learner = apical.value_and_grad(loss_fn, rule, target=lambda x, y: y)
    measure = path_kernel(learner, predict, optax.sgd(0.1), steps=1)
    with pytest.raises(ValueError, match=r"descends 'squared-error'.*kernel=False"):
        measure(PARAMS, learner.init(KEY, PARAMS, *DATA), *DATA)


BATCHES = {
    "both": ({"steps": 2, "batches": [[0]]}, "one of the two"),
    "neither": ({"steps": None}, "one of the two"),
    "no step": ({"steps": 0}, "`steps` must be a whole number above 0"),
    "fractions": ({"steps": None, "batches": [[0.5]]}, "whole numbers of shape"),
    "one row": ({"steps": None, "batches": [0, 1]}, "whole numbers of shape"),
    "too large": ({"steps": None, "batches": [[0, 6]]}, "there are 6 examples"),
    "points": ({"points": 0}, "`points` must be"),
    "chunk": ({"chunk_size": 1.5}, "`chunk_size` must be"),
    "tolerance": ({"tolerance": 0.0}, "`tolerance` must be"),
}


@pytest.mark.parametrize(("options", "reason"), BATCHES.values(), ids=BATCHES)
def test_updates_that_cannot_be_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        measured(**options)


def test_predictions_are_one_array_of_real_numbers():
    with pytest.raises(TypeError, match="`predict` must be a function"):
        measured(predict=X)
    with pytest.raises(ValueError, match="not an array of int"):
        measured(predict=lambda p: jnp.argmax(network(p, X), axis=1))
    with pytest.raises(ValueError, match="not a tuple"):
        measured(predict=lambda p: (network(p, X),) * 2)


def test_it_is_called_with_numbers_on_a_learner():
    with pytest.raises(TypeError, match="takes a learner, not a function"):
        path_kernel(loss_fn, predict, optax.sgd(0.1), steps=1)
    learner = apical.value_and_grad(loss_fn, rules.Backpropagation())
    with pytest.raises(TypeError, match="`optimizer` must be an optax"):
        path_kernel(learner, predict, 0.1, steps=1)
    measure = path_kernel(learner, predict, optax.sgd(0.1), steps=1)
    with pytest.raises(ValueError, match=r"outside of `jax\.jit`"):
        jax.jit(measure)(PARAMS, (), *DATA)


def test_single_precision_is_enough_for_the_default_tolerance():
    found = measured(rules.FeedbackAlignment(), steps=200, kernel=True)
    assert found.change.dtype == jnp.float32 and found.error < 1e-4
    assert np.isfinite(found.kernel).all()
