"""Copy full runs of claims to `results/claims`: packed records, verdicts, pictures.

    python tools/keep_claims.py OUT [ID ...]       copy runs
    python tools/keep_claims.py --again [ID ...]   judge and draw the kept records again
    python tools/keep_claims.py --words [ID ...]   the same, after a change of words

OUT is the folder that `apical claims run --out OUT` wrote to. Then run
`tools/claims_page.py` and `tools/kept_verdicts.py`, which show the kept runs in the
documentation and in the package. With `--again` an earlier rule that was corrected
stays in the verdict, with its verdict on the same records. With `--words` it does not,
and findings must not change.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from apical.claims import CLAIMS, Earlier, Outcome, read_outcome
from apical.claims._run import OUTCOME, PACKED, RECORDS, verdict_as_json
from apical.lab.report.figures._style import figure_style, render

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "results" / "claims"
PICTURES = ROOT / "docs" / "images" / "claims"


def keep(name: str, out: Path) -> bool:
    """Copy one claim; False if it was not run in full."""
    run = out / "full" / name
    outcome = read_outcome(CLAIMS[name], "full", out)
    if outcome is None:
        return False
    kept = KEPT / "full" / name
    kept.mkdir(parents=True, exist_ok=True)
    # Without a time stamp, so that the same records are the same bytes.
    packed = gzip.compress((run / RECORDS).read_bytes(), mtime=0)
    (kept / PACKED).write_bytes(packed)
    _write(outcome)
    return True


def judge_again(name: str, words_alone: bool = False) -> bool:
    """Judge and draw one claim from its kept records; False if there are none.

    Args:
        name: of the claim.
        words_alone: whether only the words of its rule changed.
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
    with figure_style():
        drawn = render(outcome.claim.draw(outcome.lines))
    (PICTURES / f"{name}.svg").write_text(drawn.svg, "utf-8")


def main(where: str, *names: str) -> None:
    """Copy, or judge again, these claims or all."""
    for name in names or CLAIMS:
        if where in ("--again", "--words"):
            done = judge_again(name, words_alone=where == "--words")
        else:
            done = keep(name, Path(where))
        print(f"{name}: {'kept' if done else 'not run in full'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
