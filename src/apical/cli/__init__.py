"""The command line: `apical compare`, `apical rules`, `apical claims`, ..."""

import sys

try:
    from apical.cli._app import app as app
    from apical.cli._claims import claims as claims
    from apical.cli._compare import compare as compare
    from apical.cli._report import report as report
    from apical.cli._rules import rules as rules
    from apical.lab._errors import MissingPackage
    from apical.lab.report._terminal import replace_unencodable
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] in ("", "apical"):
        raise
    sys.exit(f"The command line needs the package {missing.name}: install apical[lab]")


def main() -> None:
    """Run the command line; characters that a terminal lacks are replaced."""
    for stream in (sys.stdout, sys.stderr):
        replace_unencodable(stream)
    try:
        app()
    except MissingPackage as error:  # a message, not a traceback
        sys.exit(f"apical: {error}")
