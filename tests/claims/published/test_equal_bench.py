"""One table of every rule: the tasks, the judge, the smallest form."""

import pytest
from support.claim_lines import runs
from support.drawn_claims import assert_drawn

from apical.claims import run_claim
from apical.claims.published import equal_bench as claim
from apical.lab._registry import BASELINE, CONTROL, RULES, SQUARED, THROUGH_TIME


def test_every_rule_without_a_loop_is_in_the_table():
    assert set(RULES) - set(claim.ALL) == {*THROUGH_TIME, SQUARED, "evolution-strategy"}
    assert {BASELINE, CONTROL, *claim.DECIDING} <= set(claim.CHEAP) < set(claim.ALL)
    names = [task.name for task in claim.tasks("full")]
    assert len(set(names)) == len(names) == 3 * len(claim.ALL) + len(claim.CHEAP)


def benched(mnist=-0.003, fully=-0.05, convolutional=-0.05, spread=1.0, seeds=5):
    """Lines in which the two rules are so far from backprop in each table."""
    lines = []
    for table, by in (
        (claim.MNIST, mnist),
        (claim.FASHION, 0.0),
        (claim.FULLY, fully),
        (claim.CONVOLUTIONAL, convolutional),
    ):
        at = {BASELINE: 0.5, CONTROL: 0.3, "pepita": 0.4}
        at |= dict.fromkeys(claim.DECIDING, 0.5 + by)
        said = {"table": table, "data": "mnist", "spread": spread, "seeds": seeds}
        lines += runs(at, **said)
    return lines


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (benched(), "holds"),
        (benched(fully=0.0), "holds within limits"),
        (benched(mnist=-0.05), "does not hold"),
        (benched(convolutional=0.0), "does not hold"),
        (benched(spread=20), "not settled"),
        (benched(seeds=4), "not settled"),
        ([], "not settled"),
    ],
)
def test_the_verdict_follows_from_two_rules_on_easy_and_harder_pictures(lines, word):
    assert claim.judge(lines).word == word


def test_every_rule_that_ran_is_shown_once_in_each_table():
    shown = [finding.effect.what for finding in claim.judge(benched()).findings]
    assert len(shown) == len(set(shown)) == 4 * 4


def test_the_smallest_form_runs_settles_nothing_and_is_drawn(tmp_path):
    outcome = run_claim(claim.CLAIM, "smoke", tmp_path)
    assert {line["rule"] for line in outcome.lines} == {BASELINE, claim.FEEDBACK}
    assert outcome.verdict.word == "not settled"
    assert_drawn(claim.CLAIM, benched())
