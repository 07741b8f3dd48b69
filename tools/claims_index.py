"""Write src/apical/claims/index.json: summaries of the claims and their verdicts.

    python tools/claims_index.py

`apical claims list` reads it, and `tests/claims/test_kept_verdicts.py` compares it with
the claims and their records.
"""

import json

from claims_page import outcomes

from apical.claims import CLAIMS, Outcome, in_short
from apical.claims._index import INDEX, Kept


def index() -> str:
    """The whole file."""
    found = outcomes()
    kept = {name: _short(name, found[name])._asdict() for name in CLAIMS}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def _short(name: str, outcome: Outcome | None) -> Kept:
    claim = CLAIMS[name]
    told = claim.sentence, claim.paper, claim.hours
    if outcome is None:
        return Kept(*told, verdict="not run yet", because="")
    found = outcome.verdict
    return Kept(*told, in_short(found), found.because, found.refused, found.unrefused)


if __name__ == "__main__":
    INDEX.write_text(index(), "utf-8")
