"""Tasks by name and with arguments: parts with seeds of their own, and refusals."""

import numpy as np
import pytest

from apical.lab import LabError
from apical.lab.data._load import load
from apical.lab.data.tasks._registry import TASKS, task_name

FEW = "train=20, test=20"


@pytest.mark.parametrize("name", TASKS)
def test_training_and_test_examples_are_drawn_with_different_seeds(name):
    data = load(f"{name}({FEW})")
    assert data.name == f"{name}({FEW})"
    assert not np.array_equal(data.train_x, data.test_x)
    assert data.fingerprint == load(f"{name}({FEW})").fingerprint
    other = load(f"{name}({FEW}, test_seed=41)")
    assert np.array_equal(other.train_x, data.train_x)
    assert not np.array_equal(other.test_x, data.test_x)


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_for_both_parts_is_refused(name):
    with pytest.raises(LabError, match=f"{name}: train_seed and test_seed are both 4"):
        load(f"{name}({FEW}, train_seed=4, test_seed=4)")


def test_a_file_with_brackets_in_its_name_is_no_task():
    assert task_name("copy(1).npz") is None and task_name("digits") is None
    assert task_name(" store_recall(steps=2)") == "store-recall"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("copy(dely=3)", "no argument of copy is called 'dely'. Did you mean 'delay'"),
        ("copy(3)", "every argument needs its name.*'copy\\(delay=50\\)'"),
        ("copy(delay=1.5)", "copy: delay = 1.5 must be a whole number, at least 1"),
        ("copy(symbols=1)", "symbols = 1 must be a whole number, at least 2"),
        ("copy(train=0)", "train = 0"),
        ("copy(train_seed=-1)", "train_seed = -1 must be a whole number, at least 0"),
        ("copy(train_seed=4294967296)", "must be below 2\\*\\*32"),
        ("copy(train=10**15)", "is not a number"),
        ("copy(train=1000000000000)", "copy would take about .* GB .* fewer examples"),
        ("adding(time=1)", "time = 1 must be a whole number, at least 2"),
        ("store-recall(channels=10)", "channels = 10 must be a multiple of 4"),
        ("store-recall(rate=1.5)", "rate = 1.5 must be above 0 and at most 1"),
        ("store-recall(rate=True)", "rate = True must be above 0"),
        ("store-recall(periods=1)", "periods = 1"),
        ("store-recall(wait=0)", "wait = 0"),
        ("store-recall(wait=8)", "wait = 8 must be 1 to 7, below the number of"),
        ("evidence-accumulation(cues=4)", "cues = 4 must be odd"),
        (
            "evidence-accumulation(off=-1)",
            "off = -1 must be a whole number, at",
        ),
        ("yin-yang-spikes(steps=0)", "yin-yang-spikes: steps = 0"),
        ("yin-yang(rate=1)", "no argument of yin-yang is called 'rate'"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(text, message):
    with pytest.raises(LabError, match=message):
        load(text)
