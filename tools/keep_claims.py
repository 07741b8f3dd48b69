"""Keep claims that were run in full: their records and verdicts, packed, and pictures.

    python tools/keep_claims.py OUT [ID ...]     keep runs
    python tools/keep_claims.py --again [ID ...] judge and draw what is kept once more
    python tools/keep_claims.py --words [ID ...] the same, of rules that judge as before

OUT is the folder that `apical claims run --out OUT` wrote to. What is kept is read by
`apical claims list --out results/claims`; `tools/claims_page.py` and, for the package,
`tools/claims_index.py` show it. Where a rule was corrected since, the earlier rule
stays with what it said of the same records. Where only its words are clearer (--words),
it does not, and what was found must not change.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from apical.claims import CLAIMS, Earlier, Outcome, read_outcome
from apical.claims._run import OUTCOME, PACKED, RECORDS, verdict_as_json
from apical.lab.report._style import our_style, picture

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "results" / "claims"
PICTURES = ROOT / "docs" / "images" / "claims"


def keep(name: str, out: Path) -> bool:
    """Keep one claim; False where it has not been run in full."""
    run = out / "full" / name
    outcome = read_outcome(CLAIMS[name], "full", out)
    if outcome is None:
        return False
    kept = KEPT / "full" / name
    kept.mkdir(parents=True, exist_ok=True)
    # No time in the packed file: the same records are the same bytes.
    packed = gzip.compress((run / RECORDS).read_bytes(), mtime=0)
    (kept / PACKED).write_bytes(packed)
    _write(outcome)
    return True


def judge_again(name: str, words_alone: bool = False) -> bool:
    """Judge and draw one claim from what is kept of it; False where nothing is.

    Args:
        name: of the claim.
        words_alone: its rule judges as before, in other words: these alone are new.
    """
    outcome = read_outcome(CLAIMS[name], "full", KEPT)
    if outcome is None:
        return False
    before = json.loads((KEPT / "full" / name / OUTCOME).read_text("utf-8"))
    if words_alone and _found(before) != _found(verdict_as_json(outcome)):
        raise SystemExit(f"{name}: more than words has changed: --again keeps both")
    corrected = before["rule"] != outcome.claim.rule and not words_alone
    _write(outcome, (_earlier(before),) if corrected else ())
    return True


def _found(told: dict[str, Any]) -> list[Any]:
    fields = ("verdict", "because", "refused", "by the numbers alone", "effects")
    return [told[field] for field in fields]


def _earlier(verdict: dict[str, Any]) -> Earlier:
    return Earlier(
        *(verdict[field] for field in ("claim", "verdict", "because", "rule"))
    )


def _write(outcome: Outcome, earlier: tuple[Earlier, ...] = ()) -> None:
    name = outcome.claim.id
    told = verdict_as_json(outcome)
    told["earlier"] += [each._asdict() for each in earlier]
    text = json.dumps(told, indent=2) + "\n"
    (KEPT / "full" / name / OUTCOME).write_text(text, "utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with our_style():
        drawn = picture(outcome.claim.draw(outcome.lines))
    (PICTURES / f"{name}.svg").write_text(drawn.svg, "utf-8")


def main(where: str, *names: str) -> None:
    """Keep, or judge again, these claims or all."""
    for name in names or CLAIMS:
        if where in ("--again", "--words"):
            done = judge_again(name, words_alone=where == "--words")
        else:
            done = keep(name, Path(where))
        print(f"{name}: {'kept' if done else 'not run in full'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
