"""What goes wrong at the keyboard, said so that it can be put right."""

import difflib
import importlib
import os
import sys
import traceback
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


# ---- What a user names as `module:attribute`: a factory of models, a rule.


def find_attribute(name: str, option: str) -> Any:
    """Import `module:attribute`; modules of the current folder are found too.

    Args:
        name: what was named.
        option: the option that named it, for messages.

    Raises:
        LabError: there is no such module or attribute, or the module needs one that is
            not installed.
    """
    module_name, _, path = name.partition(":")
    found = _module(f"{option} {name}", module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise LabError(
                f"{option} {name}: the module {module_name} has no {path}. Write "
                "module:attribute"
            ) from error
    return found


def _module(told: str, name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise LabError(
            f"{told}: {name!r} is not the name of a module; write module:attribute"
        )
    here = os.getcwd()
    if here not in sys.path:  # `python -m` has it there, a command has not
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            raise LabError(
                f"{told}: there is no module {name} in {here} or among the installed "
                "packages"
            ) from error
        raise LabError(
            f"{told}: {name} needs the module {error.name}, which is not installed"
        ) from error
    except Exception as error:
        raise LabError(
            f"{told}: the module {name} cannot be imported: {failure(error)}"
        ) from error


def failure(error: Exception) -> str:
    """What a user's own code raised, and on which line."""
    frames = traceback.extract_tb(error.__traceback__)
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) or not frames:
        return said
    return f"{said} ({frames[-1].filename}:{frames[-1].lineno})"
