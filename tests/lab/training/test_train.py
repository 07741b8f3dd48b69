"""Training: independent runs, and the same start for every rule."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.lab_files import tiny
from support.lab_runs import epochs, train_config, trainer

from apical import rules
from apical.lab._registry import RULES
from apical.lab._rule_spec import RuleSpec
from apical.lab.models import own_model
from apical.lab.run._measurements import BaselineTimer
from apical.lab.training import _train
from apical.lab.training._setup import (
    TrainConfig,
    TrainSetup,
    VmappedRuns,
    batch_order,
    held_out,
)
from apical.lab.training._train import TrainCallbacks, Trainer


@pytest.fixture(scope="module")
def both_seeds():
    return epochs(trainer())


def require_same(together, apart, runs=slice(None)):
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.loss[runs], other.loss, rtol=1e-4)
        np.testing.assert_allclose(one.scores.loss[runs], other.scores.loss, rtol=1e-4)
        np.testing.assert_allclose(one.scores.accuracy[runs], other.scores.accuracy)
        cosines = one.alignment.overall.cosine[runs], other.alignment.overall.cosine
        np.testing.assert_allclose(*cosines, rtol=1e-3)


def test_seeds_trained_at_once_equal_seeds_trained_alone(both_seeds):
    require_same(both_seeds, epochs(trainer(seeds=(1,))), slice(1, 2))
    assert both_seeds[-1].loss[0] != both_seeds[-1].loss[1]


def test_epoch_nought_comes_before_training(both_seeds):
    assert [epoch.number for epoch in both_seeds] == [0, 1, 2]
    assert np.isnan(both_seeds[0].loss).all()
    assert np.isfinite(both_seeds[0].scores.loss).all()
    assert np.isnan(both_seeds[0].seconds_per_step)
    assert both_seeds[1].seconds_per_step > 0
    assert both_seeds[0].seconds_compiling > 0


def test_every_rule_starts_from_the_same_weights():
    begun = [
        trainer(rule).begin().learned[0].params
        for rule in ("backpropagation", "kolen-pollack")
    ]
    assert jax.tree.all(jax.tree.map(np.array_equal, *begun))
    first, second = jax.tree.leaves(begun[0])[0]
    assert not np.array_equal(first, second)


def test_an_epoch_shows_no_example_twice_and_depends_on_seed_and_epoch_alone():
    config = train_config()
    order = batch_order(config, (0, 1), epoch=1)
    assert order.shape == (5, 2, 8)
    for seed in range(2):
        assert len(np.unique(order[:, seed])) == 40
    assert np.array_equal(order, batch_order(config, (0, 1), epoch=1))
    assert not np.array_equal(order, batch_order(config, (0, 1), epoch=2))
    assert not np.array_equal(order[:, 0], order[:, 1])
    assert np.array_equal(order[:, 1:], batch_order(config, (1,), epoch=1))


def test_what_does_not_fill_a_batch_waits():
    config = train_config(train=47)
    assert config.steps == 5
    assert batch_order(config, (0, 1), 1).max() > 39


def test_an_epoch_in_pieces_is_the_same_epoch(both_seeds):
    made, told = trainer(), []
    small = made.setup.config.model._replace(steps_per_call=2)
    made.setup.config = made.setup.config._replace(model=small)
    require_same(both_seeds, epochs(made, TrainCallbacks(on_steps=told.append)))
    assert told == [2, 2, 1] * 2


def test_backpropagation_learns_and_agrees_with_itself():
    last = epochs(trainer("backpropagation", epochs=5, train=80))[-1]
    assert last.scores.accuracy.min() > 0.8 and last.scores.loss.max() < 1.0
    np.testing.assert_allclose(last.alignment.overall.cosine, 1, rtol=1e-5)


def test_scores_are_those_of_the_predictions():
    made = trainer("backpropagation", test=13)
    begun = made.begin()
    loss, right, diverged = made.score(begun)
    assert not diverged.any()
    model = eqx.combine(begun.learned[0].params, made.setup.loss.static)
    data = made.setup.config.data
    logits = eqx.filter_vmap(lambda model: model(data.test_x))(model)
    expected = optax.softmax_cross_entropy_with_integer_labels(
        logits, np.stack([data.test_y] * 2)
    )
    np.testing.assert_allclose(loss, expected.mean(1), rtol=1e-5)
    np.testing.assert_allclose(right, (logits.argmax(-1) == data.test_y).mean(1))


def test_the_squared_error_is_half_the_squared_distance_to_one_hot():
    config = train_config()._replace(loss="squared-error")
    made = Trainer(
        TrainSetup(config),
        RULES["backpropagation"],
        VmappedRuns.with_seeds((0,), 0.01, {}),
    )
    begun = made.begin()
    loss, *_ = made.score(begun)
    params = jax.tree.map(lambda leaf: leaf[0], begun.learned[0].params)
    outputs = eqx.combine(params, made.setup.loss.static)(config.data.test_x)
    expected = 0.5 * ((outputs - np.eye(10)[config.data.test_y]) ** 2).sum(1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    after, _ = made.epoch(begun, TrainCallbacks())
    assert made.score(after).loss < loss


def test_every_test_example_counts_once(monkeypatch):
    made = trainer("backpropagation", test=12)
    begun = made.begin()
    whole = made.score(begun)
    monkeypatch.setattr(_train, "_TEST_CHUNK", 5)
    np.testing.assert_allclose(made.score(begun), whole, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [optax.adam, optax.adamw], ids=["adam", "decay"])
def test_the_control_moves_its_readout_and_nothing_else(optimizer):
    config = train_config()._replace(optimizer=optimizer)
    runs = VmappedRuns.with_seeds((0, 1), 0.01, {})
    made = Trainer(TrainSetup(config), RULES["untrained-hidden-layers"], runs)
    begun = made.begin()
    after, _ = made.epoch(begun, TrainCallbacks())
    before = jax.tree_util.tree_leaves_with_path(begun.learned[0].params)
    moved = {
        jax.tree_util.keystr(path): not np.array_equal(old, new)
        for (path, old), new in zip(
            before, jax.tree.leaves(after.learned[0].params), strict=True
        )
    }
    assert len(moved) == 6
    assert moved == {path: "readout" in path for path in moved}


def test_the_alignment_of_the_control_is_the_share_of_its_readout():
    made = trainer("untrained-hidden-layers")
    alignment = made.alignment(made.begin().learned)
    for path, leaf in alignment.leaves.items():
        np.testing.assert_allclose(leaf.cosine, "readout" in path, atol=1e-5)
    overall = alignment.overall
    np.testing.assert_allclose(overall.cosine, overall.norm_ratio, rtol=1e-5)
    assert 0 < overall.cosine[0] < 1


def test_a_convolutional_net_carries_its_running_statistics():
    made = trainer("backpropagation", model="cnn", shape=(1, 8, 8), epochs=1, train=16)
    begun = made.begin()
    after, times = made.epoch(begun, TrainCallbacks())
    assert np.isfinite(after.losses).all() and len(times.rule) == 2
    before, now = (jax.tree.leaves(p.learned[0].statistics) for p in (begun, after))
    assert not any(map(np.array_equal, before, now))


def groups(model, shape):
    return trainer(model=model, shape=shape, epochs=1).groups


def test_lanes_of_large_convolutions_are_trained_one_by_one_on_a_cpu():
    assert groups("cnn", (1, 12, 12)) == [slice(0, 1), slice(1, 2)]
    assert groups("cnn", (1, 8, 8)) == [slice(0, 2)]
    assert groups("mlp", (1, 12, 12)) == [slice(0, 2)]


def looped(key, shape, classes):
    """An MLP whose hidden layer is applied twice, by a loop."""
    made = eqx.nn.MLP(16, classes, 8, 1, key=key)

    class Looped(eqx.Module):
        inner: eqx.nn.MLP
        again: jax.Array

        def __call__(self, x):
            first, last = self.inner.layers
            hidden = jnp.tanh(jax.vmap(first)(x.reshape(len(x), -1)))
            step = jax.checkpoint(lambda h: jnp.tanh(h @ self.again))
            hidden, _ = jax.lax.scan(lambda h, _: (step(h), None), hidden, length=2)
            return jax.vmap(last)(hidden)

    return Looped(made, jnp.eye(8))


def test_runs_of_a_model_with_a_loop_are_trained_one_by_one_on_a_cpu(monkeypatch):
    model = own_model(looped, "pictures")
    config = TrainConfig(tiny(), "looped", model, optax.adam, 0.01, 1, 8)
    runs = VmappedRuns.with_seeds((0, 1), 0.01, {})

    def made():
        return Trainer(TrainSetup(config), RULES["backpropagation"], runs)

    assert made().groups == [slice(0, 1), slice(1, 2)]
    monkeypatch.setattr(TrainSetup, "device", SimpleNamespace(platform="gpu"))
    assert made().groups == [slice(0, 2)]


def test_lanes_one_by_one_equal_lanes_at_once():
    made = trainer("kolen-pollack")
    apart = Trainer(made.setup, RULES["kolen-pollack"], made.runs, apart=True)
    assert (len(made.groups), len(apart.groups)) == (1, 2)
    require_same(epochs(made), epochs(apart))


def test_a_lane_has_its_own_step_size_and_its_own_numbers_of_the_rule():
    runs = VmappedRuns((0, 0, 0), (0.01, 0.01, 0.1), {"decay": (0.0, 0.2, 0.0)})
    together = epochs(Trainer(TrainSetup(train_config()), RULES["kolen-pollack"], runs))
    for i in range(3):
        alone = RuleSpec(lambda i=i: rules.KolenPollack(decay=runs.numbers["decay"][i]))
        config = train_config()._replace(learning_rate=runs.learning_rates[i])
        one = VmappedRuns.with_seeds((0,), config.learning_rate, {})
        require_same(
            together, epochs(Trainer(TrainSetup(config), alone, one)), slice(i, i + 1)
        )
    assert len(set(together[-1].loss.tolist())) == 3


def test_a_model_may_hold_what_is_no_array(both_seeds):
    class Named(eqx.Module):
        inner: eqx.nn.MLP  # its activation is a leaf, and a function
        words: str

        def __call__(self, x):
            return jax.vmap(self.inner)(x.reshape(len(x), -1))

    def build(key, shape, classes):
        return Named(eqx.nn.MLP(16, classes, 8, 1, key=key), "any")

    config = TrainConfig(
        tiny(), "named", own_model(build, "pictures"), optax.adam, 0.01, 1, 8
    )
    runs = VmappedRuns.with_seeds((0, 1), 0.01, {})
    last = epochs(Trainer(TrainSetup(config), RULES["feedback-alignment"], runs))[-1]
    assert np.isfinite(last.loss).all()
    assert len(last.alignment.leaves) == 4


def test_the_stopwatch_times_backpropagation_in_turn_with_the_rule():
    made = trainer("backpropagation")
    callbacks = TrainCallbacks(time_backpropagation=BaselineTimer(made.setup, (0, 1)))
    _, times = made.epoch(made.begin(), callbacks)
    assert len(times.rule) == len(times.backpropagation) == 1
    assert times.backpropagation[0] > 0


def test_what_is_held_out_is_not_trained_on():
    data = tiny(train=50)
    split = held_out(data)
    assert (len(split.train_y), len(split.test_y)) == (40, 10)
    rows = [part.reshape(len(part), -1) for part in (split.train_x, split.test_x)]
    found = {row.tobytes() for row in np.concatenate(rows)}
    assert found == {row.tobytes() for row in data.train_x.reshape(50, -1)}
    assert np.array_equal(held_out(data).test_y, split.test_y)


def test_of_a_text_the_last_windows_are_held_out():
    windows = np.arange(20).reshape(10, 2)
    data = tiny()._replace(kind="characters", train_x=windows, train_y=windows)
    assert held_out(data).test_x.tolist() == windows[8:].tolist()
