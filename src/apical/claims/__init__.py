"""Published claims as experiments that end in a verdict.

Each claim is one file with a `CLAIM`: its sentence, its source, its experiment, and
the rule that turns the numbers into a verdict. Names are imported when they are first
used, so that listing the verdicts imports no claim.
"""

from typing import TYPE_CHECKING, Any

from apical.lab._lazy import attribute

if TYPE_CHECKING:
    from apical.claims._claim import Claim as Claim
    from apical.claims._claim import Earlier as Earlier
    from apical.claims._claim import Outcome as Outcome
    from apical.claims._claim import Published as Published
    from apical.claims._effect_size import Effect as Effect
    from apical.claims._effect_size import paired_difference as paired_difference
    from apical.claims._kept_verdicts import Kept as Kept
    from apical.claims._kept_verdicts import kept_claims as kept_claims
    from apical.claims._registry import CLAIMS as CLAIMS
    from apical.claims._report import described as described
    from apical.claims._report import in_short as in_short
    from apical.claims._report import refusal as refusal
    from apical.claims._report import reported as reported
    from apical.claims._report import write_report as write_report
    from apical.claims._run import read_outcome as read_outcome
    from apical.claims._run import run_claim as run_claim
    from apical.claims._verdict import Finding as Finding
    from apical.claims._verdict import Verdict as Verdict
    from apical.claims._verdict import decide as decide

_HOMES = {
    **dict.fromkeys(("Claim", "Earlier", "Outcome", "Published"), "_claim"),
    **dict.fromkeys(("Kept", "kept_claims"), "_kept_verdicts"),
    "CLAIMS": "_registry",
    **dict.fromkeys(("described", "in_short", "refusal"), "_report"),
    **dict.fromkeys(("reported", "write_report"), "_report"),
    **dict.fromkeys(("read_outcome", "run_claim"), "_run"),
    **dict.fromkeys(("Effect", "paired_difference"), "_effect_size"),
    **dict.fromkeys(("Finding", "Verdict", "decide"), "_verdict"),
}


def __getattr__(name: str) -> Any:
    return attribute(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
