"""Callbacks that write epochs elsewhere, read back by the libraries they write for."""

import sys

import equinox as eqx
import jax
import numpy as np
import pytest
from support.comparison_lines import BASELINE, CONTROL
from support.lab_runs import compared

from apical import lab
from apical.lab.run import _runner


def factory(key, shape, classes):
    return eqx.nn.Sequential(
        [
            eqx.nn.Lambda(lambda x: x.reshape(len(x), -1)),
            eqx.nn.Lambda(lambda x: x @ np.ones((16, 4), np.float32)),
            Readout(key, classes),
        ]
    )


class Readout(eqx.Module):
    weight: jax.Array

    def __init__(self, key, classes):
        self.weight = jax.random.normal(key, (4, classes))

    def __call__(self, x, key=None):
        return x @ self.weight


@pytest.fixture
def run(monkeypatch):
    def run(writer, **given):
        monkeypatch.setattr(_runner, "cost_line", lambda *args: {"depth": 1})
        settings = {"models": ["mlp"], "rules": [BASELINE, CONTROL], **given}
        return compared(callbacks=[writer], **settings)

    return run


def test_tensorboard_reads_what_was_measured(run, tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    found = run(lab.TensorBoard(tmp_path))
    folders = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("*/*/*"))
    assert folders == [
        f"mlp/{rule}/seed-{seed}"
        for rule in sorted((BASELINE, CONTROL))
        for seed in (0, 1)
    ]
    events = reader.EventAccumulator(str(tmp_path / "mlp" / BASELINE / "seed-1"))
    events.Reload()
    wanted = {
        line["epoch"]: line["test_accuracy"]
        for line in found.records
        if (line["rule"], line["seed"]) == (BASELINE, 1)
    }
    told = {e.step: e.value for e in events.Scalars("test_accuracy")}
    assert told == pytest.approx(wanted)
    assert any(tag.startswith("layers/") for tag in events.Tags()["scalars"])


def test_a_checkpoint_restores_the_trained_model(run, tmp_path):
    kept = {}

    def keep(event):
        kept[event.rule, event.epoch] = event.trained

    writer = lab.OrbaxCheckpoints(tmp_path, every=2)

    def both(event):
        keep(event)
        writer(event)

    run(both, models={"own": factory}, epochs=3)
    saved = tmp_path / "own" / BASELINE
    assert sorted(p.name for p in (saved / "seed-1").iterdir()) == [
        *("epoch-0", "epoch-2", "epoch-3")
    ]
    blank = factory(jax.random.key(9), (16,), 10)
    restored = lab.OrbaxCheckpoints.restore(saved / "seed-1" / "epoch-3", blank)
    trained, first = kept[BASELINE, 3][1], kept[BASELINE, 0][1]
    weights = [each.layers[-1].weight for each in (restored, trained, first)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[2], weights[1])
    with pytest.raises(ValueError, match=r"\(4, 10\).*of \[\(4, 3\)\]"):
        other = factory(jax.random.key(9), (16,), 3)
        lab.OrbaxCheckpoints.restore(saved / "seed-1" / "epoch-3", other)
    with pytest.raises(ValueError, match="`every` must be at least 1"):
        lab.OrbaxCheckpoints(tmp_path, every=0)


@pytest.mark.slow  # starts processes of wandb, which `make bench` installs
def test_weights_and_biases_logs_each_seed_offline(run, tmp_path):
    wandb = pytest.importorskip("wandb")
    begun, logged, init = [], [], wandb.init

    def spied(**given):
        made = init(**given)
        begun.append(given)
        log = made.log
        made.log = lambda *args, **kw: (logged.append((args, kw)), log(*args, **kw))
        return made

    wandb.init = spied
    try:
        writer = lab.WeightsAndBiases("rules", mode="offline", dir=str(tmp_path))
        found = run(writer, rules=[BASELINE])
    finally:
        wandb.init = init
    assert [(g["group"], g["config"]["seed"]) for g in begun] == [
        (f"mlp {BASELINE}", 0),
        (f"mlp {BASELINE}", 1),
    ]
    assert begun[0]["config"]["optimizer"] == "adam"
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 2
    assert len(logged) == len(found.records)
    (metrics,), at = logged[-1]
    assert metrics["test_accuracy"] == found.records[-1]["test_accuracy"]
    assert at == {"step": 2}


def test_runs_that_were_interrupted_are_closed(run):
    class Writer:
        closed = 0

        def __call__(self, event):
            raise KeyboardInterrupt

        def close(self):
            self.closed += 1

    writer = Writer()
    with pytest.raises(KeyboardInterrupt):
        run(writer)
    assert writer.closed == 1


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(lab.LabError, match=r"pip install 'apical\[tensorboard\]'"):
        lab.TensorBoard("somewhere")


def test_one_function_in_place_of_a_list_is_refused():
    with pytest.raises(lab.LabError, match="callbacks= must be a list"):
        compared(callbacks=print)
