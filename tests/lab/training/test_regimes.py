"""The regime of predictive coding in a comparison: measured, stored, shown."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from support.comparison_lines import comparison, run
from support.pages import Parsed, made

from apical import lab
from apical.lab import Comparison
from apical.lab.report._terminal_table import COLUMNS, regime_rows
from apical.lab.training._predictive_coding_regime import has_regime

FREE = "predictive-coding-free"
RULES = {
    FREE: replace(lab.RULES[FREE].make(), rate=0.1),
    "predictive-coding": lab.RULES["predictive-coding"].make(),
}
LINE = {
    **{"model": "mlp", "rule": FREE, "epoch": 0, "steps": "slow", "update": "partial"},
    **dict.fromkeys(("residual", "stiffness", "to_backpropagation", "to_equilibrium")),
    "energy": json.dumps({"a": None, "b": 0.5}),
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    kept = {"models": ["mlp"], "epochs": 2, "seeds": 2, "batch_size": 512}
    return lab.compare(rules=RULES, out=out, report=False, **kept), out


def test_it_is_measured_before_training_and_at_the_end_of_free_predictions_alone(
    compared,
):
    found = [
        (line["rule"], line["epoch"], line["seed"]) for line in compared[0].regimes
    ]
    assert found == [(FREE, 0, 0), (FREE, 2, 0)]


def test_rules_whose_values_do_not_come_to_rest_have_none():
    """One pass over the levels is no settling."""
    found = {name: has_regime(spec.make()) for name, spec in lab.RULES.items()}
    assert found[FREE] and found["predictive-coding-errors"]
    assert not found["zero-divergence"] and not found["predictive-coding"]
    assert not found["incremental-predictive-coding"]


def test_what_is_measured_says_how_far_inference_came(compared):
    first, last = compared[0].regimes
    for line in (first, last):
        assert 0 < line["residual"] < 1
        assert 0.1 < line["stiffness"] < 2  # at rate 0.1 the curvature is above 1
        assert line["steps"] == "slow"
        assert line["update"] in ("partial", "backprop-like")
        assert -1 <= (line["to_equilibrium"] or 0.0) <= 1  # ReLU: not always found
        assert len(json.loads(line["energy"])) == 2
    assert first["to_backpropagation"] != last["to_backpropagation"]


def test_the_file_has_what_the_comparison_has(compared):
    result, out = compared
    assert Comparison.read(out).regimes == result.regimes


def test_a_comparison_without_free_predictions_has_none_and_shows_none():
    found = comparison(run("mlp", "backpropagation"))
    assert found.regimes == []
    assert "Regimes of predictive coding" not in Parsed(made(found)).text


def test_page_and_terminal_show_it(compared):
    found = comparison(run("mlp", FREE), regimes=compared[0].regimes)
    text = Parsed(made(found)).text
    assert "Regimes of predictive coding" in text
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(found.regime_table)
    told = console.export_text()
    for cells in regime_rows(compared[0].regimes):
        assert all(cell in text for cell in cells)
        assert all(cell in told for cell in cells[3:-1])
    assert all(column in text for column in COLUMNS)


@pytest.mark.parametrize("steps", ["stable", "slow", "diverging"])
def test_values_that_are_not_at_rest_stand_in_the_main_table_and_in_what_was_found(
    steps,
):
    first, last = ({**LINE, "epoch": epoch} for epoch in (0, 2))
    lines = [first | {"steps": "stable"}, last | {"steps": steps}]
    records = run("mlp", "backpropagation") + run("mlp", FREE)
    found = comparison(records, regimes=lines)
    assert [row.regime for row in found.rows] == ["", steps]
    text = Parsed(made(found)).text
    assert f"ok, values {steps}" in text
    assert (f"{FREE} ({steps})" in text) == (steps != "stable")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(found.table)
    lines = [line.split() for line in console.export_text().split("\n")]
    assert lines[3][:5] == ["rule", "accuracy", "%", "−", "backprop"]
    assert lines[3][-1] == "values"
    assert sum(line[-1:] == [steps] and "→" in line for line in lines) == 1
    assert "values" not in shown_without(records)


def shown_without(records):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison(records).table)
    return console.export_text()


def test_numbers_that_are_not_known_are_shown_as_a_dash():
    (cells,) = regime_rows([LINE])
    assert cells[3:7] == ["–"] * 4
    assert cells[-1] == "a –, b 5.0e-01"
