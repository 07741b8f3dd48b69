"""The scripts of `examples/losses`, as modules."""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "losses"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")


def example(name):
    """The module of a script, which imports the others as it does when it is run."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)
