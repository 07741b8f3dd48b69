"""Records: kept at once, never overwritten in silence, readable as JSON."""

import json
import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apical
from apical import rules
from apical.lab import LabError, free_folder
from apical.lab._records import (
    FIGURES,
    Recorder,
    environment,
    hyper_parameters,
    plain,
    read_records,
)


def test_a_record_is_in_the_file_before_the_next_is_made(tmp_path):
    recorder = Recorder(tmp_path / "a" / "b")
    recorder.write({"seed": 1})
    assert read_records(tmp_path / "a" / "b") == [{"seed": 1}]
    recorder.write({"seed": 2})
    assert read_records(tmp_path / "a" / "b") == recorder.records
    recorder.close()


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorder = Recorder(None)
    recorder.write({"seed": 1})
    recorder.close()
    assert recorder.records == [{"seed": 1}] and not list(tmp_path.iterdir())


def record_once(folder, **keywords):
    recorder = Recorder(folder, **keywords)
    recorder.write({"seed": 1})
    recorder.close()


def test_records_of_an_earlier_comparison_are_not_overwritten(tmp_path):
    record_once(tmp_path)
    with pytest.raises(LabError, match=r"holds the records .* --out, or .* --force"):
        Recorder(tmp_path)
    assert len(read_records(tmp_path)) == 1


def test_with_force_old_records_and_figures_go_and_other_files_stay(tmp_path):
    record_once(tmp_path)
    for name in (*FIGURES, "notes.txt"):
        (tmp_path / name).touch()
    record_once(tmp_path, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"records.jsonl", "notes.txt"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"cannot write to .*file.* choose another"):
        Recorder(tmp_path / "file" / "out")


def test_a_last_line_torn_by_an_interrupt_is_left_out(tmp_path):
    record_once(tmp_path)
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"seed": 2, "rul')
    assert read_records(tmp_path) == [{"seed": 1}]


def test_reading_a_folder_without_records_says_so(tmp_path):
    with pytest.raises(LabError, match=r"records.jsonl: there is no such file"):
        read_records(tmp_path)


def test_the_free_folder_is_the_first_without_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(free_folder("out")) == "out"
    record_once("out")
    assert str(free_folder("out")) == "out-2"
    record_once("out-2")
    assert str(free_folder("out")) == "out-3"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (np.float32(0.5), 0.5),
        (jnp.array(0.25), 0.25),
        (np.array([1.0, math.inf]), [1.0, None]),
        (True, True),
        (None, None),
        ("fixed", "fixed"),
    ],
)
def test_values_are_made_plain(value, expected):
    found = plain(value)
    assert found == expected
    json.dumps(found, allow_nan=False)


def test_every_hyper_parameter_is_recorded_and_parts_by_name():
    @dataclass
    class Part:
        gain: float = 2.0

    sweep = rules.PredictiveCoding(inference=rules.Sweep())
    assert plain(Part()) == {"name": "Part", "gain": 2.0}
    found = hyper_parameters(sweep)
    assert found.keys() == {"steps", "rate", "prediction", "inference"}
    assert found["inference"]["name"] == "Sweep"
    json.dumps(hyper_parameters(rules.PredictiveCoding(inference=optax.sgd(0.1))))


def test_the_environment_names_versions_and_no_machine():
    import platform

    found = environment()
    assert found["versions"]["apical"] == apical.__version__
    assert found["versions"]["python"] == platform.python_version()
    assert {"jax", "jaxlib", "numpy", "optax", "equinox"} < found["versions"].keys()
    assert platform.node() not in json.dumps(found)
