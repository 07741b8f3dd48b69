"""The verdicts that the repository shows are those of its records and rules."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from apical.lab import LabError, kept_claims
from apical.lab._kept import INDEX
from apical.lab.claims import CLAIMS, read_outcome, run_claim, write_report
from apical.lab.claims._measured import NOT_RUN
from apical.lab.claims._run import OUTCOME, asdict_of

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))
keep_claims = importlib.import_module("keep_claims")
claims_index = importlib.import_module("claims_index")
KEPT = sorted(path.name for path in (keep_claims.KEPT / "full").iterdir())


def outcome_of(name):
    return read_outcome(CLAIMS[name], "full", keep_claims.KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_verdict_follows_from_its_records(name):
    kept = json.loads((keep_claims.KEPT / "full" / name / OUTCOME).read_text())
    made = asdict_of(outcome_of(name).verdict)
    assert {k: kept[k] for k in ("verdict", "because")} == {
        k: made[k] for k in ("verdict", "because")
    }
    assert len(kept["effects"]) == len(made["effects"])


@pytest.mark.parametrize("name", KEPT)
def test_the_rule_is_the_one_by_which_the_run_was_judged(name):
    kept = json.loads((keep_claims.KEPT / "full" / name / OUTCOME).read_text())
    assert kept["rule"] == CLAIMS[name].rule


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
    assert read_outcome(CLAIMS[name], "full", tmp_path / "kept") == outcome
    assert not keep_claims.keep(name, tmp_path / "elsewhere")


def test_a_kept_run_is_not_run_over():
    with pytest.raises(LabError, match=r"holds a run that is kept.*--out"):
        run_claim(CLAIMS[KEPT[0]], "full", keep_claims.KEPT)


def test_a_report_draws_what_is_not_drawn(tmp_path):
    path = write_report([outcome_of(KEPT[0])], tmp_path)
    assert f"({KEPT[0]}/picture.png)" in path.read_text()
    assert (tmp_path / KEPT[0] / "picture.png").exists()


def test_what_is_listed_is_what_the_claims_and_their_records_say():
    assert INDEX.read_text("utf-8") == claims_index.index(), (
        "run: python tools/claims_index.py"
    )
    assert list(kept_claims()) == list(CLAIMS)
    for name in KEPT:
        assert kept_claims()[name].verdict == outcome_of(name).verdict.word
