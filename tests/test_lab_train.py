"""Training: every seed on its own, every rule from the same start."""

import jax
import numpy as np
import optax
import pytest
from lab_files import tiny

from apical.lab import _start, _train
from apical.lab._models import Model
from apical.lab._registry import RULES
from apical.lab._start import Setting, Start, batch_order, seed_groups
from apical.lab._stopwatch import Stopwatch
from apical.lab._train import Run, train


def setting(seeds=(0, 1), model="mlp", epochs=2, batch_size=8, rate=0.01, **keywords):
    data = tiny(**keywords)
    return Setting(data, model, optax.adam, rate, epochs, batch_size, seeds)


def epochs(given, rule="feedback-alignment"):
    return list(train(Start(given), RULES[rule]))


@pytest.fixture(scope="module")
def both_seeds():
    return epochs(setting())


def test_seeds_trained_at_once_equal_seeds_trained_alone(both_seeds):
    alone = epochs(setting(seeds=(1,)))
    for together, single in zip(both_seeds, alone, strict=True):
        np.testing.assert_allclose(together.loss[1:], single.loss, rtol=1e-4)
        np.testing.assert_allclose(together.accuracy[1:], single.accuracy)
        cosines = together.alignment.overall.cosine[1:], single.alignment.overall.cosine
        np.testing.assert_allclose(*cosines, rtol=1e-3)


def test_seeds_differ(both_seeds):
    assert both_seeds[-1].loss[0] != both_seeds[-1].loss[1]


def test_epoch_nought_comes_before_training(both_seeds):
    assert [epoch.number for epoch in both_seeds] == [0, 1, 2]
    assert np.isnan(both_seeds[0].loss).all()
    assert np.isnan(both_seeds[0].seconds_per_step)
    assert both_seeds[1].seconds_per_step > 0
    assert both_seeds[0].seconds_compiling > 0


def test_every_rule_starts_from_the_same_weights():
    start = Start(setting())
    (one,) = Run(start, RULES["backpropagation"]).begin()
    (other,) = Run(start, RULES["feedback-alignment"]).begin()
    assert jax.tree.all(jax.tree.map(np.array_equal, one.params, other.params))
    first, second = one.params.readout.weight
    assert not np.array_equal(first, second)


def test_an_epoch_shows_no_picture_twice_and_depends_on_seed_and_epoch_alone():
    given = setting()
    order = batch_order(given, epoch=1)
    assert order.shape == (5, 2, 8)
    for seed in range(2):
        assert len(np.unique(order[:, seed])) == 40
    assert np.array_equal(order, batch_order(given, epoch=1))
    assert not np.array_equal(order, batch_order(given, epoch=2))
    assert not np.array_equal(order[:, 0], order[:, 1])
    alone = batch_order(given._replace(seeds=(1,)), epoch=1)
    assert np.array_equal(order[:, 1:], alone)


def test_what_does_not_fill_a_batch_waits():
    assert setting(train=47).steps == 5
    assert batch_order(setting(train=47), 1).max() > 39


def test_an_epoch_in_pieces_is_the_same_epoch(both_seeds, monkeypatch):
    build = _start.MODELS["mlp"].build
    monkeypatch.setitem(_start.MODELS, "mlp", Model(build, steps_per_call=2))
    run = Run(Start(setting()), RULES["feedback-alignment"])
    told = []
    _, loss, _ = run.epoch(run.begin(), 1, None, told.append)
    assert told == [2, 2, 1]
    np.testing.assert_allclose(loss, both_seeds[1].loss, rtol=1e-5)


def test_backpropagation_learns_and_agrees_with_itself():
    last = epochs(setting(epochs=5, train=80), "backpropagation")[-1]
    assert last.accuracy.min() > 0.8
    np.testing.assert_allclose(last.alignment.overall.cosine, 1, rtol=1e-5)


def test_the_control_moves_its_readout_and_nothing_else():
    start = Start(setting())
    run = Run(start, RULES["untrained-hidden-layers"])
    begun = run.begin()
    after, _, _ = run.epoch(begun, 1, None, lambda steps: None)
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), begun, after)[0].params
    assert jax.tree.leaves(moved.hidden) == [False] * 4
    assert jax.tree.leaves(moved.readout) == [True] * 2


def test_the_alignment_of_the_control_is_the_share_of_its_readout():
    run = Run(Start(setting()), RULES["untrained-hidden-layers"])
    alignment = run.alignment(run.begin())
    cosines = {path: leaf.cosine for path, leaf in alignment.leaves.items()}
    assert len(cosines) == 6
    for path, cosine in cosines.items():
        np.testing.assert_allclose(cosine, "readout" in path, atol=1e-5)
    np.testing.assert_allclose(
        alignment.overall.cosine, alignment.overall.norm_ratio, rtol=1e-5
    )
    assert 0 < alignment.overall.cosine[0] < 1


def test_accuracy_counts_every_test_picture_once(monkeypatch):
    run = Run(Start(setting(test=12)), RULES["backpropagation"])
    begun = run.begin()
    whole = run.accuracy(begun)
    monkeypatch.setattr(_train, "_TEST_CHUNK", 5)
    np.testing.assert_allclose(run.accuracy(begun), whole)


def test_a_convolutional_net_carries_its_running_statistics():
    given = setting(model="cnn", shape=(1, 8, 8), epochs=1, train=16)
    run = Run(Start(given), RULES["backpropagation"])
    begun = run.begin()
    after, loss, times = run.epoch(begun, 1, None, lambda steps: None)
    assert np.isfinite(loss).all() and len(times.rule) == 2
    assert not np.array_equal(begun[0].running[0].mean, after[0].running[0].mean)
    assert (np.asarray(after[0].running[0].variance) > 0).all()


def test_seeds_of_large_convolutions_are_trained_one_by_one_on_a_cpu():
    large, small = ((1, 12, 12), (1, 8, 8))
    assert len(seed_groups(setting(shape=large, model="cnn"))) == 2
    assert seed_groups(setting(shape=small, model="cnn")) == [slice(0, 2)]
    assert seed_groups(setting(shape=large)) == [slice(0, 2)]


def test_seeds_one_by_one_equal_seeds_at_once(both_seeds, monkeypatch):
    one_by_one = [slice(0, 1), slice(1, 2)]
    monkeypatch.setattr(_train, "seed_groups", lambda setting: one_by_one)
    for together, apart in zip(both_seeds, epochs(setting()), strict=True):
        np.testing.assert_allclose(together.loss, apart.loss, rtol=1e-4)
        np.testing.assert_allclose(together.accuracy, apart.accuracy)
        cosines = together.alignment.overall.cosine, apart.alignment.overall.cosine
        np.testing.assert_allclose(*cosines, rtol=1e-3)


def test_the_stopwatch_times_backpropagation_in_turn_with_the_rule():
    start = Start(setting())
    run = Run(start, RULES["backpropagation"])
    _, _, times = run.epoch(run.begin(), 1, Stopwatch(start), lambda steps: None)
    assert len(times.rule) == len(times.baseline) == 1
    assert times.baseline[0] > 0
