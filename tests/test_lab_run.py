"""What diverges or is refused is said so, and the others go on."""

import numpy as np
import optax
import pytest
from lab_files import tiny

from apical import lab, rules
from apical.lab import _compare, _run
from apical.lab._registry import RULES, Entry
from apical.lab._run import run_records
from apical.lab._start import Setting, Start
from apical.lab._train import Epoch
from apical.measure import Agreement, Alignment


def setting(seeds=(3, 4)):
    return Setting(tiny(), "mlp", optax.sgd, 0.1, 3, 8, seeds)


def epoch(number, loss, accuracy=(0.5, 0.5)):
    """An epoch as `train` yields it."""
    agreement = Agreement(*np.ones((3, 2)))
    loss, accuracy = np.array(loss), np.array(accuracy)
    return Epoch(
        number, loss, accuracy, Alignment(agreement, {"a": agreement}), 0.1, 0.2, 1.0
    )


def statuses(monkeypatch, epochs):
    monkeypatch.setattr(_run, "train", lambda *args: iter(epochs))
    start = type("Start", (), {"setting": setting()})()
    records = run_records(
        start, "backpropagation", RULES["backpropagation"], None, None
    )
    return [(r["epoch"], r["seed"], r["status"]) for r in records]


NAN = float("nan")


def test_before_training_there_is_no_loss_and_that_is_no_divergence(monkeypatch):
    found = statuses(monkeypatch, [epoch(0, [NAN, NAN])])
    assert found == [(0, 3, "ok"), (0, 4, "ok")]


def test_a_diverged_seed_stays_diverged_while_the_other_goes_on(monkeypatch):
    epochs = [epoch(1, [NAN, 1.0]), epoch(2, [0.1, 1.0])]
    assert statuses(monkeypatch, epochs) == [
        (1, 3, "diverged"),
        (1, 4, "ok"),
        (2, 3, "diverged"),
        (2, 4, "ok"),
    ]


@pytest.mark.parametrize(
    "lost",
    [epoch(1, [np.inf, NAN]), epoch(1, [1.0, 1.0], accuracy=[NAN, NAN])],
    ids=["loss", "logits"],
)
def test_when_every_seed_has_diverged_there_is_no_further_epoch(monkeypatch, lost):
    found = statuses(monkeypatch, [lost, epoch(2, [1.0, 1.0])])
    assert found == [(1, 3, "diverged"), (1, 4, "diverged")]


def test_a_rate_beyond_reason_diverges_and_the_next_rule_goes_on(monkeypatch):
    monkeypatch.setattr(_compare, "load", lambda *args: tiny())
    entries = {
        "wild": Entry(lambda: rules.PredictiveCoding(prediction="free", rate=1e20)),
        "backpropagation": RULES["backpropagation"],
    }
    monkeypatch.setattr(_compare, "RULES", entries)
    monkeypatch.setattr("apical.lab._table.RULES", entries)
    result = lab.compare(models=["mlp"], rules=entries, epochs=2, seeds=2, batch_size=8)
    wild, sane = result.rows
    assert (wild.status, wild.diverged, wild.seeds) == ("diverged", 2, 2)
    assert (sane.status, sane.diverged) == ("ok", 0)
    lost = [r for r in result.records if r["rule"] == "wild" and r["epoch"] > 0]
    assert {r["epoch"] for r in lost} == {1}
    assert {r["training_loss"] for r in lost} == {None}


def test_a_rule_that_refuses_leaves_its_reason(monkeypatch):
    def refuse(*args):
        raise ValueError("`x` cannot be had; do that")
        yield

    monkeypatch.setattr(_run, "train", refuse)
    start = type("Start", (), {"setting": setting()})()
    entry = RULES["feedback-alignment"]
    records = list(run_records(start, "feedback-alignment", entry, None, None))
    assert [r["seed"] for r in records] == [3, 4]
    assert {r["status"] for r in records} == {"refused"}
    assert {r["message"] for r in records} == {"`x` cannot be had; do that"}


def test_an_error_after_the_first_epoch_is_no_refusal(monkeypatch):
    def fail(*args):
        yield epoch(0, [NAN, NAN])
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        statuses(monkeypatch, fail())


def test_a_record_tells_the_whole_run():
    start = Start(setting(seeds=(7,)))
    entry = RULES["kolen-pollack"]
    record = next(run_records(start, "kolen-pollack", entry, None, lambda steps: None))
    assert record["seed"] == 7
    assert record["hyper_parameters"] == {"decay": 1e-4}
    assert record["rule_class"] == "KolenPollack"
    assert (record["model"], record["rate"], record["batch_size"]) == ("mlp", 0.1, 8)
    assert (record["training_examples"], record["test_examples"]) == (40, 12)
    assert len(record["alignment_of_leaves"]) == 6
    assert record["training_loss"] is None and record["seconds_per_step"] is None
