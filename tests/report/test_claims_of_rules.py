"""Each claim stands with the rules that its records are about."""

import sys
from pathlib import Path

import pytest

from apical.claims import kept_claims
from apical.lab import NOT_COMPARED, RULES
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.storage._jsonl import read
from apical.report._claims_of_rules import RULES_OF_CLAIMS, claims_of

sys.path.append(str(Path(__file__).parents[2] / "tools"))
KEPT = Path(__file__).parents[2] / "results" / "claims" / "full"


def test_every_claim_says_which_rules_it_is_about():
    missing = set(kept_claims()) - set(RULES_OF_CLAIMS)
    assert not missing, "add them to RULES_OF_CLAIMS"
    assert set(RULES_OF_CLAIMS) <= set(kept_claims())


def test_the_rules_exist():
    named = {rule for rules in RULES_OF_CLAIMS.values() for rule in rules}
    assert named <= {*RULES, *NOT_COMPARED} and named


@pytest.mark.parametrize("name", ["fa-matches", "mlp-table", "ff-digits", "bn-rates"])
def test_the_rules_of_the_records_are_those_of_the_claim(name):
    lines = read(KEPT / name / "records.jsonl.gz", missing_ok=False, strict=False)
    ran = {line["rule"] for line in lines} & set(RULES) - {BASELINE, CONTROL}
    assert ran and ran <= set(RULES_OF_CLAIMS[name])


def test_a_rule_has_its_claims_with_their_verdicts():
    found = claims_of("feedback-alignment")
    assert found["fa-sparse"] == kept_claims()["fa-sparse"]
    assert "pc-exact" not in found and claims_of("my_module:MyRule") == {}
