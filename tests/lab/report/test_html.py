"""The HTML page of a comparison: its text, completeness and safety."""

import re

import pytest
from support.comparison_lines import (
    NEEDS,
    SHARED,
    asked,
    comparison,
    cost,
    diverged,
    layers,
    refused,
    run,
    trials,
    whole,
)
from support.pages import Parsed, made

from apical.lab import LabError
from apical.lab._registry import BASELINE, CONTROL, RULES, SQUARED
from apical.lab.report._findings import findings
from apical.lab.report._html import rerun_command, sources
from apical.lab.report._html_table import percent, points, ratio
from apical.lab.report._report import write_report
from apical.lab.report._summary import summarise

TEMPTING = '<script>alert("1")</script>&amp;'


def test_the_parser_sees_what_is_not_closed():
    with pytest.raises(AssertionError):
        Parsed("<p><b>word</p>")
    with pytest.raises(AssertionError):
        Parsed("<p>")


def said(*records, **lists):
    found = comparison([line for run in records for line in run], **lists)
    return Parsed(made(found, ("figure", "cost"))).text


# ---------------------------------------------------------------- the file


def test_the_written_page_is_whole_and_asks_nothing_of_the_network(tmp_path):
    write_report(whole(models=("mlp",)), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    found = Parsed(text)
    assert found.tags.count("svg") == 4 and found.tags.count("script") == 1
    assert len(found.ids) == len(set(found.ids)) > 100
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(found.tags)
    for tag, name, value in found.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttp|https?:", text)
    assert "default-src 'none'" in text


def test_equal_comparisons_give_equal_pages_and_others_do_not():
    assert made(whole()) == made(whole())
    assert made(whole()) != made(whole(seeds=2))


def test_what_others_wrote_is_shown_and_never_run():
    records = run() + run(model=TEMPTING, rule=TEMPTING, data=TEMPTING, note=TEMPTING)
    records += refused(message=TEMPTING)
    for line in records:
        line["data"] = line["device"] = TEMPTING
    text = made(comparison(records))
    assert "<script>alert" not in text and text.count("<script>") == 1
    assert Parsed(text).text.count(TEMPTING) > 8


def test_a_comparison_without_records_is_refused(tmp_path):
    with pytest.raises(LabError, match="no records yet"):
        write_report(comparison([]), tmp_path)


CASES = {
    "one seed": run(seeds=1) + run(rule="kolen-pollack", seeds=1, gain=-0.01),
    "unfinished": run() + run(rule="kolen-pollack", reached=1),
    "only begun": run(reached=0),
    "diverged": run() + diverged() + diverged(rule="x", lost=(0, 1, 2)),
    "refused": run() + refused(),
    "nothing but refused": refused(rule=BASELINE),
    "no needs": run(needs=""),
    "twenty rules, four models": [
        line
        for model in ("mlp", "cnn", "lstm", "a-model-with-a-name-that-goes-on-and-on")
        for i in range(20)
        for line in run(model, f"rule-{i}", seeds=2)
    ],
}


@pytest.mark.parametrize("records", CASES.values(), ids=CASES)
def test_there_is_a_page_whatever_happened(records):
    text = Parsed(made(comparison(records))).text
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert all(row.rule in text for row in summarise(records))


# ---------------------------------------------------------------- the numbers


def test_the_table_has_the_numbers_of_the_rows():
    comparison = whole()
    text = Parsed(made(comparison)).text
    for row in comparison.rows:
        compared = "–" if row.rule == BASELINE else points(row.difference)
        assert (
            f"{row.rule} cross-entropy {percent(row.accuracy)} {compared} "
            f"{row.alignment_start.mean:.2f} → {row.alignment_end.mean:.2f} "
            f"{ratio(row.time_ratio)} {ratio(row.flops_ratio)} "
            f"{ratio(row.memory_ratio)} "
            f"{ratio(row.depth / row.depth_of_backpropagation)} 0.003 "
            f"{row.overall_start.mean:.2f} → {row.overall_end.mean:.2f} ok"
        ) in text


def test_cells_are_sorted_by_numbers_and_the_unknown_has_none():
    keys = re.findall(r'data-key="([^"]*)"', made(comparison(run() + refused())))
    assert "" in keys
    assert any(key and float(key) == pytest.approx(0.91) for key in keys)


def test_a_lost_run_says_so_and_shows_no_accuracy():
    text = said(run(), diverged(), refused(message="no synapse here"))
    assert "kolen-pollack cross-entropy – – 0.50 → 0.90" in text
    assert "diverged: 1 of 3 seeds" in text
    why = "kolen-pollack on mlp: diverged loss or logits not finite (seed 1, epoch 1)"
    assert why in text
    assert "sign-concordance cross-entropy – – – – – – – 0.003 – refused" in text
    assert "refused no synapse here (seed 0, 1, 2, epoch 0)" in text
    assert "Diverged or refused No run." in said(run())


def test_an_unfinished_comparison_says_how_far_it_came():
    text = said(run(), run(rule="kolen-pollack", reached=1))
    assert "is incomplete" in text and "unfinished: epoch 1 of 2" in text
    assert "is incomplete" not in said(run())


# ---------------------------------------------------------------- what was found


def noisy(rule, gains, **changes):
    """A run whose seeds differ from backpropagation's by these gains."""
    made = run(rule=rule, seeds=len(gains), **changes)
    for line in made:
        if line["epoch"] == line["epochs"]:
            line["test_accuracy"] += gains[line["seed"]]
    return made


def test_rules_are_told_apart_by_the_paired_difference():
    records = run(seeds=4)
    records += noisy("below", (-0.020, -0.021, -0.019, -0.020))
    records += noisy("above", (0.020, 0.021, 0.019, 0.020))
    records += noisy("open", (0.02, -0.02, 0.01, -0.01))
    records += noisy("near", (0.004, 0.005, 0.004, 0.005))
    records += noisy("same", (0.0, 0.0, 0.0, 0.0))
    (found,) = findings(summarise(records))
    groups = found.below, found.above, found.open, found.equal
    names = [[f.rule for f in group] for group in groups]
    assert names == [["below"], ["above"], ["open"], ["near", "same"]]
    assert found.single == [] == found.no_better and found.control is None


def test_a_rule_is_compared_with_backpropagation_of_the_loss_that_it_descends():
    """Above backpropagation of the one loss, and below that of the other."""
    other = {"descends": "squared-error"}
    records = run(seeds=4) + run(rule=SQUARED, seeds=4, gain=0.05, **other)
    records += noisy("clamped", (0.02,) * 4, **other) + noisy("equal", (0.0,) * 4)
    rows = {row.rule: row for row in summarise(records)}
    assert rows["clamped"].baseline == rows[SQUARED].baseline == SQUARED
    assert rows["clamped"].difference.mean == pytest.approx(-0.03)
    (found,) = findings(list(rows.values()))
    assert [f.rule for f in found.below] == ["clamped"] and found.above == []
    text = said(records)
    assert (
        "Backpropagation was right on 91.5 ± 2.1 % of the test set where it descends "
        "the cross-entropy, and on 96.5 ± 2.1 % where it descends the squared-error. "
        "Each rule is compared with the one that descends the same loss."
    ) in text
    missing = said(run(seeds=4), noisy("clamped", (0.02,) * 4, **other))
    assert "clamped descends the squared-error, but no run of backprop" in missing


def test_a_rule_must_be_above_the_control_beyond_its_interval():
    records = run(seeds=4) + noisy(CONTROL, (-0.05,) * 4)
    records += noisy("better", (-0.01, -0.011, -0.009, -0.01))
    records += noisy("unsure", (-0.10, 0.02, -0.05, -0.01))
    records += noisy("worse", (-0.06,) * 4)
    (found,) = findings(summarise(records))
    assert [finding.rule for finding in found.no_better] == ["unsure", "worse"]
    assert [finding.rule for finding in found.better] == [BASELINE, "better"]
    text = said(records)
    assert "not shown to be above it: unsure, worse." in text
    assert "every rule with a result is above it" in said(
        run(), run(rule="x"), run(rule=CONTROL, gain=-0.1)
    )


def test_a_control_alone_proves_nothing_and_backpropagation_may_fail_it():
    alone = said(run(rule=CONTROL))
    assert "was right on 91.0 ± 2.5 % ." in alone and "above it" not in alone
    text = said(run(), run(rule=CONTROL, gain=0.01))
    assert f"not shown to be above it: {BASELINE}." in text


def test_one_seed_and_a_missing_baseline_are_said():
    text = said(run(seeds=1), run(rule="x", seeds=1, gain=-0.02))
    assert "With one seed there are no intervals" in text and "x (−2.0)" in text
    assert "Backpropagation was not among the rules" in said(run(rule="x"))
    lost = run(rule="x") + diverged(rule=BASELINE, lost=(0, 1, 2))
    assert "Backpropagation has no result" in said(lost)
    assert "Without a result: kolen-pollack (diverged)" in said(run(), diverged())


def test_numbers_that_are_not_known_are_dashes():
    nothing = summarise(refused())[0]
    assert percent(nothing.accuracy) == points(nothing.difference) == "–"
    assert ratio(nothing.flops_ratio) == "–"


# ---------------------------------------------------------------- the rest of it


def test_trials_have_a_table_with_the_working_range():
    searched = trials() + trials(rule="kolen-pollack", lost=range(8))
    found = comparison(run() + run(rule="kolen-pollack"), trials=searched)
    text = Parsed(made(found)).text
    assert f"mlp {BASELINE} 8 0 95.0 0.0081 decay = 0.05 0.0027 to 0.0243 × 9 3" in text
    assert "the highest tried" not in text and "the lowest tried" not in text
    assert "mlp kolen-pollack 8 8 every trial diverged" in text
    assert "Trials One point" not in said(run())


@pytest.mark.parametrize(("chosen", "said"), [(0, "lowest"), (7, "highest")])
def test_a_step_size_at_the_end_of_its_range_is_said_to_be_there(chosen, said):
    searched = [line | {"chosen": line["trial"] == chosen} for line in trials()]
    text = Parsed(made(comparison(run(), trials=searched))).text
    summary, table = text.split("Results", 1)
    assert f"{BASELINE} (the {said} tried); see the trials" in summary
    assert f", the {said} tried" in table


def test_bands_and_bars_of_a_swept_run_are_told_apart():
    text = " ".join(made(comparison(run(sweep=8), trials=trials())).split())
    assert "bands their 95 % intervals over seeds;" in text
    assert "bars: 95 % intervals over seeds and draws of the trials;" in text


def test_the_matrix_marks_each_need_of_each_rule_as_measured_or_declared():
    text = said(run(), run(rule="x", needs=NEEDS.split(", ")[0]))
    assert f"rule weight transport separate phases {BASELINE} ● ○ x ○ ·" in text


def test_every_setting_and_version_is_shown():
    numbers = '{"steps": 20, "rate": null, "of": {"name": "S", "n": 1.5}}'
    text = said(run(note="pixels / 16", hyper_parameters=numbers))
    versions = ("apical", "python", "jax", "jaxlib", "numpy", "optax", "equinox")
    for name in versions:
        assert f"{name} {SHARED[name]}" in text
    for words in (
        *(
            "data digits: 1,437 training examples, 360 test examples",
            "note pixels / 16",
        ),
        *("epochs 2", "seeds 3", "batch size 64", "optimiser adam", "sweep none"),
        *("machine Linux x86_64, cpu", "steps = 20, rate = not set, of = S(n=1.5)"),
    ):
        assert words in text


def test_the_command_says_what_was_run():
    records = run() + run(model="cnn") + run(rule="kolen-pollack")
    assert rerun_command(asked(records)).command == (
        "apical compare --data digits --model mlp --model cnn "
        "--rules backpropagation,kolen-pollack --epochs 2 --seeds 3 --batch-size 64 "
        "--optimizer adam --loss cross-entropy --learning-rate 0.003"
    )
    swept = rerun_command(asked(run(sweep=8, optimizer="sgd(momentum=0.9)"))).command
    assert swept.endswith(
        "--optimizer 'sgd(momentum=0.9)' --loss cross-entropy --sweep 8"
    )


def test_the_command_tells_no_paths():
    paths = {"data": "/home/me/set.npz", "data_dir": "/home/me"}
    command = rerun_command(asked(run()) | paths).command
    assert "/home" not in command and "--data set.npz --data-dir DIR" in command


def test_what_the_command_cannot_name_is_said():
    given = asked(run()) | {"given_as_objects": ["models", "rules"]}
    assert "not available on the command line: models, rules" in said(
        run(), settings=given
    )
    assert "on the command line" not in said(run())


def test_runs_that_have_not_begun_are_said():
    given = asked(run()) | {"rules": [BASELINE, "kolen-pollack"]}
    text = said(run(), settings=given)
    assert "is incomplete. Not started: kolen-pollack on mlp." in text
    assert "is incomplete" not in said(run())


def test_each_source_is_cited_once_and_a_rule_without_one_is_named():
    entries, uncited = sources([*RULES, "own"])
    keys = [re.search(r"\{(\w+),", spec)[1] for spec in entries]
    assert len(keys) == len(set(keys)) and "rumelhart1986learning" in keys
    assert uncited == [CONTROL, "own"]
    assert "@article{rumelhart1986learning," in said(run())


def test_layers_and_costs_change_nothing_but_their_own_parts():
    records = run()
    bare = Parsed(made(comparison(records), ("figure", "cost"))).text
    full = comparison(records, layers(records), [], [cost()])
    text = Parsed(made(full)).text
    assert "1.50 1.50 1.50" in text and "1.50 1.50 1.50" not in bare
    assert "near the input" in text and "near the input" not in bare
