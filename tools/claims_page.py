"""Write docs/claims.md and the verdicts of the README, from claims and kept records.

    python tools/claims_page.py

`tests/docs/test_site.py` compares both pages with the files.
"""

from functools import cache

from between_marks import replaced
from keep_claims import KEPT, ROOT

from apical.claims import CLAIMS, Outcome, described, in_short, read_outcome, reported

PAGE = ROOT / "docs" / "claims.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- made by tools/claims_page.py -->", "<!-- end of what it makes -->"
INTRODUCTION = """\
# The claims

What has been said about learning without backpropagation, as experiments:
`apical claims run ID` runs one, `apical reproduce PAPER` those of a paper, and both
print published figures beside measured ones. `--quick` ends within a few minutes and
settles nothing; `--smoke` only shows that it runs.

**Verdicts.** An effect is the paired difference across at least five seeds, with its
95 % interval; *m* is a margin: half a point on MNIST and what is like it, one point on
CIFAR-10 and text, and where a claim has another, it says why. An effect is *equal* if
the interval lies inside ±m, *higher* or *lower* if it lies wholly beyond, and otherwise
*not settled*, whatever the interval says about 0. Where several are compared together,
intervals are wider (Bonferroni). What a claim says of an effect is *as claimed*,
*against the claim* or *not settled*: "at least as high" (what "matches", "as well as"
and "works without" mean) is as claimed if the interval lies above -m, and against the
claim only if it lies wholly below. A claim *holds*, *holds within limits* (over levels
that its file lists beforehand), *does not hold* or is *not settled* by the rule below
alone. It is judged on its own sentence, and "as well as backprop" by backprop in the
same runs: a published figure stands beside it and decides nothing alone, and one that
nobody here has read in its source is said to be from memory.

**Refused.** No verdict is given where, of the runs that decide, the winning trial has
the smallest or the largest value of what was drawn; where backprop and the control were
not tuned like the rules; or where backprop is undertrained: still rising by more than m
over the last fifth of training (between epochs along straight lines). A claim about the
numbers that a source gives for each rule is not refused because nothing was tuned here.
Tables then say
*not settled (refused)*, whatever the numbers alone would give; the claim's part says
that, the reasons, and what the records do not allow to be computed. The trials of a run
are kept with its records; the runs on this page were made before that.

**Corrected rules.** The rule of a claim is committed before its first full record.
Where one was corrected later, the earlier rule and what it said of the same records
stand in the claim's part of this page; in those words, higher and lower mean that the
interval does not contain 0. Where only the words of a rule were made clearer, and it
judges as before, the earlier words are not shown.

**Signs.** The energy is E = ½ Σ |e_n|² with e_n = value - prediction, and everything
descends it: dv_n/dt = - e_n + Σ_m (dp_m/dv_n)ᵀ e_m, and the weights move along
+ (dp_n/dθ)ᵀ e_n. Readers of Millidge, Tschantz & Buckley (2020) have found equation 2
and algorithm 1 printed with the opposite signs.
"""


def page() -> str:
    """The whole page: what is run, and for what has been run in full what came out."""
    found = outcomes()
    parts = [
        described(CLAIMS[name]) if outcome is None else _reported(outcome)
        for name, outcome in found.items()
    ]
    return "\n".join([INTRODUCTION, *_verdicts(found, ""), *parts])


def readme() -> str:
    """The README with the table of verdicts between its two marks."""
    table = "\n".join(_verdicts(outcomes(), "docs/claims.md")).removesuffix("\n")
    return replaced(README.read_text("utf-8"), BEGIN, table, END)


@cache
def outcomes() -> dict[str, Outcome | None]:
    """What came out of each claim that has been run in full."""
    return {name: read_outcome(CLAIMS[name], "full", KEPT) for name in CLAIMS}


def _verdicts(found: dict[str, Outcome | None], to: str) -> list[str]:
    rows = [
        f"| [{name}]({to}#{name}) | {CLAIMS[name].sentence} | "
        f"{'not run yet' if outcome is None else _bold(outcome)} |"
        for name, outcome in found.items()
    ]
    return ["| claim | what has been said | verdict |", "|---|---|---|", *rows, ""]


def _bold(outcome: Outcome) -> str:
    word, *refused = in_short(outcome.verdict).partition(" (")
    return f"**{word}**{''.join(refused)}"


def _reported(outcome: Outcome) -> str:
    picture = f"images/claims/{outcome.claim.id}.svg"
    return reported(outcome, picture, work_first=False)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    README.write_text(readme(), "utf-8")
