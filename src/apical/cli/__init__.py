"""The command line: `apical compare`, `apical rules`, `apical claims`, ..."""

import sys

try:
    from apical.cli import _claims, _compare
    from apical.cli._app import app as app
    from apical.lab._errors import MissingPackage
    from apical.lab.report._terminal import tolerate
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] in ("", "apical"):
        raise
    sys.exit(f"The command line needs the package {missing.name}: install apical[lab]")

__all__ = ["_claims", "_compare", "app", "main"]  # the first two add their commands


def main() -> None:
    """Run the command line; what a terminal cannot show does not stop it."""
    for stream in (sys.stdout, sys.stderr):
        tolerate(stream)
    try:
        app()
    except MissingPackage as error:  # a message, not a trace
        sys.exit(f"apical: {error}")
