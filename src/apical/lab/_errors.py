"""What goes wrong at the keyboard, said so that it can be put right."""

import difflib
from collections.abc import Iterable
from typing import Any


class LabError(ValueError):
    """A wrong name, file or setting. The command line prints it and exits with 2."""


class MissingPackage(ImportError):
    """A package that the lab needs is not installed. The command line prints it."""


def known(kind: str, names: Iterable[str], there_are: Iterable[str]) -> list[str]:
    """The names, each once; one that is not there is an error with the nearest."""
    there_are = list(there_are)
    wanted = list(dict.fromkeys(_spelled(name.strip(), there_are) for name in names))
    if not wanted:
        raise LabError(f"name at least one {kind} of: {', '.join(there_are)}")
    for name in wanted:
        if name not in there_are:
            raise _unknown(kind, name, there_are)
    return wanted


def require_names(argument: str, given: Any, what: str) -> None:
    """Refuse objects where names are wanted: those come with a name of their own."""
    wrong = [given] if not isinstance(given, Iterable) else given
    for name in wrong:
        if not isinstance(name, str):
            raise LabError(
                f"{argument}: {name!r} is not a name. To give a {what} as an object, "
                f"name it: {argument}={{'mine': {what}}}"
            )


def _spelled(name: str, there_are: list[str]) -> str:
    """The name as it is here; `feedback_alignment` will do for `feedback-alignment`."""
    dashed = name.replace("_", "-")
    return dashed if name not in there_are and dashed in there_are else name


def _unknown(kind: str, name: str, there_are: list[str]) -> LabError:
    near = difflib.get_close_matches(name, there_are, n=3, cutoff=0.4)
    if near:
        return LabError(f"no {kind} is called {name!r}. Did you mean {_either(near)}?")
    return LabError(f"no {kind} is called {name!r}. There are: {', '.join(there_are)}.")


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)
