"""The lines of a file, run by run."""

from apical.lab._journal import Line
from apical.lab._summary import Records

Runs = dict[tuple[str, str], list[Line]]


def by_run(records: Records) -> Runs:
    """The lines of each model and rule, in the order in which they were written."""
    runs: Runs = {}
    for record in records:
        runs.setdefault((record["model"], record["rule"]), []).append(record)
    return runs
