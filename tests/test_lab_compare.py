"""The comparison as a whole, from Python."""

import pytest
from lab_files import tiny, write_cifar
from rich.console import Console

from apical import lab
from apical.lab import _compare
from apical.lab._records import read_records

SMALL = {"models": ["mlp"], "seeds": 2, "batch_size": 8, "epochs": 1}
NAMES = ["backpropagation", "untrained-hidden-layers"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compare, "load", lambda *args: tiny(note="40 of 50"))
        console = Console(width=90)
        with console.capture() as capture:
            result = lab.compare(rules=NAMES, out=folder, console=console, **SMALL)
    return result, folder, capture.get()


def test_there_is_one_record_for_each_run_and_epoch(whole):
    result, folder, _ = whole
    keys = [(r["rule"], r["epoch"], r["seed"]) for r in result.records]
    assert keys == [
        (n, epoch, seed) for n in NAMES for epoch in (0, 1) for seed in (0, 1)
    ]
    assert read_records(folder) == result.records
    assert result.records[0]["versions"]["apical"]
    assert result.records[0]["data"] == "digits"
    assert result.records[0]["note"] == "40 of 50"


def test_rules_start_equal_and_end_apart(whole):
    first, last = (
        [r["test_accuracy"] for r in whole[0].records if r["epoch"] == epoch]
        for epoch in (0, 1)
    )
    assert first[:2] == first[2:]
    losses = [r["training_loss"] for r in whole[0].records if r["epoch"] == 1]
    assert losses[:2] != losses[2:] and len(last) == 4


def test_records_and_figures_lie_in_the_folder(whole):
    names = {path.name for path in whole[1].iterdir()}
    assert names == {"records.jsonl", "figure.png", "figure.svg"}


def test_every_finished_run_is_told(whole):
    assert "mlp · backpropagation" in whole[2]
    assert "alignment 1.00 → 1.00" in whole[2]


def test_an_earlier_comparison_can_be_read_again(whole):
    result, folder, _ = whole
    again = lab.Comparison.read(folder)
    assert str(again.rows) == str(result.rows)
    assert again.table.row_count == result.table.row_count == 3


def test_backpropagation_is_timed_even_where_it_is_no_row(monkeypatch):
    monkeypatch.setattr(_compare, "load", lambda *args: tiny())
    result = lab.compare(rules=["untrained-hidden-layers"], **SMALL)
    assert result.rows[0].time_ratio > 0


def test_cifar_files_go_all_the_way_through_a_convolutional_net(tmp_path):
    write_cifar(tmp_path)
    result = lab.compare(
        data="cifar10",
        data_dir=tmp_path,
        **SMALL | {"models": ["cnn"], "seeds": 1, "batch_size": 4},
        rules=["backpropagation"],
    )
    assert result.rows[0].status == "ok"
    assert "12 of 50,000" in str(result.table.caption)


def test_an_interrupt_keeps_the_records_so_far(tmp_path, monkeypatch):
    def interrupted(start, name, entry, baseline, on_steps):
        yield {"model": "mlp", "rule": name, "epoch": 0}
        raise KeyboardInterrupt

    monkeypatch.setattr(_compare, "load", lambda *args: tiny())
    monkeypatch.setattr(_compare, "run_records", interrupted)
    monkeypatch.setattr(_compare, "_expected", lambda *args: 1.0)
    with pytest.raises(KeyboardInterrupt):
        lab.compare(rules=NAMES, out=tmp_path, **SMALL)
    (record,) = read_records(tmp_path)
    assert record["rule"] == "backpropagation" and record["versions"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rules": ["feedback-aligment"]}, "Did you mean 'feedback-alignment'"),
        ({"rules": ["zzz"]}, "There are: backpropagation, feedback-alignment"),
        ({"rules": []}, "name at least one rule of: backpropagation"),
        ({"models": ["ccn"]}, "no model is called 'ccn'. Did you mean 'cnn'"),
        ({"optimizer": "adma"}, "no optimizer is called 'adma'. Did you mean 'adam"),
        ({"data": "digit"}, "Did you mean 'digits'"),
        ({"rate": -1.0}, "--rate -1.0: a step size must be above 0"),
        ({"rate": float("nan")}, "--rate nan"),
        ({"epochs": 0}, "--epochs 0: there must be at least one"),
        ({"seeds": 0}, "--seeds 0: there must be at least one"),
        ({"batch_size": 1438}, "--batch-size 1438: must be 1 to 1,437"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(tmp_path, wrong, message):
    with pytest.raises(lab.LabError, match=message):
        lab.compare(out=tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
