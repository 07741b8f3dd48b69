"""The command line: what it prints, and how it ends."""

import os
import subprocess
import sys

import pytest
from lab_files import tiny, write_mnist
from typer.testing import CliRunner

import apical
from apical.cli import app
from apical.lab import APART, COMPARED, RULES, _plan

SMALL = "--model mlp --rules backpropagation --epochs 1 --seeds 2 --batch-size 8"


def run(*words, width=100):
    runner = CliRunner(env={"COLUMNS": str(width), "NO_COLOR": "1"})
    return runner.invoke(app, [word for part in words for word in part.split()])


def flat(text):
    return " ".join(text.split())


def test_the_version_is_printed():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"apical {apical.__version__}\n")


def test_the_rules_are_listed_with_source_and_needs():
    result = run("rules", width=160)
    assert result.exit_code == 0
    for name in (*RULES, *APART):
        assert f"{name} " in result.stdout
    assert "score-function: for networks with stochastic nodes" in flat(result.stdout)
    assert "lillicrap2016random" in result.stdout
    assert "weight transport · separate phases" in flat(result.stdout)


def test_a_comparison_prints_its_table_and_where_the_rest_is(tmp_path, monkeypatch):
    monkeypatch.setattr(_plan, "load", lambda *args: tiny())
    result = run(f"compare {SMALL} --out {tmp_path / 'out'}")
    assert result.exit_code == 0, result.output
    assert "accuracy %" in result.stdout and "no tuning" in flat(result.stdout)
    assert "The page:" in result.stdout
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
        "--out o --force",
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
        "out": "o",
        "force": "True",
    }


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
    assert "To go on: apical compare --resume kept" in flat(result.stderr)


@pytest.mark.parametrize("package", ["typer", "sklearn"])
def test_a_missing_extra_says_what_to_install(package):
    script = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['apical', 'rules']"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"{script}; from apical.cli import main; main()"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )
    assert found.returncode in (1, 2)
    assert f"needs the package {package}: install apical[lab]" in found.stderr
    assert "Traceback" not in found.stderr
