"""Edited, missing and foreign lines are not taken for measured ones."""

import gzip
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.interruption import Killed, kill_at, no_cost, save_every_step
from support.lab_files import tiny
from support.lab_runs import compared, untimed

from apical import lab, rules
from apical.lab import LabError
from apical.lab.storage._checksums import read_json, verified, with_checksum
from apical.lab.storage._jsonl import JsonLines, read

__all__ = ["no_cost", "save_every_step"]
NAMES = ["backpropagation", "untrained-hidden-layers"]
ASKED = {"rules": NAMES, "seeds": 2, "epochs": 2}
TABLES = ("records", "layers", "costs")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e300, 1e300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return compared(**ASKED, out=folder), folder


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[1], tmp_path / "copy")


def edit(path, old, new):
    """Edit a file as one does by hand; what is to be edited must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@given(st.dictionaries(st.text(), JSON), st.text(), JSON)
def test_a_line_that_was_changed_anywhere_is_found_out(line, name, value):
    line = {k: v for k, v in line.items() if k != "checksum"}
    kept = read_json(json.dumps(with_checksum(line)))
    assert verified(kept) == line
    changed = kept | {name: value}
    if json.dumps(changed) != json.dumps(kept):
        with pytest.raises(ValueError, match="its checksum is another"):
            verified(changed)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize(
    ("old", "new"),
    [('"epochs": 2', '"epochs": 1'), ('"seeds": 2', '"seeds": 3'), ("adam", "sgd")],
)
def test_settings_that_were_edited_between_kill_and_resume(copy, old, new):
    edit(copy / "settings.json", old, new)
    for do in (lab.resume, lab.Comparison.read):
        with pytest.raises(LabError, match=r"settings.json is not what .* restore it"):
            do(copy)


def test_a_budget_that_was_edited_does_not_make_a_table_of_two_budgets(copy):
    """Not even by one who knows how checksums are made."""
    settings = verified(json.loads((copy / "settings.json").read_text()))
    changed = with_checksum(settings | {"epochs": 1})
    (copy / "settings.json").write_text(json.dumps(changed))
    wrong = "records.jsonl: a line of backprop.* made with epochs = 2, and this .* 1"
    with pytest.raises(LabError, match=wrong):
        lab.Comparison.read(copy)
    with pytest.raises(LabError, match="made with epochs = 2, and this comparison h"):
        compared(**ASKED | {"epochs": 1}, out=copy, resume=True)


@pytest.mark.parametrize("table", TABLES)
def test_a_number_that_was_edited_is_named_with_its_line(copy, table):
    path = copy / f"{table}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    name = "depth" if table == "costs" else "alignment"
    line = json.loads(lines[1])
    lines[1] = json.dumps(line | {name: 0.123}) + "\n"
    path.write_text("".join(lines))
    for do in (
        lab.Comparison.read,
        lambda out: compared(**ASKED, out=out, resume=True),
    ):
        with pytest.raises(LabError, match=rf"{table}.jsonl, line 2, .* was it edit"):
            do(copy)


def test_without_the_edited_line_its_run_is_made_again(whole, copy):
    path = copy / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    again = compared(**ASKED, out=copy, resume=True)

    def order(line):
        return line["rule"], line["epoch"], line["seed"]

    assert sorted(untimed(again.records), key=order) == sorted(
        untimed(whole[0].records), key=order
    )


def test_a_line_that_stands_twice_is_no_second_measurement(whole, copy):
    path = copy / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    # One is lost and another stands twice: the number of lines is right.
    path.write_text("".join([lines[0], *lines[:-1]]))
    again = compared(**ASKED, out=copy, resume=True)
    assert len({str(sorted(line.items())) for line in untimed(again.records)}) == 12


ELSEWHERE = {
    "epochs": ({"epochs": 1}, "epochs"),
    "data": ({"data": tiny(44)}, "training_examples|fingerprint_of_data"),
    "labels": (
        {"data": tiny()._replace(test_y=tiny().test_y[::-1].copy())},
        "fingerprint_of_data",
    ),
    "order": ({"shuffle": False}, "shuffle"),
    "rate": ({"learning_rate": 0.1}, "learning_rate"),
    "loss": ({"loss": "squared-error"}, "loss"),
}


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_lines_of_another_comparison_are_refused(copy, tmp_path, name):
    changed, said = ELSEWHERE[name]
    other = tmp_path / "other"
    compared(**ASKED | {"rules": NAMES[:1]} | changed, out=other)
    for table in ("records", "layers", "stages"):
        shutil.copy(other / f"{table}.jsonl", copy)
    with pytest.raises(LabError, match=f"made with ({said}) = .* not belong to one"):
        compared(**ASKED, out=copy, resume=True)


def test_a_rule_that_was_not_asked_for_does_not_slip_in(copy, tmp_path):
    other = tmp_path / "other"
    compared(**ASKED | {"rules": ["kolen-pollack"]}, out=other)
    with (copy / "records.jsonl").open("a") as file:
        file.write((other / "records.jsonl").read_text())
    for do in (
        lab.Comparison.read,
        lambda out: compared(**ASKED, out=out, resume=True),
    ):
        with pytest.raises(LabError, match="a line of kolen-pollack on mlp, which is"):
            do(copy)


def test_a_rule_with_other_numbers_under_the_same_name_does_not_either(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for out, decay in ((first, 0.1), (second, 0.2)):
        mine = {"mine": rules.KolenPollack(decay=decay)}
        compared(rules=mine, out=out, epochs=1)
    for table in ("records", "layers", "costs", "stages"):
        shutil.copy(first / f"{table}.jsonl", second)
    with pytest.raises(LabError, match="made with hyper_parameters = "):
        compared(rules=mine, out=second, epochs=1, resume=True)


@pytest.mark.grid(keep=2)
@pytest.mark.usefixtures("save_every_step")
@pytest.mark.parametrize("table", ["records", "layers"])
def test_lines_lost_before_the_checkpoint_are_made_again(tmp_path, whole, table):
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 8)
        with pytest.raises(Killed):
            compared(**ASKED | {"rules": NAMES[:1]}, out=tmp_path)
    path = tmp_path / f"{table}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert lines and (tmp_path / "checkpoint").exists()
    path.write_text("".join(lines[1:]))
    again = compared(**ASKED | {"rules": NAMES[:1]}, out=tmp_path, resume=True)
    mine = [line for line in getattr(whole[0], table) if line["rule"] == NAMES[0]]
    assert untimed(getattr(again, table)) == untimed(mine)


@pytest.mark.usefixtures("save_every_step")
def test_a_checkpoint_that_was_edited_is_named(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 6)
        with pytest.raises(Killed):
            compared(**ASKED, out=tmp_path)
    path = tmp_path / "checkpoint"
    content = path.read_bytes()
    for changed in (
        content.replace(b'"part": 1', b'"part": 0').replace(
            b'"epoch": 2', b'"epoch": 1'
        ),
        content[:-1] + bytes([content[-1] ^ 1]),
        b"\xff" + content,
        b'["a"]\n' + content,
        b"{}\n",
        b"[" * 100_000 + b"\n",
    ):
        assert changed != content
        path.write_bytes(changed)
        with pytest.raises(LabError, match=r"checkpoint cannot be read .* remove it"):
            compared(**ASKED, out=tmp_path, resume=True)


HOSTILE = [
    b"{}\n",
    b"[]\n",
    b"null\n",
    b" \n",
    b"\xff\xfe\n",
    b'{"model": NaN}\n',
    b"[" * 100_000 + b"\n",
    b'{"a": ' * 50_000 + b"\n",
    b"1" * 5000 + b"\n",
    b'{"model": ["mlp"], "rule": 3, "epoch": "[/red]"}\n',
    b'{"checksum": "0123456789abcdef"}\n',
    "{'model': '\N{LINE SEPARATOR}'}\n".encode(),
]


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content[:20]))
@pytest.mark.parametrize("name", ["records", "layers", "stages", "trials", "regimes"])
def test_a_hostile_line_is_an_error_of_the_lab(copy, name, content):
    path = copy / f"{name}.jsonl"
    path.write_bytes(path.read_bytes() + content if path.exists() else content)
    with pytest.raises(LabError, match=f"{name}.jsonl"):
        compared(**ASKED, out=copy, resume=True)


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content[:20]))
def test_hostile_settings_are_an_error_of_the_lab(copy, content):
    (copy / "settings.json").write_bytes(content)
    for do in (lab.resume, lab.Comparison.read):
        with pytest.raises(LabError, match=r"settings\.json"):
            do(copy)


def test_a_packed_file_that_is_torn_is_named(tmp_path):
    path = tmp_path / "records.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n')[:-9])
    with pytest.raises(LabError, match=r"records.jsonl.gz is not a result file"):
        read(path)


def test_lines_from_before_there_were_checksums_are_read_where_that_is_allowed(
    tmp_path,
):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n')
    assert read(path) == JsonLines(path).lines == [{"a": 1}]
    path.write_text('{"a": 1}\n')
    with pytest.raises(LabError, match=r"line 1, .*it has no checksum"):
        JsonLines(path, strict=True)
