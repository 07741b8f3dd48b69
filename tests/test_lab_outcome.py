"""From records to rows, table and figure."""

import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from apical.lab._figure import draw
from apical.lab._registry import RULES
from apical.lab._summary import curve, interval, summarise
from apical.lab._table import outcome, table


def record(rule="backpropagation", model="mlp", seed=0, epoch=0, **changes):
    return {
        "data": "digits",
        "model": model,
        "rule": rule,
        "seed": seed,
        "seeds": 3,
        "epoch": epoch,
        "epochs": 2,
        "status": "ok",
        "message": "",
        "test_accuracy": 0.1 + 0.4 * epoch + 0.01 * seed,
        "alignment": 0.5 + 0.2 * epoch,
        "seconds_per_step": None if epoch == 0 else 0.2 * epoch,
        "seconds_per_step_of_baseline": None if epoch == 0 else 0.1,
        "optimizer": "adam",
        "rate": 0.003,
        "note": "",
    } | changes


def run(seeds=3, epochs=3, **changes):
    return [
        record(seed=seed, epoch=epoch, **changes)
        for epoch in range(epochs)
        for seed in range(seeds)
    ]


def diverged(**changes):
    records = run(**changes)
    for r in records:
        if r["seed"] == 1 and r["epoch"] > 0:
            r.update(status="diverged", test_accuracy=None, alignment=None)
    return records


def refused(**changes):
    empty = dict.fromkeys(("test_accuracy", "alignment"))
    return run(epochs=1, status="refused", message="no `[x]` here", **empty, **changes)


ALL = [
    *(
        r
        for name in RULES
        for model in ("mlp", "cnn")
        for r in run(rule=name, model=model)
    )
]


def test_the_interval_is_that_of_students_t():
    values = [0.9, 0.95, 0.97, 0.91]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert found.mean - found.half == pytest.approx(low)
    assert found.mean + found.half == pytest.approx(high)


def test_one_seed_has_no_interval_and_none_no_mean():
    assert interval([0.5]).mean == 0.5 and math.isnan(interval([0.5]).half)
    assert math.isnan(interval([None, None]).mean)


def test_a_row_is_the_last_epoch_and_the_first_alignment():
    (row,) = summarise(run())
    assert row.accuracy.mean == pytest.approx(0.91)
    assert (row.alignment_start.mean, row.alignment_end.mean) == pytest.approx(
        (0.5, 0.9)
    )
    assert row.status == "ok" and row.seeds == 3


def test_the_time_is_the_ratio_of_the_medians():
    (row,) = summarise(run())
    assert row.seconds_per_step == pytest.approx(0.3)
    assert row.time_ratio == pytest.approx(3.0)


def test_rows_keep_the_order_of_the_runs():
    names = [row.rule for row in summarise(ALL) if row.model == "cnn"]
    assert names == list(RULES)


def test_a_run_cut_short_is_unfinished_and_a_lost_seed_makes_it_diverged():
    assert summarise(run(epochs=2))[0].status == "unfinished"
    row = summarise(diverged())[0]
    assert (row.status, row.diverged, row.seeds) == ("diverged", 1, 3)


def test_a_curve_has_gaps_where_nothing_was_measured():
    epochs, values = curve(diverged(), "test_accuracy")
    assert epochs.tolist() == [0, 1, 2]
    assert np.isnan(values).tolist() == [[False] * 3] + [[False, True, False]] * 2


def printed(records, width):
    console = Console(width=width, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(table(records))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
def test_the_whole_table_can_be_read_at(width):
    text = printed(ALL, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for name in RULES:
        assert text.count(f" {name} ") == 2
    assert text.count("91.0 ± 2.5") == text.count("0.50 → 0.90") == 16
    assert text.count("1 2 3 4 5 6") == 2 and "…" not in text
    flat = " ".join(text.split())
    assert "same rate for all; no tuning" in flat
    assert "1 weight transport, 2 separate phases, 3 stored activities" in flat


def test_what_went_wrong_is_in_the_table():
    records = diverged() + refused(rule="kolen-pollack") + run(rule="sign-concordance")
    text = " ".join(printed(records, 100).split())
    assert "diverged 1/3" in text
    assert "kolen-pollack: refused. no `[x]` here" in text
    assert "note of the data" in printed(run(note="note of the data"), 100)


def test_a_single_seed_shows_no_interval():
    text = printed(run(seeds=1), 100)
    assert "90.0" in text and "±" not in text.split("adam")[0]


def test_the_outcome_of_a_run_is_one_line():
    assert outcome(summarise(run())[0]) == "91.0 ± 2.5   alignment 0.50 → 0.90"
    assert "no `\\[x]` here" in outcome(summarise(refused())[0])


def test_the_figure_is_drawn_in_both_forms(tmp_path):
    for name in ("figure.png", "figure.svg"):
        draw(ALL, tmp_path / name)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "figure.svg").read_text()
    for words in ("mlp: test accuracy", "cnn: test accuracy", "kolen pollack"):
        assert words in svg


@pytest.mark.parametrize(
    "records",
    [
        diverged(),
        refused(),
        run(seeds=1),
        run(epochs=1),
        run(test_accuracy=None, alignment=None, status="diverged"),
    ],
    ids=["diverged", "refused", "one seed", "not trained", "nothing finite"],
)
def test_the_figure_is_drawn_whatever_happened(tmp_path, records):
    draw(records, tmp_path / "figure.png")
    draw(records + run(rule="kolen-pollack"), tmp_path / "figure.png")


def test_a_figure_is_the_same_file_every_time(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw(run(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
