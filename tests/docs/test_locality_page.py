"""The page about locality: its code runs, and its table has every column."""

import importlib
import sys
from dataclasses import fields
from pathlib import Path

from support.docs import names_after, page

from apical.measure import LeafLocality

sys.path.append(str(Path(__file__).parents[2] / "tools"))
locality_table = importlib.import_module("locality_table")

PAGE = page("locality")


def test_the_code_of_the_page_shows_that_signs_are_transported():
    names = names_after(PAGE)
    found, longer = names["found"], names["longer"]
    assert [row.transport for row in found.rows] == ["sign", "sign", "sign", "none"]
    assert found.mismatches == ()
    assert longer.measured["stored activities"]


def test_every_field_of_a_row_is_explained():
    named = {"name", "shape", "reads_output"}  # said elsewhere
    kept = {f.name.removesuffix("_bytes") for f in fields(LeafLocality)} - named
    assert {name for name in kept if f"`{name}`" not in PAGE} == set()


def test_the_table_of_rules_is_the_kept_one():
    """If not: `python tools/locality_table.py`."""
    assert locality_table.with_table(PAGE) == PAGE
