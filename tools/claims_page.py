"""Write docs/claims.md: every claim, from the file that runs it.

    python tools/claims_page.py

`tests/test_docs.py` compares the page with the files.
"""

from pathlib import Path

from apical.lab.claims import CLAIMS, described

PAGE = Path(__file__).parents[1] / "docs" / "claims.md"
INTRODUCTION = """\
# The claims

What has been said about learning without backpropagation, as experiments:
`apical claims run ID` runs one, `apical reproduce PAPER` those of a paper, and both
print published figures beside measured ones. `--quick` ends within a few minutes and
settles nothing; `--smoke` only shows that it runs.

**Verdicts.** An effect is the paired difference across at least five seeds, with its
95 % interval. It is *equal* if the interval lies inside ± a margin, *better* or
*worse* if it does not contain 0, and otherwise *not settled*. A claim *holds*, *holds
within limits* (over levels that its file lists beforehand) or *does not hold* by the
rule below alone.

**Signs.** The energy is E = ½ Σ |e_n|² with e_n = value - prediction, and everything
descends it: dv_n/dt = - e_n + Σ_m (dp_m/dv_n)ᵀ e_m, and the weights move along
+ (dp_n/dθ)ᵀ e_n. Readers of Millidge, Tschantz & Buckley (2020) have found equation 2
and algorithm 1 printed with the opposite signs.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(described(claim) for claim in CLAIMS.values())])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
