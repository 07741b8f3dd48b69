"""The lab: what `apical compare` runs, to be called from Python too."""

try:
    from apical.lab._apart import APART as APART
    from apical.lab._compare import compare as compare
    from apical.lab._compare import resume as resume
    from apical.lab._data import Data as Data
    from apical.lab._data import load as load
    from apical.lab._errors import LabError as LabError
    from apical.lab._errors import known as known
    from apical.lab._folder import free_folder as free_folder
    from apical.lab._moment import Moment as Moment
    from apical.lab._outcome import Comparison as Comparison
    from apical.lab._registry import COMPARED as COMPARED
    from apical.lab._registry import RULES as RULES
except ModuleNotFoundError as missing:
    package = (missing.name or "").partition(".")[0]
    if package in ("", "apical"):
        raise
    raise ImportError(
        f"apical.lab needs the package {package}: install apical[lab]"
    ) from missing
