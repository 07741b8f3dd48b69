"""`apical report`."""

import pytest
from support.command_line import flat
from support.comparison_lines import whole
from typer.testing import CliRunner

from apical.cli import app
from apical.lab import Comparison
from apical.lab.storage._output_dir import open_folder
from apical.report import kept_results, page, results_of


def run(*words):
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})
    return runner.invoke(app, ["report", *map(str, words)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, found = tmp_path_factory.mktemp("compared"), whole()
    with open_folder(path, found.settings, force=False, resume=False) as store:
        for name in ("records", "layers", "costs"):
            for line in getattr(found, name):
                getattr(store, name).write(line)
    return path


def test_the_page_is_made_from_the_results_that_come_with_apical(tmp_path):
    out = tmp_path / "new" / "page.html"
    result = run("--out", out)
    assert result.exit_code == 0 and "page.html" in result.stdout
    assert out.read_text("utf-8") == page(kept_results())


@pytest.mark.parametrize("model", [None, "cnn"])
def test_the_page_of_a_comparison_has_its_numbers(folder, tmp_path, model):
    out = tmp_path / "page.html"
    asked = [] if model is None else ["--model", model]
    assert run("--out", out, "--results", folder, *asked).exit_code == 0
    found = results_of(Comparison.read(folder), model)
    assert out.read_text("utf-8") == page(found) and (model or "mlp") in found.task


def test_what_cannot_be_is_refused_with_what_to_do(folder, tmp_path):
    cases = {
        ("--model", "mlp"): "give its folder by --results too",
        ("--results", tmp_path / "none"): "was another --out used?",
        ("--results", folder, "--model", "mlpp"): "Did you mean 'mlp'?",
        ("--out", tmp_path): "name another file with --out",
    }
    for words, message in cases.items():
        result = run("--out", tmp_path / "page.html", *words)
        assert result.exit_code == 2 and message in flat(result.stderr), words
    assert not (tmp_path / "page.html").exists()
