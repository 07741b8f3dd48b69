"""The page about spiking networks: its code runs, and its tables are complete."""

import re
import types

import pytest
from support.docs import names_after, page

from apical import spiking

PAGE = page("spiking")
NAMES = [
    name
    for name, value in vars(spiking).items()
    if not name.startswith("_") and not isinstance(value, types.ModuleType)
]


def test_the_code_of_the_page_runs_and_every_rule_learns_its_task():
    names = names_after(PAGE)
    assert len(names["accuracy"]) == 3
    assert min(names["accuracy"].values()) > 0.95
    assert names["norms"][0] > names["norms"][-1] > 0


@pytest.mark.parametrize("name", [n for n in NAMES if n != "SpikeFunction"])
def test_every_public_name_is_on_the_page(name):
    code = " ".join(re.findall(r"`([^`]+)`", PAGE)) + PAGE
    assert re.search(rf"\b{name}\b", code)


def test_a_missing_name_would_be_seen():
    assert not re.search(r"\bcoba_lif\b", PAGE)
    assert {"lif", "alif", "poisson", "raster", "surrogate"} <= set(NAMES)
