"""Write src/apical/claims/kept_verdicts.json: the claims and verdicts in short.

    python tools/kept_verdicts.py

`apical claims list` reads it, and `tests/claims/test_kept_verdicts.py` compares it with
the claims and their records.
"""

import json

from claims_page import outcomes

from apical.claims import CLAIMS, Outcome, in_short
from apical.claims._kept_verdicts import FILE, Kept


def summaries() -> str:
    """The whole file."""
    found = outcomes()
    kept = {name: _short(name, found[name])._asdict() for name in CLAIMS}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def _short(name: str, outcome: Outcome | None) -> Kept:
    claim = CLAIMS[name]
    common = claim.sentence, claim.paper, claim.hours
    if outcome is None:
        return Kept(*common, verdict="not run yet", because="")
    found = outcome.verdict
    return Kept(*common, in_short(found), found.because, found.refused, found.unrefused)


if __name__ == "__main__":
    FILE.write_text(summaries(), "utf-8")
