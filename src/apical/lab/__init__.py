"""The lab: what `apical compare` runs, to be called from Python too.

Its names are imported when they are first used: to list the rules no figure need be
drawn, and nothing that draws need be imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

from apical.lab._errors import MissingPackage as MissingPackage

if TYPE_CHECKING:
    from apical.lab._compare import compare as compare
    from apical.lab._compare import resume as resume
    from apical.lab._comparison import Comparison as Comparison
    from apical.lab._errors import LabError as LabError
    from apical.lab._errors import known as known
    from apical.lab._registry import COMPARED as COMPARED
    from apical.lab._registry import NOT_COMPARED as NOT_COMPARED
    from apical.lab._registry import RULES as RULES
    from apical.lab.data._load import Data as Data
    from apical.lab.data._load import load as load
    from apical.lab.run._callbacks import Moment as Moment
    from apical.lab.storage._output_dir import free_folder as free_folder

_HOMES = {
    **dict.fromkeys(("NOT_COMPARED", "COMPARED", "RULES"), "_registry"),
    **dict.fromkeys(("compare", "resume"), "_compare"),
    "Comparison": "_comparison",
    "Data": "data._dataset",
    "free_folder": "storage._output_dir",
    **dict.fromkeys(("LabError", "known"), "_errors"),
    "load": "data._load",
    "Moment": "run._callbacks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package in ("", "apical"):
            raise
        raise MissingPackage(
            f"apical.lab needs the package {package}: install apical[lab]"
        ) from missing
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
