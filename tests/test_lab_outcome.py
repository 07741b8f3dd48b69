"""From records to rows and table."""

import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from apical.lab._errors import LabError
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
        "seconds_per_step_of_backpropagation": None if epoch == 0 else 0.1,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "hyper_parameters": "{}",
        "needs": ", ".join(RULES[rule].needs) if rule in RULES else "",
        "sweep": 0,
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
        console.print(table(records, summarise(records)))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
def test_the_whole_table_can_be_read_at(width):
    text = printed(ALL, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for name in RULES:
        assert text.count(f"\n {name} ") == 2
    assert text.count("91.0 ± 2.5") == text.count("0.50 → 0.90") == 2 * len(RULES)
    assert text.count("+0.0 ± 0.0") == 2 * len(RULES) - 2
    assert "…" not in text
    flat = " ".join(text.split())
    assert "step size 0.003 for every rule, no tuning" in flat
    assert "What each rule needs: `apical rules`" in flat


def test_the_difference_to_backpropagation_is_paired_by_seed():
    better = run(rule="kolen-pollack")
    for r in better:
        r["test_accuracy"] += 0.001 * (1 + r["seed"]) - 0.002
    plain, row = summarise(run() + better)
    assert (plain.difference.mean, plain.difference.half) == (0, 0)
    pairs = stats.ttest_rel([0.909, 0.920, 0.931], [0.91, 0.92, 0.93])
    low, high = pairs.confidence_interval(0.95)
    assert row.difference.mean - row.difference.half == pytest.approx(low)
    assert row.difference.mean + row.difference.half == pytest.approx(high)
    assert row.accuracy.half > 5 * row.difference.half  # what pairing is for


def test_a_difference_needs_both_ends():
    cut_short = run(rule="kolen-pollack", epochs=2)
    assert math.isnan(summarise(run() + cut_short)[1].difference.mean)
    one_lost = diverged(rule="kolen-pollack")
    row = summarise(run() + one_lost)[1]
    assert row.difference.mean == pytest.approx(0)  # of the two seeds that are left


def test_the_cost_of_a_run_is_its_own():
    costs = [
        {"model": "mlp", "rule": "kolen-pollack", "flops_ratio": 2.0, "depth": 7},
        {"model": "cnn", "rule": "backpropagation", "flops_ratio": 5.0, "depth": 9},
    ]
    plain, row = summarise(run() + run(rule="kolen-pollack"), costs)
    assert (row.flops_ratio, row.depth) == (2, 7)
    assert math.isnan(plain.flops_ratio) and math.isnan(row.memory_ratio)


def test_without_records_it_is_said():
    with pytest.raises(LabError, match="no records yet"):
        summarise([])


def test_the_step_size_that_a_sweep_found_is_in_the_table():
    text = " ".join(printed(run(sweep=16, learning_rate=0.0123), 120).split())
    assert "step" in text and "0.012" in text
    assert "each rule with the best of 16 trials" in text
    assert "0.003" not in printed(run(), 120).split("adam")[0]


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
    said = "91.0 ± 2.5   alignment 0.50 → 0.90"
    assert outcome(summarise(run())[0]).plain == said
    assert "no `[x]` here" in outcome(summarise(refused())[0]).plain
    slow = [{"model": "mlp", "rule": "backpropagation", "steps": "slow"}]
    (row,) = summarise(run(), regimes=slow)
    assert outcome(row).plain == f"{said}   values slow"
