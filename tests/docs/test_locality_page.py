"""The page about locality: its code runs, and its table has every column."""

from dataclasses import fields

from support.docs import names_after, page

from apical.measure import LeafLocality

PAGE = page("locality")


def test_the_code_of_the_page_shows_that_signs_are_transported():
    found = names_after(PAGE)["found"]
    assert [row.transport for row in found.rows] == ["sign", "sign", "sign", "none"]
    assert found.mismatches == ()


def test_every_field_of_a_row_is_explained():
    named = {"name", "shape", "reads_output"}  # said elsewhere
    kept = {f.name.removesuffix("_bytes") for f in fields(LeafLocality)} - named
    assert {name for name in kept if f"`{name}`" not in PAGE} == set()
