"""Messages of the lab for wrong calls, from Python and the command line."""

# Wrong types are what these tests are about.
# pyright: reportArgumentType=false, reportCallIssue=false

import json
import shlex
from pathlib import Path

import numpy as np
import optax
import pytest
from support.command_line import flat
from support.lab_files import tiny
from support.refusals import refuses
from typer.testing import CliRunner

from apical import lab, rules
from apical.cli import app

SMALL = {"models": ["mlp"], "rules": ["backpropagation"], "epochs": 1, "seeds": 1}
CODE = """
from apical.rules import Rule, rule

class Bare(Rule):
    pass

@rule
class Numbered(Rule):
    number: float

def raises(key, shape, classes):
    raise RuntimeError("from inside")

def takes_nothing():
    pass
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with what a user may have in it by mistake."""
    monkeypatch.chdir(tmp_path)
    for name, number in (("forty", 40), ("three", 3), ("one", 1)):
        data = tiny(number, 4)
        arrays = {key: getattr(data, key) for key in data._fields[2:6]}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "file").write_text("a file, and no folder")
    (tmp_path / "binary").write_bytes(bytes(range(255, 100, -1)))
    (tmp_path / "messages_mine.py").write_text(CODE)
    (tmp_path / "messages_torn.py").write_text("x = (\n")
    for name, content in (("foreign", {"a": 1}), ("listed", [1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text(json.dumps(content))
        (tmp_path / name / "records.jsonl").write_text(json.dumps(content) + "\n")
    return tmp_path


def compare(**keywords):
    return lab.compare(**{"data": tiny(), "batch_size": 8, **SMALL, **keywords})


# ------------------------------------------------------------------------- from Python

CALLS = {
    "seeds, text": (lambda: compare(seeds="5"), "--seeds '5'", "a whole number"),
    "seeds, list": (lambda: compare(seeds=[0, 1]), "--seeds [0, 1]", "not a list"),
    "epochs, half": (lambda: compare(epochs=1.5), "--epochs 1.5", "not a float"),
    "batch, none": (lambda: compare(batch_size=None), "--batch-size None"),
    "sweep, truth": (lambda: compare(sweep=True), "--sweep True", "a whole number"),
    "rate, text": (lambda: compare(learning_rate="0.1"), "--rate '0.1'", "a number"),
    "optimizer": (
        lambda: compare(optimizer=optax.adam(0.1)),
        *("optimizer is a Grad", "'adam'", "learning_rate"),
    ),
    "data, arrays": (
        lambda: compare(data=(np.ones(3), np.ones(3))),
        *("data is a tuple", "lab.Data"),
    ),
    "data, none": (lambda: lab.load(None), "name is a NoneType", "by a string"),
    "data, path": (lambda: compare(data=Path("no.npz")), "no.npz", "no such file"),
    "data, empty": (lambda: lab.load(""), "no data set is called ''", "digits"),
    "data-dir": (lambda: lab.load("mnist", "file"), "--data-dir file is a file"),
    "models, text": (lambda: compare(models="nope"), "'nope'", "Did you mean"),
    "models, function": (lambda: compare(models=tiny), "models", "{'mine': factory}"),
    "models, functions": (lambda: compare(models=[tiny]), "models", "'mine'"),
    "models, number": (lambda: compare(models={"m": 3}), "models: 'm' is a int"),
    "models, none": (lambda: compare(models={}), "at least one model"),
    "rules, rule": (
        lambda: compare(rules=rules.FeedbackAlignment()),
        *("rules", "is not a name", "{'mine': rule}"),
    ),
    "rules, class": (lambda: compare(rules=[rules.KolenPollack]), "is not a name"),
    "rules, none": (lambda: compare(rules={}), "at least one rule"),
    "out": (lambda: compare(out="file"), "file, which is a file", "another folder"),
    "resume": (lambda: compare(resume=True), "resume=True needs out="),
    "foreign": (lambda: lab.resume("foreign"), "no checksum", "given as --out"),
    "listed": (lambda: lab.resume("listed"), "listed/settings.json is not what"),
    "a file": (lambda: lab.resume("file"), "cannot be read", "given as --out"),
    "records": (
        lambda: lab.Comparison.read("foreign"),
        *(
            "records.jsonl, line 1, is not a line that apical wrote",
            "it has no checksum",
        ),
    ),
    "lines": (lambda: lab.Comparison.read("listed"), "not a JSON object"),
    "report": (
        lambda: lab.Comparison([]).save_report("file"),
        *("cannot write to file", "another folder"),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_cannot_be_is_an_error_of_the_lab(name):
    do, *words = CALLS[name]
    refuses((do, *words))
    with pytest.raises(lab.LabError):
        do()


def test_a_path_and_a_name_alone_are_taken():
    assert lab.load(Path("forty.npz")).shape == (1, 4, 4)
    assert compare(models="mlp", rules="backpropagation").records


# ------------------------------------------------------------------- the command line

OURS = "--data forty.npz --batch-size 8 --out o"
LINES = {
    "epochs": ("compare --epochs x", "--epochs", "integer"),
    "seeds": ("compare --seeds 1.5", "--seeds", "integer"),
    "rate": ("compare --rate x", "--rate", "valid"),
    "option": ("compare --wrong", "No such option", "--wrong"),
    "command": ("comapre", "Did you mean 'compare'"),
    "argument": ("compare digits", "unexpected extra argument", "digits"),
    "no data": ("compare --data", "--data", "requires an argument"),
    "binary": ("compare --data binary", "binary is not a text in UTF-8", ".npz"),
    "folder": ("compare --data .", "is a folder", "name a file"),
    "sweep": (
        "compare --data forty.npz --sweep 2 --batch-size 33",
        *("--batch-size 33", "--sweep", "at most 32", "40 training examples"),
    ),
    "sweep of three": (
        "compare --data three.npz --sweep 2 --batch-size 3",
        *("--batch-size 3", "at most 2"),
    ),
    "sweep of one": (
        "compare --data one.npz --sweep 2 --batch-size 1",
        *("--batch-size 1", "too few to hold some out"),
    ),
    "batch_axes": ("compare --data three.npz", "--batch-size 64", "must be 1 to 3"),
    "model raises": (
        f"compare --model messages_mine:raises {OURS}",
        *("--model messages_mine:raises", "RuntimeError: from inside", ".py:"),
    ),
    "model of none": (
        f"compare --model messages_mine:takes_nothing {OURS}",
        *("called with a key, (1, 4, 4) and 10", "takes 0 positional"),
    ),
    "torn module": (
        "compare --model messages_torn:f",
        *("messages_torn cannot be imported", "SyntaxError"),
    ),
    "bare rule": (
        "compare --rules messages_mine:Bare",
        *("messages_mine:Bare is not registered", "`@apical.rules.rule`"),
    ),
    "numbered rule": (
        "compare --rules messages_mine:Numbered",
        *("cannot be made by Numbered()", "'number'", "a default"),
    ),
    "out": (
        "compare --data forty.npz --batch-size 8 --out file",
        *("file, which is a file", "--out"),
    ),
    "out below": (
        "compare --data forty.npz --batch-size 8 --out file/below",
        *("cannot write to file/below", "--out"),
    ),
    "foreign": ("compare --resume foreign", "settings.json is not what", "--out"),
    "nowhere": ("compare --resume nowhere", "holds no comparison", "--out"),
    "rules": ("rules score-funktion", "Did you mean", "'score-function'"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_wrong_line_ends_with_two_and_says_what_to_do(name):
    line, *words = LINES[name]
    result = CliRunner().invoke(app, shlex.split(line), env={"COLUMNS": "300"})
    assert result.exit_code == 2, result.output
    said = flat(result.stderr)
    assert all(word in said for word in words), said
    assert "Traceback" not in result.output
