"""The page of rules names every rule and every part of predictive coding."""

import re
from pathlib import Path

import pytest

from apical import rules
from apical.rules import Rule

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rules.md").read_text("utf-8")
CLASSES = {n: k for n, k in vars(rules).items() if isinstance(k, type) and k != Rule}


def names_in(text: str) -> set[str]:
    """The capitalised names in code spans of a text."""
    spans = re.findall(r"`([^`]+)`", text)
    return {name for span in spans for name in re.findall(r"\b[A-Z]\w+", span)}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_public_class_of_the_rules_is_on_the_page(name):
    assert name in names_in(PAGE)


def test_the_page_names_nothing_that_does_not_exist():
    assert names_in(PAGE) - set(CLASSES) <= {"ValueError", "NAME", "None"}


def test_a_missing_rule_would_be_seen():
    assert "FeedbackAlignment" not in names_in(PAGE.replace("`FeedbackAlignment`", ""))


def test_the_readme_has_a_line_for_each_family_of_the_page():
    families = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    readme = (ROOT / "README.md").read_text("utf-8")
    listed = re.findall(r"^\* \[(.*)\]\(docs/rules\.md#.*\):", readme, re.MULTILINE)
    assert listed == families
    assert len(listed) == 10  # "ten families"
