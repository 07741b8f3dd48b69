"""The output folder: nothing is overwritten silently, and nothing is lost."""

import os
import subprocess
import sys

import pytest
from support.lab_runs import compared

from apical.lab import LabError, free_folder
from apical.lab.storage._jsonl import JsonLines, read, replace_file
from apical.lab.storage._output_dir import open_folder, read_settings
from apical.lab.storage._results import ResultStore, Stage

SETTINGS = {"epochs": 1}
LINE = {"model": "mlp", "rule": "a", "epoch": 0, "seed": 1}


def begin(folder, force=False, resume=False, settings=SETTINGS):
    return open_folder(folder, settings, force, resume)


def test_a_line_is_in_the_file_before_the_next_is_made(tmp_path):
    path = tmp_path / "a.jsonl"
    table = JsonLines(path)
    table.write({"seed": 1}, {"seed": 2})
    assert read(path) == table.lines == [{"seed": 1}, {"seed": 2}]
    table.write({"seed": 3})
    assert JsonLines(path).lines == table.lines


def test_what_is_not_kept_is_gone_from_the_file_too(tmp_path):
    table = JsonLines(tmp_path / "a.jsonl")
    table.write(*({"seed": i} for i in range(4)))
    table.keep(lambda line: line["seed"] % 2)
    assert read(table.path) == table.lines == [{"seed": 1}, {"seed": 3}]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_folder(None, SETTINGS, False, False) as store:
        store.records.write(LINE)
        store.finish(Stage("training", "mlp", "a"))
    assert store.records.lines == [LINE] and not list(tmp_path.iterdir())


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        JsonLines(tmp_path / "a.jsonl").write({"loss": float("nan")})


def test_a_torn_last_line_is_left_out_and_the_next_line_stands_alone(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"seed": 1}\n{"seed": 2, "ru')
    assert read(path) == [{"seed": 1}]
    JsonLines(path).write({"seed": 3})
    assert read(path) == [{"seed": 1}, {"seed": 3}]


def test_what_is_no_result_file_is_named(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text("seed,epoch\n1,2\n")
    with pytest.raises(
        LabError,
        match=r"records.jsonl, line 1, is not a line that apical wrote.* edited\?",
    ):
        read(path)


def test_a_file_is_replaced_wholly_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, b"old")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"newer")
    assert path.read_bytes() == b"old"


def test_a_comparison_is_not_overwritten(tmp_path):
    with begin(tmp_path) as store:
        store.records.write({"seed": 1})
    with (
        pytest.raises(
            LabError,
            match=r"--resume .*resume=True.*--force .*force=True",
        ),
        begin(tmp_path),
    ):
        raise AssertionError
    assert read(tmp_path / "records.jsonl") == [{"seed": 1}]


def test_with_force_the_old_comparison_goes_and_other_files_stay(tmp_path):
    with begin(tmp_path) as store:
        store.records.write(LINE)
        store.finish(Stage("training", "mlp", "a"))
    for name in ("figure.png", "report.html", "checkpoint", "notes.txt"):
        (tmp_path / name).touch()
    with begin(tmp_path, force=True, settings={"epochs": 2}) as store:
        assert not store.records.lines
        assert not store.done(Stage("training", "mlp", "a"))
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {"settings.json", "notes.txt"}
    assert read_settings(tmp_path) == {"epochs": 2}


def test_a_folder_in_use_is_refused_and_free_again_afterwards(tmp_path):
    with begin(tmp_path):
        for keywords in ({"force": True}, {"resume": True}):
            with (
                pytest.raises(LabError, match="is in use by another run"),
                begin(tmp_path, **keywords),
            ):
                raise AssertionError
    with begin(tmp_path, resume=True):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(LabError, match=r"cannot write to .*file.* another folder"),
        begin(tmp_path / "file" / "out"),
    ):
        raise AssertionError


def test_settings_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(LabError, match=r"settings.json is damaged"):
        read_settings(tmp_path)


def test_a_stage_that_has_lost_lines_is_not_done():
    store, stage = ResultStore(None), Stage("training", "mlp", "a")
    assert not store.done(stage)
    store.records.write(LINE, {**LINE, "seed": 2}, {**LINE, "rule": "b"})
    store.finish(stage)
    assert store.done(stage)
    store.records.keep(lambda line: line["rule"] != "b")
    assert store.done(stage)
    store.records.keep(lambda line: line["seed"] == 1)
    assert not store.done(stage)


def test_a_stage_takes_back_its_own_lines_alone():
    store = ResultStore(None)
    for rule in ("a", "b"):
        for epoch in range(3):
            store.records.write({"model": "mlp", "rule": rule, "epoch": epoch})
        store.trials.write({"model": "mlp", "rule": rule})
    store.drop(Stage("training", "mlp", "a"), from_epoch=1)
    left = [(line["rule"], line["epoch"]) for line in store.records.lines]
    assert left == [("a", 0), ("b", 0), ("b", 1), ("b", 2)]
    store.drop(Stage("trials", "mlp", "b"))
    assert store.trials.lines == [{"model": "mlp", "rule": "a"}]


def test_the_free_folder_is_the_first_without_a_comparison(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(free_folder("out")) == "out"
    for name in ("out", "out-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").touch()
    assert str(free_folder("out")) == "out-3"


FULL = """
import resource, sys
from support.lab_runs import compared
from apical.lab import LabError
from apical.lab.run import _runner
from apical.lab.storage import _checkpoint
_checkpoint.EVERY = 1e9  # it would be the first file to grow too large
_runner.cost_line = lambda *args: {"depth": 1}
# A file that grows beyond this is refused by the system, as on a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    compared(rules=["backpropagation"], epochs=4, out=sys.argv[1])
except LabError as error:
    sys.exit(f"said: {error}")
"""


def test_a_full_disk_is_said_and_what_was_written_is_kept(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), "8000"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 1
    assert f"said: cannot write to {tmp_path}" in result.stderr
    assert "resume=True" in result.stderr and "Traceback" not in result.stderr
    kept = read(tmp_path / "records.jsonl")
    assert 0 < max(line["epoch"] for line in kept) < 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("apical.lab.run._runner.cost_line", lambda *args: {"depth": 1})
        again = compared(rules=["backpropagation"], epochs=4, out=tmp_path, resume=True)
    assert again.rows[0].status == "ok"
    assert len(again.records) == len(read(tmp_path / "records.jsonl")) == 10
