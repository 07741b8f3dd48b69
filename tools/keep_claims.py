"""Keep claims that were run in full: their records and verdicts, packed, and pictures.

    python tools/keep_claims.py OUT [ID ...]

OUT is the folder that `apical claims run --out OUT` wrote to. What is kept is read by
`apical claims list --out results/claims`; `tools/claims_page.py` and, for the package,
`tools/claims_index.py` show it.
"""

import gzip
import json
import sys
from pathlib import Path

from apical.lab._report._canvas import our_style, picture
from apical.lab.claims import CLAIMS, read_outcome
from apical.lab.claims._run import OUTCOME, PACKED, RECORDS

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
    PICTURES.mkdir(parents=True, exist_ok=True)
    # No time in the packed file: the same records are the same bytes.
    packed = gzip.compress((run / RECORDS).read_bytes(), mtime=0)
    (kept / PACKED).write_bytes(packed)
    verdict = json.loads((run / OUTCOME).read_text("utf-8"))
    (kept / OUTCOME).write_text(json.dumps(verdict, indent=2) + "\n", "utf-8")
    with our_style():
        drawn = picture(outcome.claim.draw(outcome.lines))
    (PICTURES / f"{name}.svg").write_text(drawn.svg, "utf-8")
    return True


if __name__ == "__main__":
    for one in sys.argv[2:] or CLAIMS:
        print(f"{one}: {'kept' if keep(one, Path(sys.argv[1])) else 'not run in full'}")
