"""The command line: `apical compare`, `apical rules`, `apical claims`, ..."""

import sys

try:
    from apical.cli import _claims, _compare
    from apical.cli._app import app as app
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] in ("", "apical"):
        raise
    sys.exit(f"The command line needs the package {missing.name}: install apical[lab]")

__all__ = ["_claims", "_compare", "app", "main"]  # the first two add their commands


def main() -> None:
    """Run the command line."""
    app()
