"""The comparison as a whole, from Python."""

import io
import json

import equinox as eqx
import jax
import numpy as np
import pandas
import polars
import pytest
from rich.console import Console
from support.lab_files import tiny, write_cifar
from support.lab_runs import compared

from apical import lab, rules
from apical.lab.run import _runner
from apical.lab.storage._jsonl import read
from apical.lab.storage._output_dir import REPORTS

NAMES = ["backpropagation", "untrained-hidden-layers"]
QUICK = {"depth": 1}


@pytest.fixture
def no_cost(monkeypatch):
    monkeypatch.setattr(_runner, "cost_line", lambda *args: QUICK)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    console = Console(file=io.StringIO(), width=90)
    data = tiny(note="40 of 50")
    result = compared(
        data=data, rules=NAMES, sweep=2, out=folder, report=True, console=console
    )
    return result, folder, console.file.getvalue()


def test_there_is_one_record_for_each_run_and_epoch(whole):
    result, _, _ = whole
    keys = [(r["rule"], r["epoch"], r["seed"]) for r in result.records]
    assert keys == [
        (n, epoch, seed) for n in NAMES for epoch in (0, 1, 2) for seed in (0, 1)
    ]
    assert result.records[0]["data"] == "tiny"
    assert result.records[0]["note"] == "40 of 50"


def test_a_record_tells_the_whole_run(whole):
    record = whole[0].records[-1]
    assert record["rule_class"] == "UntrainedHiddenLayers"
    assert record["needs"] == "signed error units"
    assert (record["batch_size"], record["optimizer"], record["sweep"]) == (
        8,
        "adam",
        2,
    )
    assert (record["training_examples"], record["test_examples"]) == (40, 12)
    assert record["seconds_per_step"] > 0 < record["training_loss"]
    assert {"apical", "python", "jax", "jaxlib", "machine", "device"} < record.keys()


def test_rules_start_equal_and_end_apart(whole):
    first, last = (
        [r["test_loss"] for r in whole[0].records if r["epoch"] == epoch]
        for epoch in (0, 2)
    )
    assert first[:2] == first[2:]
    assert last[:2] != last[2:]


def test_alignment_is_kept_by_layer(whole):
    lines = [line for line in whole[0].layers if line["rule"] == NAMES[1]]
    assert len(lines) == 6 * 3 * 2
    for line in lines:
        expected = 1.0 if "readout" in line["parameter"] else 0.0
        assert line["alignment"] == pytest.approx(expected, abs=1e-5)


def test_the_cost_is_told_beside_that_of_backpropagation(whole):
    plain, control = whole[0].costs
    assert (
        plain["flops_ratio"] == 1
        and plain["depth"] == plain["depth_of_backpropagation"]
    )
    assert control["flops_ratio"] < 1 and control["depth"] < plain["depth"]
    assert control["memory_bytes"] > 0 and control["compile_seconds"] > 0
    row = whole[0].rows[1]
    assert (row.flops_ratio, row.depth) == (control["flops_ratio"], control["depth"])


def test_everything_lies_in_the_folder(whole):
    names = {path.name for path in whole[1].iterdir()}
    tables = {
        f"{n}.jsonl"
        for n in ("records", "layers", "regimes", "trials", "costs", "stages")
    }
    reports = {name for name in REPORTS if not name.startswith("varied.")}
    assert tables | {"settings.json"} | reports | {".lock"} == names


def test_the_files_are_tables_that_pandas_and_polars_read(whole):
    result, folder, _ = whole
    for name in ("records", "layers", "trials", "costs"):
        path = folder / f"{name}.jsonl"
        lines = getattr(result, name)
        assert {tuple(line) for line in lines} == {tuple(lines[0])}
        by_pandas, by_polars = (
            pandas.read_json(path, lines=True),
            polars.read_ndjson(path),
        )
        fields = len(lines[0]) + 1  # and the checksum
        assert by_pandas.shape == by_polars.shape == (len(lines), fields)
        found = by_polars.drop("checksum").rows(named=True)[-1]
        assert found == pytest.approx(lines[-1])
    grouped = pandas.read_json(folder / "records.jsonl", lines=True).groupby("rule")
    assert grouped["test_accuracy"].max().between(0, 1).all()


def test_the_settings_are_written_down(whole):
    settings = json.loads((whole[1] / "settings.json").read_text())
    assert (settings["epochs"], settings["seeds"], settings["sweep"]) == (2, 2, 2)
    assert settings["rules"] == NAMES


def test_every_finished_run_is_told(whole):
    assert "mlp · backpropagation" in whole[2]
    assert "alignment 1.00 → 1.00" in whole[2]


def test_an_earlier_comparison_can_be_read_again(whole):
    result, folder, _ = whole
    again = lab.Comparison.read(folder)
    assert str(again.rows) == str(result.rows)
    assert again.trials == result.trials == read(folder / "trials.jsonl")
    assert again.table.row_count == result.table.row_count == 3


def test_reading_a_folder_without_records_says_so(tmp_path):
    with pytest.raises(lab.LabError, match=r"records.jsonl: there is no such file"):
        lab.Comparison.read(tmp_path)


@pytest.mark.usefixtures("no_cost")
def test_backpropagation_is_timed_even_where_it_is_no_row():
    result = compared(rules=NAMES[1:])
    assert result.rows[0].time_ratio > 0
    assert np.isnan(result.rows[0].difference.mean)


@pytest.mark.usefixtures("no_cost")
def test_cifar_files_go_all_the_way_through_a_convolutional_net(tmp_path):
    write_cifar(tmp_path)
    few = {"data": "cifar10", "models": ["cnn"], "seeds": 1, "batch_size": 4}
    result = compared(**few, data_dir=tmp_path, rules=NAMES[:1], epochs=1)
    assert result.rows[0].status == "ok"
    assert "12 of 50,000" in str(result.table.caption)


@pytest.mark.grid(keep=3)
@pytest.mark.usefixtures("no_cost")
@pytest.mark.parametrize("model", ["rnn", "lstm", "transformer"])
def test_characters_go_all_the_way_through(tmp_path, model):
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is the question. " * 60)
    few = {"data": str(path), "models": [model], "seeds": 1, "batch_size": 4}
    result = compared(**few, rules=["feedback-alignment"], epochs=2)
    before, after = result.records[0], result.records[-1]
    assert result.rows[0].status == "ok"
    assert after["test_loss"] < before["test_loss"]
    assert after["training_examples"] > 10


SEQUENCES = {
    "store-recall(train=40, test=10, periods=3, steps=8, wait=1, rate=0.5)": "lif",
    "evidence-accumulation(train=40, test=10, on=4, off=1, delay=1, cues=3)": "alif",
    "copy(train=40, test=10, length=2, delay=2)": "gru",
    "adding(train=40, test=10, time=6)": "lstm",
}


@pytest.mark.grid(keep=4)
@pytest.mark.usefixtures("no_cost")
@pytest.mark.parametrize("data", SEQUENCES)
def test_sequences_go_all_the_way_through(tmp_path, data):
    few = {"data": data, "models": [SEQUENCES[data]], "seeds": 1, "batch_size": 8}
    few |= {"rules": ["feedback-alignment"], "out": tmp_path / "out"}
    few |= {"learning_rate": 0.01}
    result = compared(**few, epochs=3)
    first, *_, last = result.records
    assert result.rows[0].status == "ok" and last["data"] == data
    assert np.isfinite(last["training_loss"])
    assert last["test_loss"] != first["test_loss"]
    assert ("test_r2" in last) == data.startswith("adding")
    again = compared(**few, epochs=3, resume=True)  # data are drawn again
    assert again.records == result.records


class Own(eqx.Module):
    """A user's model."""

    first: jax.Array
    second: jax.Array

    def __call__(self, x):
        return jax.nn.tanh(x.reshape(len(x), -1) @ self.first) @ self.second


def build(key, shape, classes):
    """A user's factory."""
    keys = jax.random.split(key)
    return Own(
        jax.random.normal(keys[0], (int(np.prod(shape)), 12)) / 4,
        jax.random.normal(keys[1], (12, classes)) / 4,
    )


@pytest.mark.usefixtures("no_cost")
def test_models_and_rules_of_ones_own_by_object():
    given = {"mine": rules.FeedbackAlignment(removed_backward=0.5)}
    result = compared(models={"own": build}, rules=given)
    row = result.rows[0]
    assert (row.model, row.rule, row.status) == ("own", "mine", "ok")
    assert json.loads(row.hyper_parameters)["removed_backward"] == 0.5


@pytest.mark.usefixtures("no_cost")
def test_a_factory_may_make_a_new_function_for_every_seed():
    def fresh(key, shape, classes):
        def apply(params, x):
            return jax.nn.tanh(x.reshape(len(x), -1) @ params.first) @ params.second

        return jax.tree_util.Partial(apply, build(key, shape, classes))

    named = {"fresh": fresh, "own": build}
    first, second = compared(models=named, rules=["feedback-alignment"]).rows
    assert (first.status, first.seeds) == ("ok", 2)
    assert first.accuracy == second.accuracy


def test_a_rule_may_be_spelled_with_underscores(monkeypatch):
    monkeypatch.setattr(_runner, "cost_line", lambda *args: QUICK)
    result = compared(rules=["untrained_hidden_layers"])
    assert [row.rule for row in result.rows] == ["untrained-hidden-layers"]


@pytest.mark.usefixtures("no_cost")
def test_models_and_rules_of_ones_own_by_name(tmp_path, monkeypatch):
    (tmp_path / "mine_for_test.py").write_text(
        "from test_compare import build\n"
        "from apical.rules import SignConcordance\n"
        "Signs = SignConcordance\n"
        "fixed = SignConcordance(magnitude='fixed')\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    mine = "mine_for_test"
    names = [f"{mine}:Signs", f"{mine}:fixed", "backpropagation"]
    result = compared(models=[f"{mine}:build"], rules=names)
    assert [row.rule for row in result.rows] == names
    assert {row.model for row in result.rows} == {f"{mine}:build"}
    assert "fixed" in result.rows[1].hyper_parameters
    with pytest.raises(lab.LabError, match="mine_for_test:number is not a rule but 3"):
        compared(rules=[f"{mine}:number"])
    with pytest.raises(lab.LabError, match="mine_for_test has no nothing"):
        compared(rules=[f"{mine}:nothing"])
    with pytest.raises(lab.LabError, match="no module nowhere_at_all"):
        compared(rules=["nowhere_at_all:Rule"])


@pytest.mark.usefixtures("no_cost")
def test_a_rate_beyond_reason_diverges_and_the_next_rule_goes_on():
    wild = rules.PredictiveCoding(prediction="free", rate=1e20)
    result = compared(rules={"wild": wild, "backpropagation": rules.Backpropagation()})
    lost, sane = result.rows
    assert (lost.status, lost.diverged, lost.seeds) == ("diverged", 2, 2)
    assert (sane.status, sane.diverged) == ("ok", 0)
    lines = [r for r in result.records if r["rule"] == "wild" and r["epoch"] > 0]
    assert {r["epoch"] for r in lines} == {1}
    assert {r["training_loss"] for r in lines} == {None}


@rules.rule
class Refusing(rules.FeedbackAlignment):
    """A rule that works on nothing."""

    def init(self, circuit, key, params, args):
        """Refuse."""
        raise ValueError("`x` cannot be had; do that")


def test_a_rule_that_refuses_leaves_its_reason_and_the_next_goes_on():
    given = {"refusing": Refusing(), "backpropagation": rules.Backpropagation()}
    result = compared(rules=given, sweep=2)
    refused, ran = result.rows
    assert (refused.status, ran.status) == ("refused", "ok")
    assert refused.message == "`x` cannot be had; do that"
    assert [t["rule"] for t in result.trials] == ["backpropagation"] * 2
    assert result.costs[0]["flops"] is None


def test_an_error_that_is_no_refusal_is_not_taken_for_one(monkeypatch):
    def fail(*args, **keywords):
        raise ValueError("a defect")

    monkeypatch.setattr(_runner, "cost_line", lambda *args: QUICK)
    monkeypatch.setattr(_runner, "train", fail)
    with pytest.raises(ValueError, match="a defect"):
        compared(rules=NAMES[:1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rules": ["feedback-aligment"]}, "Did you mean 'feedback-alignment'"),
        ({"rules": ["zzz"]}, "There are: backpropagation, backprop-squared-error"),
        ({"rules": []}, "name at least one rule of: backpropagation"),
        ({"models": ["ccn"]}, "no model is called 'ccn'. Did you mean 'cnn'"),
        ({"models": []}, "name at least one model"),
        (
            {"models": ["lstm"]},
            "lstm reads characters and sequences, not pictures. .*digits-rows",
        ),
        ({"optimizer": "adma"}, "no optimizer is called 'adma'. Did you mean"),
        ({"models": ["lif"]}, "lif reads sequences, not pictures. .*resnet. The rows"),
        ({"data": "digit"}, "Did you mean 'digits'"),
        ({"data": "copy(dely=3)", "models": ["lif"]}, "Did you mean 'delay'"),
        ({"learning_rate": -1.0}, "-1.0"),
        ({"learning_rate": float("nan")}, "nan"),
        ({"epochs": 0}, "--epochs 0: there must be at least one"),
        ({"seeds": 0}, "--seeds 0: there must be at least one"),
        ({"batch_size": 41}, "--batch-size 41: must be 1 to 40"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(tmp_path, wrong, message):
    with pytest.raises(lab.LabError, match=message):
        compared(out=tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_data_that_are_not_finite_are_refused_before_any_work(tmp_path):
    data = tiny()
    data.train_x[3, 0, 1, 2] = np.nan
    with pytest.raises(lab.LabError, match=r"train_x\[3, 0, 1, 2\] is nan"):
        compared(data=data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
