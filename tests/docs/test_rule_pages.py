"""The pages of the rules: complete, and their tables those of the kept results."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import apical
from apical import rules
from apical.claims import kept_claims

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))
tool = importlib.import_module("rule_pages")
pictures = importlib.import_module("rule_page_pictures")

TEXTS = {path.stem: path.read_text("utf-8") for path in tool.PAGES.glob("*.md")}
AGAIN = "run: python tools/rule_pages.py"


def parts(text):
    """The sections of a page by their headings."""
    return dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", text, re.MULTILINE))


def test_every_family_of_the_overview_has_a_page():
    overview = (ROOT / "docs" / "rules.md").read_text("utf-8")
    assert set(re.findall(r"\]\(rules/([\w-]+)\.md\)", overview)) == set(TEXTS)
    assert set(TEXTS) == set(tool.FAMILIES)
    assert len(TEXTS) == len(re.findall(r"^## ", overview, re.MULTILINE))


def test_every_rule_has_a_section():
    kinds = {name: kind for name, kind in vars(rules).items() if isinstance(kind, type)}
    public = {n for n, k in kinds.items() if issubclass(k, rules.Rule)}
    linked = re.findall(r"\[`(\w+)`\]\[apical\.rules\.\w+\]", "".join(TEXTS.values()))
    assert public - {"Rule", "Backpropagation"} == set(linked)


def test_every_named_rule_has_a_column_in_one_table():
    shown = [name for family in tool.FAMILIES for name in pictures.names_of(family)]
    apart = {*pictures.REFERENCES}
    assert sorted(shown) == sorted(set(apical.measure.needs_table()) - apart)


@pytest.mark.parametrize("family", tool.FAMILIES)
def test_the_tables_are_those_of_the_kept_results(family):
    assert TEXTS[family] == tool.page(family), AGAIN


@pytest.mark.parametrize("family", tool.FAMILIES)
def test_every_section_says_what_is_local_and_when_it_works_and_fails(family):
    sections = parts(TEXTS[family])
    assert list(sections) == list(tool.FAMILIES[family])
    for text in sections.values():
        words = ("**Local.**", "**Works.**", "**Fails.**", "```python\n", "\n    ")
        assert all(word in text for word in words)
        code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert sum(block.count("\n") for block in code) <= 14


@pytest.mark.parametrize("family", tool.FAMILIES)
def test_the_picture_shows_every_rule_of_its_page(family):
    drawn = (tool.PICTURES / f"{family}.svg").read_text("utf-8")
    assert {n for n in pictures.names_of(family) if n not in drawn} == set(), AGAIN
    assert f"images/rules/{family}.svg" in TEXTS[family]


def test_strips_are_those_of_the_measured_needs():
    found = pictures.needs_of("sign-concordance")
    assert found.measured["weight transport"] is True
    assert found.measured["global error"] is False
    assert "separate phases" not in found.measured
    assert "separate phases" in found.declared


def test_linked_claims_exist_and_every_other_name_is_refused():
    named = re.findall(r"claims\.md#([\w-]+)", "".join(TEXTS.values()))
    assert set(named) <= set(kept_claims())
    with pytest.raises(KeyError):
        tool.claims(("no-such-claim",))


def test_models_are_counted_from_the_tables_of_their_page():
    text = (ROOT / "docs" / "rules-and-models.md").read_text("utf-8")
    rows = re.findall(r"^\| \w+ \| exact \|", text, re.MULTILINE)
    assert tool.models()["Backpropagation()"].startswith(f"exact {len(rows)},")


def test_every_call_that_names_a_row_of_another_page_is_there():
    settings = [
        setting
        for family in tool.FAMILIES.values()
        for section in family.values()
        for setting in section.settings.values()
    ]
    tried = {each.tried for each in settings if each.tried}
    assert tried - set(tool.models()) == set()
    counted = {each.counted for each in settings if each.counted}
    choice = (ROOT / "docs" / "choose-a-rule.md").read_text("utf-8")
    assert {call for call in counted if f"| `{call}` |" not in choice} == set()
