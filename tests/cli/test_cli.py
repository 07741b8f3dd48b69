"""The command line: output and exit codes."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import flat, run
from support.lab_files import tiny, write_mnist

import apical
from apical import claims, lab
from apical.cli._rules import read_docstring
from apical.lab import COMPARED, NOT_COMPARED, RULES
from apical.lab._registry import CONTROL
from apical.lab.run import _plan

SMALL = "--model mlp --rules backpropagation --epochs 1 --seeds 2 --batch-size 8"


def test_the_version_is_printed():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"apical {apical.__version__}\n")


def needs_in_matrix(text, shown="•◦"):
    """The needs of each rule, read off the matrix that `apical rules` prints."""
    legend = re.search(
        r"Needs that a biological neuron is not known to meet: (.*?)\.", flat(text)
    )[1]
    words = dict(part.split(" ", 1) for part in legend.split("; "))
    lines = [line.split() for line in text.splitlines()]
    marks = {
        line[0]: line[1:] for line in lines if line[1:] and {*"•◦·"} >= {*line[1:]}
    }
    return {
        name: {words[str(i)] for i, mark in enumerate(row, 1) if mark in shown}
        for name, row in marks.items()
    }


@pytest.mark.parametrize("width", [80, 100, 160])
def test_rules_are_a_matrix_with_one_line_for_each(width):
    result = run("rules", width=width)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width
    specs = {**RULES, **{name: n.spec for name, n in NOT_COMPARED.items()}}
    found = needs_in_matrix(result.stdout)
    assert found == {name: set(spec.needs) for name, spec in specs.items()}
    assert needs_in_matrix(result.stdout, "•") == {
        name: {need for need, word in kept.items() if word == "yes"}
        for name, kept in apical.measure.measured_needs().items()
    }
    assert "score-function: for networks with stochastic nodes" in flat(result.stdout)


@pytest.mark.parametrize("name", [*RULES, *NOT_COMPARED])
def test_every_rule_is_shown_with_equation_source_needs_and_numbers(name):
    result = run(f"rules {name}", width=100)
    assert result.exit_code == 0
    shown = flat(result.stdout)
    spec = RULES.get(name) or NOT_COMPARED[name].spec
    made = spec.make()
    words = read_docstring(type(made))
    assert words.equation and words.equation in result.stdout
    assert type(made).__name__ in shown and words.summary in shown
    assert words.source or name == CONTROL
    for key in re.findall(r"@\w+\{\s*([^,\s]+)", spec.citation):
        assert key in shown
    assert not spec.needs or spec.needs[0] in shown
    for field in dataclasses.fields(made):
        assert re.search(rf"^ ?{field.name} ", result.stdout, re.MULTILINE)
    for low, high, scale in spec.search_space.values():
        assert f"{low:g} to" in shown and f"{high:g}, {scale}" in shown


def test_the_numbers_of_a_rule_are_those_of_its_row():
    shown = flat(run("rules kolen-pollack(decay=0.25)", width=120).stdout)
    assert "decay 0.25 – the fraction" in shown  # given, so that no sweep draws it
    shown = flat(run("rules kolen_pollack", width=120).stdout)
    assert "decay 0.0001 1e-05 to 0.01, log the fraction" in shown


def test_an_unknown_rule_lists_the_nearest_names():
    result = run("rules kolen-polack")
    assert result.exit_code == 2
    assert "'kolen-pollack'" in result.stderr
    result = run("rules score-funktion")  # also of those that are not compared
    assert "'score-function'" in result.stderr


def test_a_comparison_prints_its_table_and_where_the_rest_is(tmp_path, monkeypatch):
    monkeypatch.setattr(_plan, "load", lambda *args: tiny())
    result = run(f"compare {SMALL} --out {tmp_path / 'out'}")
    assert result.exit_code == 0, result.output
    assert "accuracy %" in result.stdout and "no tuning" in flat(result.stdout)
    assert "Report:" in result.stdout
    assert (tmp_path / "out" / "report.html").exists()
    again = run(f"compare {SMALL} --out {tmp_path / 'out'}")
    assert again.exit_code == 2
    assert "--resume" in again.stderr and "replace it with --force" in flat(
        again.stderr
    )
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    ended = run(f"compare --resume {tmp_path / 'out'}")
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


def test_the_default_folder_is_a_fresh_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "apical-compare").mkdir()
    (tmp_path / "apical-compare" / "settings.json").touch()
    seen = []
    monkeypatch.setattr(
        "apical.lab.compare", lambda **options: seen.append(options) or 1
    )
    run("compare")
    assert str(seen[0]["out"]) == "apical-compare-2"
    assert seen[0]["rules"] == COMPARED and seen[0]["models"] is None


def test_options_reach_the_comparison(monkeypatch):
    seen = {}
    monkeypatch.setattr("apical.lab.compare", lambda **options: seen.update(options))
    run(
        "compare --data mnist --data-dir d --download --model cnn --model mlp",
        "--rules kolen-pollack,sign-concordance --epochs 3 --seeds 4 --batch-size 5",
        "--optimizer sgd --learning-rate 0.5 --loss squared-error --sweep 16",
        "--device cpu --out o --force",
    )
    del seen["console"]
    assert {name: str(value) for name, value in seen.items()} == {
        "data": "mnist",
        "data_dir": "d",
        "download": "True",
        "models": "['cnn', 'mlp']",
        "rules": "kolen-pollack,sign-concordance",
        "vary": "None",
        "epochs": "3",
        "seeds": "4",
        "batch_size": "5",
        "optimizer": "sgd",
        "learning_rate": "0.5",
        "loss": "squared-error",
        "sweep": "16",
        "device": "cpu",
        "engine": "None",
        "out": "o",
        "force": "True",
        "callbacks": "[]",
    }


@pytest.mark.parametrize("begun", ["", "--resume o"])
def test_writers_are_callbacks_also_of_a_comparison_that_is_resumed(monkeypatch, begun):
    seen = {}
    for name in ("TensorBoard", "WeightsAndBiases", "OrbaxCheckpoints"):
        monkeypatch.setattr(f"apical.lab.{name}", lambda x, n=name: (n, str(x)))
    for name in ("compare", "resume"):
        monkeypatch.setattr(f"apical.lab.{name}", lambda *_, **o: seen.update(o))
    run(f"compare {begun} --tensorboard t --wandb w --checkpoints c")
    assert seen["callbacks"] == [
        ("TensorBoard", "t"),
        ("WeightsAndBiases", "w"),
        ("OrbaxCheckpoints", "c"),
    ]


def test_a_wrong_name_ends_with_two_and_the_nearest_names(tmp_path):
    result = run(f"compare --rules predictive-codin --out {tmp_path / 'out'}")
    assert result.exit_code == 2
    assert "no rule is called 'predictive-codin'" in flat(result.stderr)
    assert "'predictive-coding'" in result.stderr
    assert "Traceback" not in result.output


def test_a_wrong_file_ends_with_two_and_its_name(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"[bold]?")
    result = run(f"compare --data mnist --data-dir {tmp_path} --out {tmp_path / 'out'}")
    assert result.exit_code == 2
    assert "t10k-images-idx3-ubyte" in result.stderr.replace("\n", "")
    assert "Traceback" not in result.output


def test_an_interrupt_says_how_to_go_on(monkeypatch):
    def interrupt(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr("apical.lab.compare", interrupt)
    result = run("compare --out kept")
    assert result.exit_code == 130
    assert "To resume: apical compare --resume kept" in flat(result.stderr)


def python(script, **environment):
    """Run a script in a separate Python process."""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


@pytest.mark.parametrize(
    ("package", "line"), [("typer", "rules"), ("sklearn", "compare --out nowhere")]
)
def test_a_missing_extra_says_what_to_install(package, line):
    found = python(
        f"import sys; sys.modules[{package!r}] = None; "
        f"sys.argv = ['apical', *{line.split()}]; "
        "from apical.cli import main; main()"
    )
    assert found.returncode in (1, 2)
    assert f"needs the package {package}: install apical[lab]" in found.stderr
    assert "Traceback" not in found.stderr


LISTS = """
import sys
sys.argv = ["apical", *{words}]
from apical.cli import main
try:
    main()
except SystemExit:
    pass
from jax._src import xla_bridge
print("BACKENDS", len(xla_bridge._backends), "MODULES", *sys.modules)
"""
# What draws, computes or reads data: seconds to import, and to list nothing is needed.
SLOW = (
    *("matplotlib", "scipy", "sklearn", "pandas", "equinox", "pooch", "jinja2"),
    *("apical.lab.training._train", "apical.lab.report._report", "apical.claims._run"),
)


@pytest.mark.parametrize("line", ["rules", "claims list", "--help", "--version"])
def test_what_only_lists_imports_nothing_that_is_slow(line):
    found = python(LISTS.format(words=line.split()))
    assert found.returncode == 0, found.stderr
    told, _, rest = found.stdout.rpartition("BACKENDS ")
    number, _, *modules = rest.split()
    assert number == "0"  # no device is set up
    assert not set(SLOW) & set(modules)
    assert len(told) > 10 and "apical.cli" in modules  # the control


def test_the_names_of_the_lab_are_those_that_a_checker_sees():
    tree = ast.parse(Path(lab.__file__).read_text("utf-8"))
    found = {}
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    for node in ast.walk(typed):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.asname == alias.name:
                    found[alias.name] = node.module.removeprefix("apical.lab.")
    assert found == lab._HOMES
    assert set(dir(lab)) >= set(found)
    assert all(getattr(lab, name) is not None for name in found)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lab.nothing


def test_resume_is_alone(tmp_path):
    line = f"compare --resume {tmp_path / 'x'} --epochs 8 --rate 0.1 --force"
    result = run(line)
    assert result.exit_code == 2
    told = flat(result.stderr)
    for name in ("--force", "--epochs", "--learning-rate"):
        assert f" {name}" in told
    assert "change nothing: leave it out" in told and "--seeds" not in told
    assert "holds no comparison" in run(f"compare --resume {tmp_path / 'x'}").stderr


def test_kept_verdicts_are_listed_and_ones_own_beside_them(tmp_path):
    result = run(f"claims list --out {tmp_path}", width=120)
    assert result.exit_code == 0
    for name, kept in claims.kept_claims().items():
        assert name in result.stdout and kept.verdict in flat(result.stdout)
    assert "yours" not in result.stdout
    assert "no claim has been run at the full scale" in flat(result.stdout)
