"""A comparison is resumed only with unchanged models and rules."""

import json
import sys

import pytest
from support.lab_runs import compared

from apical import lab
from apical.lab.storage._source_digests import digests

MODULE = """
import equinox as eqx
import jax
from apical import rules
from {helpers} import WIDTH

def factory(key, shape, classes):
    return eqx.nn.Sequential([eqx.nn.Lambda(jax.numpy.ravel), eqx.nn.MLP(
        16, classes, WIDTH, 1, key=key)])

@rules.rule
class Mine(rules.FeedbackAlignment):
    pass
"""


@pytest.fixture(params=["mine", "package.mine"])
def project(request, tmp_path, monkeypatch):
    """A user's folder: the module's name, its file, and that of what it imports."""
    name = request.param
    folder = tmp_path / "package" if "." in name else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(
        MODULE.format(helpers=".widths" if "." in name else "widths")
    )
    (folder / "widths.py").write_text("WIDTH = 24\n")
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield name, folder
    for each in set(sys.modules) - before:
        if each.split(".")[0] in ("mine", "widths", "package"):
            del sys.modules[each]


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("file", ["mine.py", "widths.py"])
def test_a_model_or_a_rule_that_was_changed_is_found_out(project, file):
    name, folder = project
    asked = {"rules": [f"{name}:Mine"], "epochs": 1, "out": "out"}
    compared(**asked)
    assert compared(**asked, resume=True).rows[0].status == "ok"
    path = folder / file
    kept = path.read_text()
    path.write_text(kept + "\n# another\n")
    with pytest.raises(lab.LabError, match=rf"{file} changed since out .*Undo the ch"):
        compared(**asked, resume=True)
    path.write_text(kept)
    assert compared(**asked, resume=True).rows[0].status == "ok"


@pytest.mark.grid(keep=2)
def test_each_record_says_which_files_made_it(project):
    name, _ = project
    records = compared(rules=[f"{name}:Mine"], epochs=1).records
    said = json.loads(records[0]["sources"])
    assert [file.split("/")[-1] for file in said] == ["mine.py", "widths.py"]
    plain = compared(rules=["untrained-hidden-layers"], epochs=1)
    assert "sources" not in plain.records[0]


def test_models_too_and_what_is_no_file_has_no_digest(project):
    name, folder = project
    lab.models.find_model(f"{name}:factory", "vectors")
    before = digests([f"{name}:factory"])
    (folder / "widths.py").write_text("WIDTH = 48\n")
    after = digests([f"{name}:factory", "mlp", "a-rule(rate=1)", "builtins:object"])
    different = [file for file in after if before[file] != after[file]]
    assert before.keys() == after.keys()
    assert [file.split("/")[-1] for file in different] == ["widths.py"]


def test_files_are_named_from_their_package_on(project):
    name, _ = project
    lab.models.find_model(f"{name}:factory", "vectors")
    folder = name.replace(".", "/").removesuffix("mine")
    assert list(digests([f"{name}:Mine(rate=1)"])) == [
        f"{folder}mine.py",
        f"{folder}widths.py",
    ]
