"""Summaries of all claims, with the verdicts of the runs that the repository keeps.

They are in `kept_verdicts.json`, which `tools/kept_verdicts.py` writes from the claims
and the records in `results/claims`. An installed package has them too, and listing them
imports none of the claims.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("kept_verdicts.json")


class Kept(NamedTuple):
    """The summary of a claim.

    Attributes:
        sentence: the statement.
        paper: the name under which `apical reproduce` runs it, if it has one.
        hours: about how long its full run takes on two cores.
        verdict: of the kept run; "not run yet" if there is none.
        because: the reason.
        refused: why no verdict is given, where one was refused.
        unrefused: the verdict that the numbers alone would give.
    """

    sentence: str
    paper: str
    hours: float
    verdict: str
    because: str
    refused: tuple[str, ...] = ()
    unrefused: str | None = None


@cache
def kept_claims() -> dict[str, Kept]:
    """The summaries of all claims, by their ids.

    Example:
        >>> kept_claims()["pc-exact"].verdict
        'holds'
    """
    found = json.loads(FILE.read_text("utf-8"))
    return {
        name: Kept(**claim | {"refused": tuple(claim["refused"])})
        for name, claim in found.items()
    }
