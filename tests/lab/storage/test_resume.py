"""An interrupted comparison continues and ends with the same numbers."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.interruption import Killed, kill_at, no_cost, save_every_step
from support.lab_runs import compared, untimed

from apical import lab, rules
from apical.lab.run import _records, _runner
from apical.lab.storage import _checkpoint
from apical.lab.training._train import TrainProgress

__all__ = ["no_cost", "save_every_step"]
ASKED = {"rules": ["kolen-pollack"], "sweep": 2}
TABLES = ("records", "layers", "trials")


@pytest.fixture(scope="module")
def whole():
    return compared(**ASKED)


def require_same(result, whole):
    for table in TABLES:
        mine, other = (untimed(getattr(r, table)) for r in (result, whole))
        assert mine == other
    assert len(whole.records) == 6 and len(whole.trials) == 2


@pytest.mark.grid(keep=5)
@pytest.mark.parametrize("number", [0, 3, 9, 15, 19])
@pytest.mark.usefixtures("save_every_step")
def test_killed_between_any_two_writes_it_ends_the_same(tmp_path, whole, number):
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, number)
        with pytest.raises(Killed):
            compared(out=tmp_path, **ASKED)
    require_same(compared(out=tmp_path, resume=True, **ASKED), whole)


def test_what_was_done_is_not_done_again(tmp_path, whole, save_every_step):
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 15)
        with pytest.raises(Killed):
            compared(out=tmp_path, **ASKED)
    before = len(save_every_step)
    compared(out=tmp_path, resume=True, **ASKED)
    # Two epochs of trials and two of training, each with a checkpoint after its one
    # call and at its end. The sixth was on the disk when it was killed; two were left.
    assert before == 5 and len(save_every_step) == before + 2


def test_two_runs_agree_exactly(whole):
    require_same(compared(**ASKED), whole)


def test_a_line_that_was_torn_is_made_again(tmp_path, whole):
    compared(out=tmp_path, **ASKED)
    with (tmp_path / "stages.jsonl").open("rb+") as file:
        file.truncate(file.seek(0, 2) - 5)
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"rule": "kolen-po')
    require_same(compared(out=tmp_path, resume=True, **ASKED), whole)
    require_same(lab.Comparison.read(tmp_path), whole)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("table", ["records", "layers", "trials"])
def test_lines_that_were_lost_later_are_made_again(tmp_path, whole, table):
    compared(out=tmp_path, **ASKED)
    path = tmp_path / f"{table}.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    require_same(compared(out=tmp_path, resume=True, **ASKED), whole)


def test_a_comparison_that_has_ended_is_only_read_again(tmp_path, monkeypatch):
    first = compared(out=tmp_path, rules=["backpropagation"])
    monkeypatch.setattr(_runner, "Trainer", None)
    again = compared(out=tmp_path, rules=["backpropagation"], resume=True)
    assert again.records == first.records


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path, save_every_step):
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(Killed):
            compared(out=tmp_path, **ASKED)
    path = tmp_path / "checkpoint"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(lab.LabError, match=r"checkpoint cannot be read .* remove it"):
        compared(out=tmp_path, resume=True, **ASKED)
    path.unlink()
    assert compared(out=tmp_path, resume=True, **ASKED).rows[0].status == "ok"


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": 3}, "was begun with seeds = 2, and this is 3"),
        ({"rules": ["backpropagation"]}, "was begun with rules = "),
        ({"learning_rate": 0.5}, "was begun with learning_rate = None"),
    ],
)
def test_it_goes_on_only_with_what_it_was_begun_with(tmp_path, changed, message):
    asked = {"rules": ["untrained-hidden-layers"], "out": tmp_path}
    compared(**asked)
    with pytest.raises(lab.LabError, match=message):
        compared(**asked | changed, resume=True)


def test_other_data_or_another_version_are_found_out(tmp_path, monkeypatch):
    from support.lab_files import tiny

    asked = {"rules": ["untrained-hidden-layers"], "out": tmp_path}
    compared(**asked)
    with pytest.raises(lab.LabError, match="begun with fingerprint_of_data"):
        compared(
            **asked,
            data=tiny()._replace(train_y=tiny().train_y[::-1].copy()),
            resume=True,
        )
    monkeypatch.setattr(_records, "version", lambda name: f"9.{name}")
    with pytest.raises(lab.LabError, match=r"with jax = '\d.*this is '9.jax'"):
        compared(**asked, resume=True)


def test_a_rule_of_the_same_name_with_other_numbers_is_found_out(tmp_path):
    asked = {"out": tmp_path, "epochs": 1}
    compared(rules={"mine": rules.KolenPollack(decay=0.1)}, **asked)
    with pytest.raises(lab.LabError, match="was begun with hyper_parameters = "):
        compared(rules={"mine": rules.KolenPollack(decay=0.2)}, resume=True, **asked)


def test_objects_have_to_be_given_again(tmp_path):
    compared(rules=["untrained-hidden-layers"], out=tmp_path)
    with pytest.raises(lab.LabError, match="given as objects: continue it with"):
        lab.resume(tmp_path)


def test_what_was_begun_with_objects_is_not_sent_to_a_command(tmp_path):
    asked = {"rules": ["backpropagation", {"mine": rules.KolenPollack()}]}
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 1)
        with pytest.raises(Killed):
            compared(**asked, out=tmp_path)
    with pytest.raises(lab.LabError, match=r"resume=True.*force=True") as found:
        compared(**asked, out=tmp_path)
    assert "--resume" not in str(found.value) and "--force" not in str(found.value)
    assert compared(**asked, out=tmp_path, resume=True).rows[-1].status == "ok"


def test_settings_that_were_cut_off_are_said_to_be_damaged(tmp_path):
    (tmp_path / "settings.json").write_text('{"data": "dig')
    with pytest.raises(lab.LabError, match=r"settings\.json is damaged \(Unterminated"):
        lab.resume(tmp_path)


def test_a_folder_without_a_comparison_is_named(tmp_path):
    with pytest.raises(lab.LabError, match="holds no comparison"):
        lab.resume(tmp_path)


@pytest.mark.slow
def test_sigkill_in_the_middle_and_resume_from_the_command_line(tmp_path):
    asked = "--model mlp --rules feedback-alignment --epochs 15 --seeds 2 --out"
    words = ("compare", *asked.split())
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}

    def command(*more):
        return [sys.executable, "-m", "apical", *more]

    quiet = {"env": environment, "stdout": subprocess.DEVNULL}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen(command(*words, str(killed)), **quiet) as process:
        records = killed / "records.jsonl"
        until = time.monotonic() + 120
        while time.monotonic() < until and not records.exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert lab.Comparison.read(killed).rows[0].status == "unfinished"
    subprocess.run(command("compare", "--resume", str(killed)), check=True, **quiet)
    subprocess.run(command(*words, str(whole)), check=True, **quiet)
    mine, other = (lab.Comparison.read(folder) for folder in (killed, whole))
    assert untimed(mine.records) == untimed(other.records)
    assert mine.rows[0].status == "ok"


def test_large_weights_are_kept_more_seldom(tmp_path, monkeypatch):
    now = [0.0]
    written = []

    def slowly(path, content):
        now[0] += 3.0
        written.append(now[0])

    monkeypatch.setattr(_checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(_checkpoint, "replace_file", slowly)
    checkpoint = _checkpoint.Checkpoint(tmp_path / "checkpoint")
    position = TrainProgress(1, 1, np.zeros((1, 1)), np.zeros(1, bool), [])
    for _ in range(400):
        now[0] += 1.0
        checkpoint.save("a", position, lambda: "")
    # Three seconds are two hundredths of 150.
    assert written == [13.0, 166.0, 319.0]
