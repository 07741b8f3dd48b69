"""The claims in short, with the verdicts of the runs that the repository keeps.

They are read from a file that `tools/claims_index.py` makes of the claims and of the
records in `results/claims`: so an installed package knows them too, and to list them
none of the claims, which draw and judge, need be imported.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

INDEX = Path(__file__).with_name("index.json")


class Kept(NamedTuple):
    """A claim in short.

    Attributes:
        sentence: what has been said.
        paper: the name under which `apical reproduce` runs it, if it has one.
        hours: about how long its full form takes on two cores.
        verdict: of the run that is kept; "not run yet" where there is none.
        because: why.
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
    """The claims by their names.

    Example:
        >>> kept_claims()["pc-exact"].verdict
        'holds'
    """
    found = json.loads(INDEX.read_text("utf-8"))
    return {
        name: Kept(**claim | {"refused": tuple(claim["refused"])})
        for name, claim in found.items()
    }
