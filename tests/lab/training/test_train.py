"""Training: every lane on its own, every rule from the same start."""

import equinox as eqx
import jax
import numpy as np
import optax
import pytest
from support.lab_files import tiny
from support.lab_work import epochs, run, work

from apical import rules
from apical.lab._registry import RULES
from apical.lab._rule_spec import Entry
from apical.lab.models import own_model
from apical.lab.run._measurements import Stopwatch
from apical.lab.training import _train
from apical.lab.training._setup import Lanes, Start, Work, batch_order, held_out
from apical.lab.training._train import Run, Watch


@pytest.fixture(scope="module")
def both_seeds():
    return epochs(run())


def require_same(together, apart, lanes=slice(None)):
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.loss[lanes], other.loss, rtol=1e-4)
        np.testing.assert_allclose(one.scores.loss[lanes], other.scores.loss, rtol=1e-4)
        np.testing.assert_allclose(one.scores.accuracy[lanes], other.scores.accuracy)
        cosines = one.alignment.overall.cosine[lanes], other.alignment.overall.cosine
        np.testing.assert_allclose(*cosines, rtol=1e-3)


def test_seeds_trained_at_once_equal_seeds_trained_alone(both_seeds):
    require_same(both_seeds, epochs(run(seeds=(1,))), slice(1, 2))
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
        run(rule).begin().learned[0].params
        for rule in ("backpropagation", "kolen-pollack")
    ]
    assert jax.tree.all(jax.tree.map(np.array_equal, *begun))
    first, second = jax.tree.leaves(begun[0])[0]
    assert not np.array_equal(first, second)


def test_an_epoch_shows_no_example_twice_and_depends_on_seed_and_epoch_alone():
    given = work()
    order = batch_order(given, (0, 1), epoch=1)
    assert order.shape == (5, 2, 8)
    for seed in range(2):
        assert len(np.unique(order[:, seed])) == 40
    assert np.array_equal(order, batch_order(given, (0, 1), epoch=1))
    assert not np.array_equal(order, batch_order(given, (0, 1), epoch=2))
    assert not np.array_equal(order[:, 0], order[:, 1])
    assert np.array_equal(order[:, 1:], batch_order(given, (1,), epoch=1))


def test_what_does_not_fill_a_batch_waits():
    given = work(train=47)
    assert given.steps == 5
    assert batch_order(given, (0, 1), 1).max() > 39


def test_an_epoch_in_pieces_is_the_same_epoch(both_seeds):
    made, told = run(), []
    small = made.start.work.model._replace(steps_per_call=2)
    made.start.work = made.start.work._replace(model=small)
    require_same(both_seeds, epochs(made, Watch(steps=told.append)))
    assert told == [2, 2, 1] * 2


def test_backpropagation_learns_and_agrees_with_itself():
    last = epochs(run("backpropagation", epochs=5, train=80))[-1]
    assert last.scores.accuracy.min() > 0.8 and last.scores.loss.max() < 1.0
    np.testing.assert_allclose(last.alignment.overall.cosine, 1, rtol=1e-5)


def test_scores_are_those_of_the_predictions():
    made = run("backpropagation", test=13)
    begun = made.begin()
    loss, right, diverged = made.score(begun)
    assert not diverged.any()
    model = eqx.combine(begun.learned[0].params, made.start.loss.static)
    data = made.start.work.data
    logits = eqx.filter_vmap(lambda model: model(data.test_x))(model)
    expected = optax.softmax_cross_entropy_with_integer_labels(
        logits, np.stack([data.test_y] * 2)
    )
    np.testing.assert_allclose(loss, expected.mean(1), rtol=1e-5)
    np.testing.assert_allclose(right, (logits.argmax(-1) == data.test_y).mean(1))


def test_the_squared_error_is_half_the_squared_distance_to_one_hot():
    given = work()._replace(loss="squared-error")
    made = Run(Start(given), RULES["backpropagation"], Lanes.alike((0,), 0.01, {}))
    begun = made.begin()
    loss, *_ = made.score(begun)
    params = jax.tree.map(lambda leaf: leaf[0], begun.learned[0].params)
    outputs = eqx.combine(params, made.start.loss.static)(given.data.test_x)
    expected = 0.5 * ((outputs - np.eye(10)[given.data.test_y]) ** 2).sum(1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    after, _ = made.epoch(begun, Watch())
    assert made.score(after).loss < loss


def test_every_test_example_counts_once(monkeypatch):
    made = run("backpropagation", test=12)
    begun = made.begin()
    whole = made.score(begun)
    monkeypatch.setattr(_train, "_TEST_CHUNK", 5)
    np.testing.assert_allclose(made.score(begun), whole, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [optax.adam, optax.adamw], ids=["adam", "decay"])
def test_the_control_moves_its_readout_and_nothing_else(optimizer):
    given = work()._replace(optimizer=optimizer)
    lanes = Lanes.alike((0, 1), 0.01, {})
    made = Run(Start(given), RULES["untrained-hidden-layers"], lanes)
    begun = made.begin()
    after, _ = made.epoch(begun, Watch())
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
    made = run("untrained-hidden-layers")
    alignment = made.alignment(made.begin().learned)
    for path, leaf in alignment.leaves.items():
        np.testing.assert_allclose(leaf.cosine, "readout" in path, atol=1e-5)
    overall = alignment.overall
    np.testing.assert_allclose(overall.cosine, overall.norm_ratio, rtol=1e-5)
    assert 0 < overall.cosine[0] < 1


def test_a_convolutional_net_carries_its_running_statistics():
    made = run("backpropagation", model="cnn", shape=(1, 8, 8), epochs=1, train=16)
    begun = made.begin()
    after, times = made.epoch(begun, Watch())
    assert np.isfinite(after.losses).all() and len(times.rule) == 2
    before, now = (jax.tree.leaves(p.learned[0].statistics) for p in (begun, after))
    assert not any(map(np.array_equal, before, now))


def groups(model, shape):
    return run(model=model, shape=shape, epochs=1).groups


def test_lanes_of_large_convolutions_are_trained_one_by_one_on_a_cpu():
    assert groups("cnn", (1, 12, 12)) == [slice(0, 1), slice(1, 2)]
    assert groups("cnn", (1, 8, 8)) == [slice(0, 2)]
    assert groups("mlp", (1, 12, 12)) == [slice(0, 2)]


def test_lanes_one_by_one_equal_lanes_at_once(both_seeds, monkeypatch):
    one_by_one = [slice(0, 1), slice(1, 2)]
    monkeypatch.setattr(_train, "_groups", lambda start, lanes: one_by_one)
    require_same(both_seeds, epochs(run()))


def test_a_lane_has_its_own_step_size_and_its_own_numbers_of_the_rule():
    lanes = Lanes((0, 0, 0), (0.01, 0.01, 0.1), {"decay": (0.0, 0.2, 0.0)})
    together = epochs(Run(Start(work()), RULES["kolen-pollack"], lanes))
    for i in range(3):
        alone = Entry(lambda i=i: rules.KolenPollack(decay=lanes.numbers["decay"][i]))
        given = work()._replace(learning_rate=lanes.learning_rates[i])
        one = Lanes.alike((0,), given.learning_rate, {})
        require_same(together, epochs(Run(Start(given), alone, one)), slice(i, i + 1))
    assert len(set(together[-1].loss.tolist())) == 3


def test_a_model_may_hold_what_is_no_array(both_seeds):
    class Named(eqx.Module):
        inner: eqx.nn.MLP  # its activation is a leaf, and a function
        words: str

        def __call__(self, x):
            return jax.vmap(self.inner)(x.reshape(len(x), -1))

    def build(key, shape, classes):
        return Named(eqx.nn.MLP(16, classes, 8, 1, key=key), "any")

    given = Work(tiny(), "named", own_model(build, "pictures"), optax.adam, 0.01, 1, 8)
    lanes = Lanes.alike((0, 1), 0.01, {})
    last = epochs(Run(Start(given), RULES["feedback-alignment"], lanes))[-1]
    assert np.isfinite(last.loss).all()
    assert len(last.alignment.leaves) == 4


def test_the_stopwatch_times_backpropagation_in_turn_with_the_rule():
    made = run("backpropagation")
    watch = Watch(backpropagation=Stopwatch(made.start, (0, 1)))
    _, times = made.epoch(made.begin(), watch)
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
