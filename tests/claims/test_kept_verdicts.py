"""The verdicts that the repository shows are those of its records and rules."""

import importlib
import json
import re
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from scipy import stats
from typer.testing import CliRunner

from apical.claims import CLAIMS, kept_claims, read_outcome, run_claim, write_report
from apical.claims._data import DATA_NAMES, data_names
from apical.claims._effect_size import effect, final_values, in_percent, lines_where
from apical.claims._fairness import drawn_range
from apical.claims._kept_verdicts import FILE
from apical.claims._published_numbers import NOT_RUN
from apical.claims._run import OUTCOME, PACKED, judge_lines, verdict_as_json
from apical.claims._verdict import Finding, decide
from apical.cli import app
from apical.lab import LabError

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
keep_claims = importlib.import_module("keep_claims")
claims_page = importlib.import_module("claims_page")
kept_verdicts = importlib.import_module("kept_verdicts")
KEPT = sorted(path.name for path in (keep_claims.KEPT / "full").iterdir())
# Margins in points, by what was learned; a claim with another says why.
USUAL = {"mnist": 0.5, "fashion-mnist": 0.5, "cifar10": 1.0, "shakespeare": 1.0}
USUAL |= {"spoken-digits": 1.0, "digits": 0.5}


def kept_verdict(name):
    return json.loads((keep_claims.KEPT / "full" / name / OUTCOME).read_text("utf-8"))


@cache
def outcome_of(name):
    return read_outcome(CLAIMS[name], "full", keep_claims.KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_verdict_is_what_the_judge_makes_of_its_records(name):
    assert kept_verdict(name) == json.loads(
        json.dumps(verdict_as_json(outcome_of(name)))
    )


@pytest.mark.parametrize("name", KEPT)
def test_the_page_shows_that_verdict_and_no_other(name):
    verdict = outcome_of(name).verdict
    row = rf"\| \[{name}\]\([^)]*#{name}\) \| [^|]* "
    row += r"\| \*\*([a-z ]+)\*\*( \(refused\))? \|"
    ((word, refused),) = re.findall(row, claims_page.PAGE.read_text("utf-8"))
    assert word == verdict.word
    assert bool(refused) == bool(verdict.refused)


def test_every_claim_is_kept_or_says_that_it_is_not_run_yet():
    assert set(KEPT) <= set(CLAIMS)
    for name, claim in kept_claims().items():
        assert (claim.verdict == "not run yet") == (name not in KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_where_a_rule_was_corrected_the_page_shows_what_the_earlier_one_said(name):
    outcome, page = outcome_of(name), claims_page.PAGE.read_text("utf-8")
    assert bool(outcome.earlier) == bool(outcome.claim.corrected)
    for each in outcome.earlier:
        assert each.rule != outcome.claim.rule
        assert f"* {each.claim}: **{each.verdict}.** {each.because}" in page
        assert f"The rule was: {each.rule}" in page


# ------------------------------------------------ what decides, and what does not


def moved(lines, by):
    """The same, with every accuracy of every run so much (a fraction) higher."""
    found = [line.get("test_accuracy") for line in lines]
    return [
        line if old is None else {**line, "test_accuracy": old + by}
        for line, old in zip(lines, found, strict=True)
    ]


def words(verdict):
    return verdict.word, [finding.word for finding in verdict.findings]


def decided_by_a_figure(judge, lines):
    """Whether a verdict changes when all accuracies do alike: then a figure decides."""
    whole = words(judge(lines))
    return any(words(judge(moved(lines, by))) != whole for by in (-0.2, 0.03, 0.2))


@pytest.mark.parametrize("name", KEPT)
def test_no_verdict_is_decided_by_an_absolute_figure(name):
    outcome = outcome_of(name)
    assert not decided_by_a_figure(outcome.claim.judge, outcome.lines)


@pytest.mark.parametrize("name", ["ep-digits", "pc-incremental", "mlp-table"])
def test_one_that_was_held_against_a_figure_would_be_found_out(name):
    lines = outcome_of(name).lines
    rule = next(line["rule"] for line in lines if line["rule"] != "backpropagation")
    best = max(in_percent(final_values(lines, rule=rule)).values())

    def against_a_figure(lines):
        mine = in_percent(final_values(lines, rule=rule))
        found = effect("rule - figure", mine, dict.fromkeys(mine, best), 0.3)
        return decide([Finding(found, "at least as high")])

    assert decided_by_a_figure(against_a_figure, lines)


# Beside these: networks of which no weight moves, so that there is nothing to tune.
NOT_TRAINED = ("- random weights", "score function - no learning")
EARLY = "accuracy after one epoch"  # of how fast a net learns: it has not ended


@pytest.mark.parametrize("name", KEPT)
def test_every_accuracy_that_decides_names_the_runs_that_must_be_fair(name):
    outcome = outcome_of(name)
    for finding in outcome.verdict.findings:
        points = finding.unit == "points" and EARLY not in finding.effect.what
        if finding.effect.what.endswith(NOT_TRAINED):
            assert finding.effect.runs == ()
            continue
        if finding.says is not None and points:
            assert len(finding.effect.runs) == 2
            assert all(lines_where(outcome.lines, **run) for run in finding.effect.runs)


@pytest.mark.parametrize("name", KEPT)
def test_published_figures_change_no_verdict(name):
    outcome = outcome_of(name)
    bare, lines = replace(outcome.claim, published=()), outcome.lines
    judged = judge_lines(bare, "full", [*lines, *outcome.trials])
    assert judged.verdict == outcome.verdict


@pytest.mark.parametrize("name", KEPT)
def test_another_margin_than_the_usual_has_a_reason(name):
    claim, findings = CLAIMS[name], outcome_of(name).verdict.findings
    usual = {USUAL[data] for data in claim.data}
    unusual = [
        f.effect.what
        for f in findings
        if f.says and (f.unit != "points" or f.effect.margin not in usual)
    ]
    assert bool(claim.margin) == bool(unusual), unusual


def test_a_figure_that_nobody_has_read_is_said_to_be_from_memory():
    for claim in CLAIMS.values():
        for figure in claim.published:
            assert "noted down" not in figure.source and figure.source
    page = claims_page.PAGE.read_text("utf-8")
    assert "from memory: Jaderberg" in page and "2.3 %" not in CLAIMS["ep-digits"].work


@pytest.mark.parametrize("name", KEPT)
def test_higher_and_lower_are_said_and_never_better_or_worse(name):
    for finding in outcome_of(name).verdict.findings:
        said = (finding.effect.word, finding.says or "", finding.word)
        assert not {"better", "worse"} & set(" ".join(said).split())
    assert not re.search(r"worse|better", outcome_of(name).verdict.because)


# -------------------------------------------------------------- what the words promise


@pytest.mark.parametrize("name", CLAIMS)
def test_a_rule_with_limits_says_that_they_go_before_what_is_against_it(name):
    rule = CLAIMS[name].rule
    if "within limits" in rule and "against the claim" in rule:
        _, against = rule.split("Does not hold if ")
        assert "and the limits do not hold either" in against.partition(". ")[0]


# Of each number of seeds that is said to settle a difference: which, and how many
# comparisons its interval is corrected for.
TO_SETTLE = {
    "fa-matches": [("feedback alignment - backprop", 1)],
    "sign-enough": [("fixed - backprop", 3), ("batch - backprop", 3)],
    "pc-fixed-vs-free": [(f"accuracy, {n} layers", 3) for n in (2, 12, 6)],
    "pc-incremental": [("incremental - backprop", 1)],
    "pepita-digits": [("pepita - backprop", 1)],
}


def seeds_to_settle(finding, compared):
    """How many would, with the mean and the scatter of those that were run."""
    found, seeds = finding.effect, finding.effect.seeds
    assert finding.fits is None

    def quantile(n):
        return stats.t.ppf(1 - 0.025 / compared, n - 1)

    scatter = (found.high - found.mean) * seeds**0.5 / quantile(seeds)
    while finding._replace(effect=found).fits is None:
        seeds += 1
        half = quantile(seeds) * scatter / seeds**0.5
        found = found._replace(low=found.mean - half, high=found.mean + half)
    return seeds


@pytest.mark.parametrize("name", KEPT)
def test_so_many_seeds_as_are_said_to_would_settle_it(name):
    findings, told = outcome_of(name).verdict.findings, CLAIMS[name].remaining
    numbers = re.findall(r"(\S+)\s+(?:seeds\s+would|would\.|seeds at)", told)
    assert numbers == [
        str(seeds_to_settle(finding, compared))
        for what, compared in TO_SETTLE.get(name, ())
        for finding in findings
        if what in finding.effect.what and finding.fits is None
    ]


# ------------------------------------------------------------------------ names of data


@pytest.mark.parametrize("name", [name for name in KEPT if CLAIMS[name].data])
def test_the_data_are_called_by_their_name_in_text_and_picture(name):
    claim, lines = CLAIMS[name], outcome_of(name).lines
    sets = {line["data"] for line in lines if line.get("data")}
    assert sets == set(claim.data)
    picture = (keep_claims.PICTURES / f"{name}.svg").read_text("utf-8")
    for each in sets:
        assert DATA_NAMES[each] in claim.work
        assert re.search(rf">[^<>]*{re.escape(DATA_NAMES[each])}[^<>]*<", picture)
    assert not re.search(r">[^<>]*(?<!8 x 8 )\bdigits\b[^<>]*<", picture)
    assert data_names(lines) == ", ".join(
        dict.fromkeys(DATA_NAMES[line["data"]] for line in lines if line.get("data"))
    )


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in KEPT
        if hasattr(sys.modules[CLAIMS[name].draw.__module__], "panel_figure")
        and "rule" in outcome_of(name).lines[0]
    ],
)
def test_a_legend_names_nothing_that_did_not_run(name):
    lines = outcome_of(name).lines
    rules = {line["rule"] for line in lines}
    for ran in (rules, {min(rules)}):
        figure = CLAIMS[name].draw([line for line in lines if line["rule"] in ran])
        shown = {text.get_text() for each in figure.legends for text in each.texts}
        assert not shown & rules - ran


# ------------------------------------------------------------ trials of these records


def chosen_rates():
    """By claim, optimiser and number of trials not kept, the step sizes that won."""
    for name in KEPT:
        claim, outcome = CLAIMS[name], outcome_of(name)
        trials = claim.trials_in(outcome.lines, outcome.trials)
        if trials and not outcome.trials:
            found = {
                (line["optimizer"], line["learning_rate"])
                for line in outcome.lines
                if "optimizer" in line and line.get("run") != "step size of backprop"
            }
            yield from ((trials, *each) for each in found)


def test_the_step_sizes_that_won_lie_within_what_is_said_to_have_been_drawn():
    at_an_end = set()
    for trials, optimizer, rate in chosen_rates():
        low, high = drawn_range(optimizer, trials)
        assert low * (1 - 1e-9) <= rate <= high * (1 + 1e-9)
        for end, bound in (("low", low), ("high", high)):
            if rate == pytest.approx(bound, rel=1e-9):
                at_an_end.add((trials, optimizer.partition("(")[0], end))
    # They were drawn at these ends: the numbers in `_fairness` are those.
    assert at_an_end >= {
        *((6, "adam", "low"), (6, "adam", "high"), (6, "momentum", "low")),
        *((16, "adam", "high"), (16, "batch_manhattan", "low")),
        (16, "batch_manhattan", "high"),
    }


@pytest.mark.parametrize("name", KEPT)
def test_what_was_published_has_a_measured_figure_beside_it(name):
    outcome = outcome_of(name)
    for figure in CLAIMS[name].published:
        if figure.measured is not None:
            said = figure.measured(outcome.lines)
            assert said and NOT_RUN not in said and "nan" not in said


def test_keeping_the_same_run_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    name = KEPT[0]
    run = tmp_path / "out" / "full" / name
    run.mkdir(parents=True)
    outcome = outcome_of(name)
    text = "".join(json.dumps(line) + "\n" for line in outcome.lines)
    (run / "records.jsonl").write_text(text)
    (run / OUTCOME).write_text("{}")
    monkeypatch.setattr(keep_claims, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(keep_claims, "PICTURES", tmp_path / "pictures")
    packed = tmp_path / "kept" / "full" / name / "records.jsonl.gz"
    assert keep_claims.keep(name, tmp_path / "out")
    first = packed.read_bytes()
    assert keep_claims.keep(name, tmp_path / "out")
    assert packed.read_bytes() == first
    again = read_outcome(CLAIMS[name], "full", tmp_path / "kept")
    assert again is not None and again.verdict == outcome.verdict
    assert not keep_claims.keep(name, tmp_path / "elsewhere")


def test_an_earlier_rule_stays_with_what_it_said_when_a_claim_is_judged_again(
    tmp_path, monkeypatch
):
    name = KEPT[0]
    kept = tmp_path / "full" / name
    kept.mkdir(parents=True)
    (kept / PACKED).write_bytes(
        (keep_claims.KEPT / "full" / name / PACKED).read_bytes()
    )
    before = kept_verdict(name) | {"rule": "By the day of the week.", "earlier": []}
    (kept / OUTCOME).write_text(json.dumps(before | {"verdict": "holds"}))
    monkeypatch.setattr(keep_claims, "KEPT", tmp_path)
    monkeypatch.setattr(keep_claims, "PICTURES", tmp_path / "pictures")
    for _ in range(2):  # once more: the rule is the same, and nothing is added
        assert keep_claims.judge_again(name)
        found = read_outcome(CLAIMS[name], "full", tmp_path)
        assert found is not None and found.verdict == outcome_of(name).verdict
        ((claim, verdict, _, rule),) = found.earlier
        assert (claim, verdict, rule) == (name, "holds", "By the day of the week.")
    assert not keep_claims.judge_again(next(each for each in KEPT if each != name))


def test_clearer_words_of_a_rule_are_taken_over_where_nothing_else_changes(
    tmp_path, monkeypatch
):
    name = KEPT[0]
    shutil.copytree(keep_claims.KEPT / "full" / name, tmp_path / "full" / name)
    path, before = tmp_path / "full" / name / OUTCOME, kept_verdict(name)
    monkeypatch.setattr(keep_claims, "KEPT", tmp_path)
    monkeypatch.setattr(keep_claims, "PICTURES", tmp_path / "pictures")
    path.write_text(json.dumps(before | {"rule": "The same, said obscurely."}))
    assert keep_claims.judge_again(name, words_alone=True)
    assert json.loads(path.read_text("utf-8")) == before
    path.write_text(json.dumps(before | {"because": "another reason"}))
    with pytest.raises(SystemExit, match=f"{name}: more than words has changed"):
        keep_claims.judge_again(name, words_alone=True)


def test_a_kept_run_is_not_run_over():
    with pytest.raises(LabError, match=r"holds a run that is kept.*--out"):
        run_claim(CLAIMS[KEPT[0]], "full", keep_claims.KEPT)


def test_a_report_draws_what_is_not_drawn(tmp_path):
    path = write_report([outcome_of(KEPT[0])], tmp_path)
    assert f"({KEPT[0]}/picture.png)" in path.read_text()
    assert (tmp_path / KEPT[0] / "picture.png").exists()


def test_what_is_listed_is_what_the_claims_and_their_records_say():
    assert FILE.read_text("utf-8") == kept_verdicts.summaries(), (
        "run: python tools/kept_verdicts.py"
    )
    assert list(kept_claims()) == list(CLAIMS)
    for name in KEPT:
        verdict, kept = outcome_of(name).verdict, kept_claims()[name]
        assert kept.verdict.removesuffix(" (refused)") == verdict.word
        assert kept.verdict.endswith(" (refused)") == bool(verdict.refused)
        assert (kept.refused, kept.unrefused) == (verdict.refused, verdict.unrefused)


@pytest.mark.parametrize("name", KEPT)
def test_a_claim_is_shown_with_why_its_verdict_was_refused(name):
    verdict, runner = outcome_of(name).verdict, CliRunner(env={"COLUMNS": "80"})
    shown = " ".join(runner.invoke(app, ["claims", "show", name]).stdout.split())
    alone = f"By the numbers alone: {verdict.unrefused}."
    for words in (*verdict.refused, alone):
        assert (words[1:] in shown) == bool(verdict.refused)
