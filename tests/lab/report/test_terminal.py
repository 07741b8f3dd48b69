"""Terminal output: no user markup, no broken words, any encoding."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.comparison_lines import comparison, refused, run
from support.lab_files import tiny
from typer.testing import CliRunner

import apical
from apical import claims
from apical.cli import app
from apical.cli._app import stop
from apical.cli._rules import read_docstring
from apical.lab import NOT_COMPARED
from apical.lab._registry import RULES
from apical.lab.report._terminal import (
    NameCell,
    as_text,
    make_table,
    print_text,
    replace_unencodable,
)
from apical.lab.report._terminal_table import outcome, regime_table
from apical.lab.run._progress import duration, progress_bar
from apical.lab.training._predictive_coding_regime import has_regime

HOSTILE = [
    "[/red]",
    "[bold]module:factory[/]",
    ":smile: :factory:",
    "[link=http://x]y[/link]",
    "\\[x]",
    "{task.description}",
    "[[]]",
    "[@click=exit]",
]


def shown(thing, width=300, encoding="utf-8"):
    """What a console of the user's own, with markup and emoji, shows."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding, newline="")
    replace_unencodable(stream)
    Console(file=stream, width=width, force_terminal=False).print(thing)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def named(name):
    """A comparison in which everything that may have a name has this one."""
    records = run(name, name, data=name, note=name, optimizer=name)
    records += refused(name, "other", message=name)
    line = {"model": name, "rule": name, "epoch": 2, "steps": "slow", "update": name}
    numbers = ("residual", "stiffness", "to_backpropagation", "to_equilibrium")
    line |= dict.fromkeys(numbers) | {"energy": json.dumps({name: None})}
    return comparison(records, regimes=[line])


@pytest.mark.parametrize("name", HOSTILE)
def test_what_looks_like_markup_is_shown_as_it_is(name, capsys):
    found = named(name)
    for thing, times in (
        (found.table, 5),
        (found.regime_table, 3),
        (outcome(found.rows[1]), 1),
    ):
        assert shown(thing).count(name) >= times
    console = Console(file=io.StringIO(), width=300)
    with progress_bar(console) as reporter:
        reporter.begin(name, 1.0)
        reporter.end(name, outcome(found.rows[1]))
    assert console.file.getvalue().count(name) >= 2
    with pytest.raises(BaseException):  # noqa: B017 - typer's own way to end
        stop(name)
    assert name in capsys.readouterr().err


@given(st.text())
def test_no_text_steers_the_terminal_or_is_lost(text):
    found = as_text(text).plain
    kept = [c for c in found if not (c.isprintable() or c in "\n\t\xa0")]
    assert all("\ud800" <= c <= "\udfff" for c in kept)  # the encoding sees to them
    assert [c for c in text if c.isprintable()] == [
        c for c in found if c.isprintable() and c in text
    ] or any(not c.isprintable() or c == "\\" for c in text)


@given(st.from_regex(r"[a-z]{1,9}([-.:,(_=/][a-z0-9]{1,9}){0,9}", fullmatch=True))
def test_a_name_is_broken_only_where_it_may_be_and_nothing_is_lost(text):
    name = NameCell(text)
    for width in {name.narrowest, name.narrowest + 7, 200}:
        lines = shown(name, width).splitlines()
        assert "".join(lines) == text
        assert all(line[-1] in "-.:,(_=/" for line in lines[:-1])
        assert max(map(len, lines)) <= width


def test_numbers_in_a_name_stay_whole():
    text = "a-rule(rate=1e-05, removed_backward=0.25)"
    lines = shown(NameCell(text), NameCell(text).narrowest).splitlines()
    assert any("1e-05" in line for line in lines)
    assert any("0.25" in line for line in lines)


LONG = [*RULES, "feedback-alignment(removed_backward=0.25, gains='feedback')"]

SETTLING = [name for name, spec in RULES.items() if has_regime(spec.make())]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_word_is_broken_in_any_table(width):
    records = [line for name in LONG for line in run("my_module:factory", name)]
    regimes = [
        {"model": "my_module:factory", "rule": name, "epoch": 2, "energy": "{}"}
        | {"steps": "diverging", "update": "backprop-like", "residual": 1e-3}
        | {"stiffness": 0.5, "to_backpropagation": -0.123, "to_equilibrium": 0.99}
        for name in SETTLING
    ]
    found = comparison(records, regimes=regimes)
    for table, names in ((found.table, LONG), (regime_table(regimes), SETTLING)):
        text = shown(table, width)
        assert max(map(len, text.splitlines())) <= width
        words = text.split()
        assert words.count("diverging") >= len(SETTLING) and "…" not in text
        if names is SETTLING:  # there names are whole, too
            assert words.count("backprop-like") == len(SETTLING)
            assert set(names) <= set(words)
        for name in names:
            for piece in re.findall(r"[a-z']+|[\d.]+", name):
                assert any(piece in word for word in words)


@pytest.mark.parametrize("width", [80, 120])
def test_a_grid_is_as_wide_as_its_longest_words(width):
    sentence = "antidisestablishmentarianism is a word and 97.2 ± 0.4 a number"
    made = make_table(
        ("one", "two"), [[as_text(sentence), as_text("97.2 ± 0.4")]], numbers=[1]
    )
    text = shown(made, width)
    assert all(word in text.split() for word in sentence.split())
    assert "97.2 ± 0.4" in text


def printed(width, *words):
    found = CliRunner(env={"COLUMNS": str(width)}).invoke(app, list(words))
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_word_is_broken_in_the_matrix_of_rules(width):
    text = printed(width, "rules")
    assert max(map(len, text.splitlines())) <= width
    words = set(re.findall(r"[\w'-]+", text))
    assert {*RULES, *NOT_COMPARED} <= words
    needs = " ".join(need for spec in RULES.values() for need in spec.needs)
    assert set(needs.split()) <= words


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", ["predictive-coding-free", "weight-mirror", "clapp"])
def test_no_word_is_broken_where_one_rule_is_shown(width, name):
    text = printed(width, "rules", name)
    spec = RULES.get(name) or NOT_COMPARED[name].spec
    words = Counter(text.split())
    said = read_docstring(type(spec.make()))
    wanted = [*said.arguments.values(), said.source, said.refused, *spec.needs]
    needed = Counter(" ".join(wanted).split())
    # A need stands before a comma.
    assert all(word in words or f"{word}," in words for word in needed)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_word_is_broken_in_the_list_of_claims(width, tmp_path):
    text = printed(width, "claims", "list", "--out", str(tmp_path))
    words = Counter(text.split())
    for name, kept in claims.kept_claims().items():
        assert name in words
        assert set(kept.sentence.split()) | set(kept.verdict.split()) <= set(words)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_word_is_broken_in_the_help_of_compare(width):
    text = re.sub(r"[│╭╮╰╯─]", " ", printed(width, "compare", "--help"))
    words = set(text.split())
    assert {"'kolen-pollack(decay=0.2)';", "'removed_backward=0,0.5,0.9'."} <= words
    assert {"hyper-parameters,", "fashion-mnist,", "'sgd(momentum=0.9)'."} <= words


def test_a_wide_terminal_shows_more_of_the_regimes():
    line = {"model": "mlp", "rule": SETTLING[0], "epoch": 2, "energy": '{"a": 0.5}'}
    line |= {"steps": "stable", "update": "partial", "residual": 1e-3}
    line |= {"stiffness": 0.5, "to_backpropagation": 0.1, "to_equilibrium": 0.9}
    narrow, wide, widest = (shown(regime_table([line]), w) for w in (80, 120, 160))
    assert f"mlp, {SETTLING[0]}" in narrow and f"mlp, {SETTLING[0]}" not in wide
    assert "a 5.0e-01" not in wide and "a 5.0e-01" in widest


@pytest.mark.parametrize("width", [9, 20, 45])
def test_where_words_do_not_fit_they_are_broken_and_no_letter_is_lost(width):
    rows = [
        [
            as_text("abcdefghijkl " * 3),
            NameCell("mnopqrstuvwx"),
            as_text("123456789.25"),
        ]
    ]
    text = shown(make_table(("one", "two", "three"), rows, numbers=[2]), width)
    assert max(map(len, text.splitlines())) <= width
    letters = Counter("".join(text.split()))
    assert letters["a"] == letters["l"] == 3 and letters["x"] == letters["9"] == 1


def test_a_path_stays_in_one_piece_to_be_copied():
    path = "/a/very/long/path-of-a-folder" * 9
    stream = io.StringIO()
    print_text(
        Console(file=stream, width=80), f"The page: {path}/report.html. And more."
    )
    assert f"{path}/report.html." in stream.getvalue().split()
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_every_encoding_shows_the_nearest_that_it_has(encoding):
    text = shown(named("naïve\udcff 漢字").table, 120, encoding)
    lacking = encoding == "ascii"
    assert ("na?ve? ??" if lacking else "na") in text
    assert ("->" if lacking else "alignment") in text.replace(" > ", "->")
    wide = shown(named("plain").table, 120)
    assert len(shown(named("plain").table, 120, "ascii")) == len(wide)  # columns stay


def test_an_interval_and_a_score_are_plain_in_ascii():
    text = shown(as_text("R² 25.5 ± 18.5 | ±1"), 80, "ascii")
    assert text == "R2 25.5 +-18.5 | +-1\n"


def test_a_time_is_said_before_it_passes():
    console = Console(file=io.StringIO(), width=80)
    with progress_bar(console) as reporter:
        reporter.expect(700.0, 12)
    assert "12 runs to do: about 12 minutes" in console.file.getvalue()
    assert [duration(s) for s in (1, 59, 61)] == [
        *("less than a minute", "about a minute"),
        "about 2 minutes",
    ]


# ----------------------------------------------------------- a terminal that has little

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def command(*words, cwd=None, **environment):
    known = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LANG")}
    path = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-m", "apical", *words],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**known, "PYTHONPATH": path, "COLUMNS": "80", **environment},
    )


def test_a_comparison_is_not_killed_by_what_the_terminal_lacks(tmp_path):
    data = tiny(40, 12)
    np.savez(
        tmp_path / "naïve-漢[red]:x:.npz", **dict(zip(ARRAYS, data[2:6], strict=True))
    )
    asked = "--rules feedback-alignment --model mlp --epochs 1 --seeds 2 --batch-size 8"
    found = command(
        *("compare", "--data", "naïve-漢[red]:x:.npz", *asked.split()),
        **C_LOCALE,
        cwd=tmp_path,
    )
    told = (found.stdout + found.stderr).decode("latin-1")
    assert found.returncode == 0, told
    assert "Report:" in told and "Traceback" not in told
    assert "[red]:x:.npz" in told
    assert (tmp_path / "apical-compare" / "report.html").exists()


ARRAYS = ("train_x", "train_y", "test_x", "test_y")


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize(
    "words", ["claims show pc-exact", "rules", "compare --rules ×"]
)
def test_nor_is_what_is_only_shown(words):
    found = command(*words.split(), PYTHONIOENCODING="ascii")
    assert found.returncode == (2 if "compare" in words else 0), found.stderr
    assert b"Traceback" not in found.stderr
    assert found.stdout.isascii() and found.stderr.isascii()


# ------------------------------------------------------------------------- at one place

SOURCES = [
    path
    for available in ("lab", "cli")
    for path in (Path(apical.__file__).parent / available).rglob("*.py")
]
MAKERS = {"Text", "Table", "escape", "from_markup"}
PLACE = "_terminal.py"


def written_elsewhere(source):
    """Texts and tables made, and words printed, past the one place for them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        bare = node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
        if name in MAKERS or (name == "print" and bare):
            found.append((name, node.lineno))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_words_reach_the_terminal_at_one_place_alone(path):
    if path.name != PLACE:
        assert written_elsewhere(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "console.print(f'{name}')",
        "Console().print('[red]x[/]')",
        "Text(name)",
        "Text.from_markup(x)",
        "rich.table.Table(title=name)",
        "escape(x)",
    ],
)
def test_another_place_would_be_seen(source):
    assert written_elsewhere(source)
    assert not written_elsewhere("console.print(table)\nText.assemble(a, b)")
