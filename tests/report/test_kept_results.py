"""What the package keeps for the page is that of the results, and so is the page."""

import importlib
import json
import math
import sys
from pathlib import Path

import pytest
from support.comparison_lines import comparison, refused, run, whole

from apical.lab import LabError
from apical.lab._registry import BASELINE, CONTROL
from apical.report import kept_results, page, results_of
from apical.report._results import FILE

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
report_page = importlib.import_module("report_page")
RENEW = "run: python tools/report_page.py"


def test_the_kept_results_are_those_of_the_repository():
    assert FILE.read_text("utf-8") == report_page.kept(), RENEW


@pytest.mark.once  # versions of apical and needs are the same on every Python
def test_the_page_of_the_documentation_is_up_to_date():
    assert report_page.PAGE.read_text("utf-8") == page(kept_results()), RENEW


def test_the_package_stays_small():
    assert FILE.stat().st_size < 30_000
    assert report_page.PAGE.stat().st_size < 400_000


def test_kept_numbers_are_fractions_and_have_the_costs():
    every = json.loads(report_page.RESULTS.read_text("utf-8"))[report_page.TUNED]
    found = kept_results().rules
    assert set(found) == set(every)
    line = every["feedback-alignment"]
    mine = found["feedback-alignment"]
    assert mine.accuracy.mean == pytest.approx(line["accuracy"][0] / 100)
    assert mine.difference.half == pytest.approx(line["minus backprop"][1] / 100)
    assert mine.alignment == tuple(line["alignment"])
    for name, each in found.items():
        assert not math.isnan(each.depth + each.memory + each.time), name
    assert "default" in kept_results().note
    assert found[BASELINE].depth == found[BASELINE].memory == 1


def test_the_results_of_a_comparison_are_its_rows():
    of = whole(models=("mlp", "cnn"))
    found = results_of(of, "cnn")
    rows = {row.rule: row for row in of.rows if row.model == "cnn"}
    assert set(found.rules) == set(rows)
    for name, row in rows.items():
        mine = found.rules[name]
        assert mine.accuracy == row.accuracy and mine.above_control == row.above_control
        assert mine.alignment == (row.alignment_start.mean, row.alignment_end.mean)
        assert mine.memory == row.memory_ratio
    assert "cnn" in found.task and CONTROL in found.rules
    assert results_of(of) != found


def test_a_model_that_was_not_compared_and_an_empty_comparison_are_refused():
    with pytest.raises(LabError, match=r"no model is called 'lenet'"):
        results_of(whole(), "lenet")
    with pytest.raises(LabError, match="no records yet"):
        results_of(comparison([]))


def test_a_refused_run_has_no_numbers():
    found = results_of(comparison(run() + refused(rule="pepita"))).rules["pepita"]
    assert found.status == "refused" and math.isnan(found.accuracy.mean)
