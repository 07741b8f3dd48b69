"""Claims: verdicts by rule alone, tasks run once, and their reports."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from support.toy_claim import TOY
from typer.testing import CliRunner

from apical import claims
from apical.claims import (
    CLAIMS,
    Effect,
    Finding,
    Kept,
    Outcome,
    Published,
    Verdict,
    _run,
    run_claim,
)
from apical.claims._claim import Task
from apical.claims._effect_size import final_values, in_percent
from apical.claims._published_numbers import final_error as error_of
from apical.claims._tasks import RECORD_FIELDS, TRIAL_FIELDS, comparison_task
from apical.cli import app
from apical.lab import LabError
from apical.lab.report._terminal import MarkdownPage


def test_a_claim_is_run_judged_and_written_down(tmp_path):
    outcome = run_claim(TOY, "full", tmp_path)
    assert outcome.verdict == Verdict("holds", "4 in all")
    folder = tmp_path / "full" / "toy"
    told = json.loads((folder / "verdict.json").read_text())
    assert (told["verdict"], told["rule"]) == ("holds", TOY.rule)
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    report = (folder / "report.md").read_text()
    for words in (TOY.sentence, TOY.rule, "**Holds.** 4 in all", "| the sum | 4 |"):
        assert words in report
    assert {line["jax"] for line in outcome.lines} == {outcome.lines[0]["jax"]}


def test_a_smaller_form_settles_nothing(tmp_path):
    for scale in ("quick", "smoke"):
        outcome = run_claim(TOY, scale, tmp_path)
        assert outcome.verdict.word == "not settled"
        assert f"at the {scale} scale" in outcome.verdict.because


def test_what_a_smaller_form_measured_is_called_by_its_data():
    line = {"rule": "a", "seed": 0, "epoch": 1, "epochs": 1, "status": "ok"}
    line |= {"data": "digits", "test_accuracy": 0.25}
    figures = (Published("MNIST, test error", "2 %", "a book", error_of("a")),)
    claim = replace(TOY, published=figures, data=("mnist",))
    outcome = Outcome(claim, "smoke", [line], Verdict("not settled", "so"))
    told = claims.reported(outcome)
    assert "| measured on 8 x 8 digits, smoke scale |" in told
    assert "| MNIST, test error | 2 % | 75.00 % error |" in told
    assert "| measured |" in claims.reported(replace(outcome, scale="full"))


def test_what_was_done_is_not_done_again(tmp_path):
    done = []

    def task(name, fails=False):
        def run(context):
            done.append(name)
            if fails:
                raise KeyboardInterrupt
            return [{"x": 1}]

        return Task(name, run)

    cut = replace(TOY, tasks=lambda scale: [task("a"), task("b", fails=True)])
    with pytest.raises(KeyboardInterrupt):
        run_claim(cut, "full", tmp_path)
    assert claims.read_outcome(cut, "full", tmp_path) is None
    whole = replace(TOY, tasks=lambda scale: [task("a"), task("b")])
    outcome = run_claim(whole, "full", tmp_path)
    assert done == ["a", "b", "b"]
    assert [line["task"] for line in outcome.lines] == ["a", "b"]
    again = claims.read_outcome(whole, "full", tmp_path)
    assert again is not None and again.verdict == outcome.verdict


def test_other_versions_are_refused(tmp_path, monkeypatch):
    run_claim(TOY, "full", tmp_path)
    monkeypatch.setattr(_run, "environment", lambda: {"jax": "9"})
    with pytest.raises(LabError, match=r"was begun with jax 0.*this is 9.*start again"):
        run_claim(TOY, "full", tmp_path)


def test_a_task_without_lines_is_an_error(tmp_path):
    empty = replace(TOY, tasks=lambda scale: [Task("a", lambda context: [])])
    with pytest.raises(LabError, match="the task a gave no lines"):
        run_claim(empty, "full", tmp_path)


def test_a_comparison_is_a_task_that_goes_on_where_it_was_cut_off(
    tmp_path, monkeypatch
):
    seen = []

    def compare(**arguments):
        seen.append(arguments["resume"])
        arguments["out"].mkdir(parents=True, exist_ok=True)
        (arguments["out"] / "settings.json").touch()
        line = dict.fromkeys(RECORD_FIELDS, 1)
        trial = dict.fromkeys(TRIAL_FIELDS, 2)
        return type("Result", (), {"records": [line], "trials": [trial]})

    monkeypatch.setattr("apical.claims._tasks.compare", compare)
    task = comparison_task("pair", lambda: {"epochs": 1}, norm=True)
    context = claims._claim.TaskContext(tmp_path / "pair")
    line, trial = task.run(context)
    assert line["norm"] is True and line["test_accuracy"] == 1
    assert trial["norm"] is True and trial["held_out_accuracy"] == 2
    task.run(context)
    assert seen == [False, True]


def test_the_last_epoch_is_read_by_seed_and_lost_seeds_have_none():
    common = {"epochs": 2, "status": "ok", "rule": "a"}
    lines = [
        {**common, "seed": seed, "epoch": epoch, "test_accuracy": seed + epoch / 10}
        for seed in range(3)
        for epoch in range(3)
    ]
    lines[-1]["status"] = "diverged"
    assert final_values(lines, rule="a") == {0: 0.2, 1: 1.2}
    assert final_values(lines, rule="b") == {}
    assert in_percent({0: 0.5}) == {0: 50.0}


# ---------------------------------------------------------------- the command line


@pytest.fixture
def only_the_toy(monkeypatch, tmp_path):
    paper = replace(TOY, id="other", paper="anyone1900")
    monkeypatch.setattr(claims, "CLAIMS", {"toy": TOY, "other": paper})
    kept = {"toy": Kept(TOY.sentence, "", 0.1, "not run yet", "")}
    monkeypatch.setattr("apical.claims.kept_claims", lambda: kept)
    monkeypatch.chdir(tmp_path)


def run(words):
    runner = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"})
    result = runner.invoke(app, words.split())
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


@pytest.mark.usefixtures("only_the_toy")
def test_claims_are_listed_shown_run_and_reported():
    assert "Two and two are four. 0.1 not run yet" in run("claims list")[1]
    code, text = run("claims show toy")
    assert code == 0 and "It holds if it does." in text and "Anyone." in text
    code, text = run("claims run toy")
    assert (
        code == 0 and "about 0.1 h on two cores" in text and "Holds. 4 in all" in text
    )
    assert "four. 0.1 not run yet holds" in run("claims list")[1]
    code, text = run("claims report")
    assert code == 0 and "The report: apical-claims/full/report.md" in text


@pytest.mark.parametrize("columns", [80, 200])
def test_names_that_are_compared_are_whole_in_a_table_in_a_terminal(columns):
    names = [f"{rule}-of-some-length" for rule in ("sign-concordance", "sign-random")]
    found = [Finding(Effect(n, 1.0, 0.6, 1.4, 0.5, 5), "higher") for n in names]
    verdict = Verdict("not settled", "so", tuple(found))
    shown = StringIO()
    text = claims.reported(Outcome(TOY, "full", [], verdict))
    Console(file=shown, width=columns).print(MarkdownPage(text))
    *_, table = shown.getvalue().split("compared")
    assert "…" not in table
    assert "".join(table.split()).count("claimed") == len(names)
    first = "".join(line[: columns // 4].strip() for line in table.splitlines())
    for piece in "-".join(names).split("-"):
        assert piece in first


@pytest.mark.usefixtures("only_the_toy")
def test_a_paper_is_reproduced_by_its_claims():
    code, text = run("reproduce anyone1900 --smoke")
    assert code == 0 and "other" in text and "settles nothing" in text


@pytest.mark.usefixtures("only_the_toy")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("claims show tooy", "no claim is called 'tooy'. Did you mean 'toy'"),
        ("claims run x", "no claim is called 'x'"),
        ("claims report", "no claim has been run at the full scale in apical-claims"),
        ("reproduce anyone", "no paper is called 'anyone'. Did you mean 'anyone1900'"),
    ],
)
def test_a_wrong_name_is_said(words, message):
    code, text = run(words)
    assert code == 2 and message in text


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_says_what_it_must(name):
    claim = CLAIMS[name]
    assert claim.id == name
    for words in (claim.sentence, claim.source, claim.work, claim.rule):
        assert len(words) > 20
    assert 0 < claim.hours <= 24
    assert all("[M" not in p.source for p in claim.published)
    for scale in ("full", "quick", "smoke"):
        names = [task.name for task in claim.tasks(scale)]
        assert names and len(set(names)) == len(names)


def test_a_shared_task_finds_what_another_claim_has_done_there(tmp_path):
    def work(context):
        done = context.folder / "done"
        times = int(done.read_text()) + 1 if done.exists() else 1
        context.folder.mkdir(parents=True, exist_ok=True)
        done.write_text(str(times))
        return [{"x": times}]

    def counted(name, shared):
        claim = replace(TOY, id=name, tasks=lambda scale: [Task("a", work, shared)])
        return run_claim(claim, "smoke", tmp_path).lines[0]["x"]

    assert [counted("first", True), counted("second", True)] == [1, 2]
    assert [counted("third", False), counted("fourth", False)] == [1, 1]
