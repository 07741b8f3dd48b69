"""Write docs/claims.md from the claims and the kept records.

    python tools/claims_page.py

`tests/docs/test_site.py` compares the page with the file.
"""

from functools import cache

from keep_claims import KEPT, ROOT

from apical.claims import CLAIMS, Outcome, described, in_short, read_outcome, reported

PAGE = ROOT / "docs" / "claims.md"
INTRODUCTION = """\
# The claims

Published statements about learning without backpropagation, as experiments that end in
a verdict. `apical claims run ID` runs one, `apical reproduce PAPER` those of a paper;
both print the published figures next to the measured ones. `--quick` takes a few
minutes and settles nothing; `--smoke` only shows that the code runs. The records of the
runs below are in `results/claims`.
"""
METHOD = """\
## How a verdict is reached

**Effects.** An effect is the paired difference across at least five seeds, with its
95 % interval. A difference within the margin *m* counts as none: half a point on
MNIST and similar data, one point on CIFAR-10 and text; a claim with another margin
gives the reason. An effect is *equal* if the interval lies inside ±m, *higher* or
*lower* if it lies wholly beyond, and otherwise *not settled*, whether or not the
interval contains 0. Where several effects are compared together, intervals are wider
(Bonferroni).

**Verdicts.** What a claim says of an effect is *as claimed*, *against the claim* or
*not settled*. "At least as high" (for "matches", "as well as" and "works without") is
as claimed if the interval lies above -m, and against the claim only if it lies wholly
below. A claim *holds*, *holds within limits* (for levels that its file lists
beforehand), *does not hold* or is *not settled*, by its rule alone. The rule judges the
sentence of the claim; "as well as backprop" refers to backprop in the same runs. A
published figure is shown next to the measured one and decides nothing; one that was not
read in its source is marked "from memory".

**Refused verdicts.** No verdict is given if, in a run that decides, the winning trial
has the smallest or the largest value that was drawn; if backprop and the control were
not tuned like the rules; or if backprop is undertrained: its accuracy still rises by
more than m over the last fifth of training (interpolated linearly between epochs). A
claim about the numbers that a source gives for each rule is not refused because nothing
was tuned here. Tables then show *not settled (refused)*; the section of the claim has
the reasons, the verdict by the numbers alone, and what cannot be computed from the
records. Today the trials of a run are kept with its records; the runs on this page are
older, and theirs were not kept.

**Corrected rules.** The rule of a claim is committed before its first full record.
Where a rule was corrected later, the section of the claim shows the earlier rule and
its verdict on the same records; in an earlier rule, *higher* and *lower* mean that the
interval does not contain 0. An earlier wording that judges in the same way is not
shown.

**Signs.** The energy is E = ½ Σ |e_n|² with e_n = value - prediction, and values and
weights descend it: dv_n/dt = - e_n + Σ_m (dp_m/dv_n)ᵀ e_m, and the weights move along +
(dp_n/dθ)ᵀ e_n. Readers of Millidge, Tschantz & Buckley (2020) have found equation 2
and algorithm 1 printed with the opposite signs.
"""


def page() -> str:
    """The whole page: a table of all verdicts, how they are reached, and each claim."""
    found = outcomes()
    parts = [
        described(CLAIMS[name]) if outcome is None else _reported(outcome)
        for name, outcome in found.items()
    ]
    return "\n".join([INTRODUCTION, *_verdicts(found), METHOD, *parts])


@cache
def outcomes() -> dict[str, Outcome | None]:
    """The outcome of each claim; None for one that was not run in full."""
    return {name: read_outcome(CLAIMS[name], "full", KEPT) for name in CLAIMS}


def _verdicts(found: dict[str, Outcome | None]) -> list[str]:
    rows = [
        f"| [{name}](#{name}) | {CLAIMS[name].sentence} | "
        f"{'not run yet' if outcome is None else _bold(outcome)} |"
        for name, outcome in found.items()
    ]
    return ["| claim | statement | verdict |", "|---|---|---|", *rows, ""]


def _bold(outcome: Outcome) -> str:
    word, *refused = in_short(outcome.verdict).partition(" (")
    return f"**{word}**{''.join(refused)}"


def _reported(outcome: Outcome) -> str:
    picture = f"images/claims/{outcome.claim.id}.svg"
    return reported(outcome, picture, work_first=False)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
