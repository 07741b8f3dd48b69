"""The site builds without warnings, and generated pages are up to date."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from inspect import ismodule
from pathlib import Path

import pytest

import apical.claims
import apical.interop.nir
import apical.lab
import apical.report
import apical.rules.tools
import apical.testing
from apical.lab import _registry, _rule_spec
from apical.lab.report import _summary

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
rule_requirements = importlib.import_module("rule_requirements")
claims_page = importlib.import_module("claims_page")
every_rule = importlib.import_module("every_rule")
tables = importlib.import_module("every_rule_tables")

PAGES = sorted((ROOT / "docs").rglob("*.md"))
CHOICE = rule_requirements.PAGE.read_text("utf-8")
MODULES = [
    *(apical, apical.rules, apical.rules.tools, apical.measure, apical.optim),
    *(apical.spiking, apical.testing, apical.lab, apical.claims),
    *(apical.report, apical.interop.nir),
]


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --------------------------------------------------------------------------- the site


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy of the pages, as `make docs` does."""
    for name in ("docs", "tools"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    if not (folder / "src").exists():
        (folder / "src").symlink_to(ROOT / "src")
        shutil.copy(ROOT / "mkdocs.yml", folder)
    return again(folder)


def again(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    # What griffe finds wrong with a docstring it only says.
    assert "griffe" not in done.stdout + done.stderr
    return folder / "build" / "site"


@pytest.mark.parametrize(
    "line",
    ["[gone](gone.md)", "[gone](terms.md#gone)", "[gone][apical.gone]", "::: apical.x"],
)
def test_what_leads_nowhere_fails_the_build(line, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "terms.md").write_text("# Terms\n", "utf-8")
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    whole = re.sub(r"nav:\n(?:  .*\n)+", "", settings)
    (tmp_path / "mkdocs.yml").write_text(whole, "utf-8")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "src").symlink_to(ROOT / "src")
    page = tmp_path / "docs" / "index.md"
    page.write_text("# One\n\n[terms](terms.md)\n", "utf-8")
    assert again(tmp_path).returncode == 0
    page.write_text(f"# One\n\n{line}\n", "utf-8")
    assert again(tmp_path).returncode != 0


def public_names(module) -> set[str]:
    """The names of apical's own that a module holds out."""
    return {
        f"{module.__name__}.{name}"
        # Not `vars`: some are only there when they are asked for.
        for name, value in ((name, getattr(module, name)) for name in dir(module))
        if not name.startswith("_")
        and not ismodule(value)
        and (getattr(value, "__module__", "").startswith("apical.") or name.isupper())
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module, site):
    entries = {
        entry
        for page in site.glob("api/*.html")
        for entry in re.findall(r'id="(apical[\w.]+)"', page.read_text("utf-8"))
    }
    names = public_names(module)
    assert names
    assert names - entries == set()


def test_the_public_names_are_those_of_the_package():
    names = set().union(*map(public_names, MODULES))
    assert {
        *("apical.trace", "apical.rules.Rule", "apical.rules.tools.fold_in_name"),
        *("apical.measure.cost", "apical.optim.batch_manhattan"),
        *("apical.testing.LAWS", "apical.lab.compare"),
    } <= names
    assert not {"apical.optim.Any", "apical.optim.jax"} & names


def test_examples_and_equations_are_shown_as_code(site):
    page = (site / "api" / "rules.html").read_text("utf-8")
    assert "Examples:" in page
    assert "<blockquote>" not in page  # what `>>>` is without a section of examples
    code = re.sub("<[^>]*>", "", page)
    assert "B &lt;- (1 - decay) B" in code


def test_no_page_asks_another_machine_for_anything(site):
    pages = [*site.glob("*.html"), *site.glob("*/*.html")]
    assert len(pages) > 10
    # A link asks nothing until it is followed.
    asked = re.compile(r'<(?!a\b)[^>]*\b(?:src|href)="https?:[^"]*"')
    assert asked.findall('<a href="https://x"><img src="https://x">')
    for page in pages:
        assert asked.findall(page.read_text("utf-8")) == []


# -------------------------------------------------------------------------- the pages


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=by_path)
def test_pictures_are_there(page):
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text("utf-8")):
        assert (page.parent / picture).is_file()


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_a_page_is_in_the_menu(page):
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert f": {page.relative_to(ROOT / 'docs')}\n" in menu


def test_the_pictures_of_the_start_page_are_found():
    assert "![" in (ROOT / "docs" / "index.md").read_text("utf-8")


# ------------------------------------------------------------- what each rule needs


RULES = rule_requirements.rules_and_variants()


@pytest.mark.grid(keep=4)
@pytest.mark.parametrize("name", RULES)
def test_the_page_says_what_a_rule_needs_and_costs(name):
    """If not: `python tools/rule_requirements.py`."""
    assert rule_requirements.row(name, RULES[name]) in CHOICE


def test_the_page_has_a_row_for_each_rule_and_no_other():
    shown = re.findall(r"^\| `(\w+\(.*\))` \|", CHOICE, re.MULTILINE)
    assert shown == list(RULES)
    assert len(shown) > 5


def test_the_words_for_needs_are_those_of_the_glossary():
    glossary = (ROOT / "docs" / "terms.md").read_text("utf-8")
    assert all(f"| {need} |" in glossary for need in rule_requirements.NEEDS)


def test_a_need_that_is_not_among_the_words_is_refused():
    class Odd(apical.rules.Rule):
        needs = ("a miracle",)

    with pytest.raises(ValueError, match="a miracle"):
        rule_requirements.row("Odd()", Odd())


@pytest.mark.parametrize("form", [r"[\d.]+ ± [\d.]+", r"0\.\d+ → [\d.]+\d"])
def test_measured_figures_are_those_of_the_comparison_of_all_rules(form):
    compared = every_rule.PAGE.read_text("utf-8")
    figures = re.findall(form, CHOICE)
    assert figures
    assert [figure for figure in figures if figure not in compared] == []


def test_the_page_of_claims_is_that_of_their_files():
    assert claims_page.PAGE.read_text("utf-8") == claims_page.page(), (
        "run: python tools/claims_page.py"
    )


# ------------------------------------------------------------ the tables of every rule


def test_the_tables_of_every_rule_are_those_of_the_kept_comparison():
    assert every_rule.PAGE.read_text("utf-8") == every_rule.page(), (
        "run: python tools/every_rule.py"
    )
    every = json.loads(every_rule.KEPT.read_text("utf-8"))
    rows = set(_registry.RULES) - set(_registry.THROUGH_TIME)
    assert set(every[tables.TUNED]) == rows
    assert set(every) == {tables.TUNED, *tables.LONGER, *tables.NOT_TUNED}
    assert all(set(every[n]) == set(_registry.COMPARED) for n in tables.NOT_TUNED)


def test_the_six_rules_of_the_readme_are_those_of_the_kept_comparison():
    assert every_rule.README.read_text("utf-8") == every_rule.readme(), (
        "run: python tools/every_rule.py"
    )
    shown = re.findall(r"^\| `([\w-]+)` \| ", every_rule.readme(), re.MULTILINE)
    assert set(tables.SIX) <= set(shown)


def test_a_rule_that_is_not_shown_to_be_above_the_control_has_the_reason():
    lines = json.loads(every_rule.KEPT.read_text("utf-8"))[tables.TUNED]
    failing = set(tables.failing(lines))
    assert set(tables.REASONS) <= failing
    assert not {*_summary.BASELINES, _registry.CONTROL} & failing
    # Of the others nothing is known but that the interval is wide.
    rest = failing - set(tables.REASONS)
    assert all(lines[rule]["above the control"][0] > 0 for rule in rest)


def test_every_accuracy_of_the_tables_stands_beside_backpropagation_of_its_loss():
    every = json.loads(every_rule.KEPT.read_text("utf-8"))
    for name, lines in every.items():
        rows = (_registry.RULES[rule].make() for rule in lines)
        losses = {_rule_spec.descended(row, "cross-entropy") for row in rows}
        baselines = {lines[r]["descends"] for r in _summary.BASELINES if r in lines}
        assert losses <= baselines, name


@pytest.mark.parametrize(
    ("apart", "above"),
    [
        ([2.0, 1.9], True),
        ([2.0, 2.1], False),
        ([None, None], False),
        ([2.0, None], False),
    ],
)
def test_what_is_above_the_control_has_its_interval_above_0(apart, above):
    assert tables.above({"above the control": apart}, {}) is above


def test_a_line_made_earlier_is_compared_with_the_control_but_not_by_seed():
    control = {"accuracy": [94.0, 0.6]}
    for accuracy, above in (
        ([94.9, 0.7], False),
        ([95.0, 0.7], True),
        ([None] * 2, False),
    ):
        line = {"accuracy": accuracy, "earlier": True}
        assert tables.above(line, control) is above
