"""Errors of the lab, and how names given by the user are resolved."""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any


class LabError(ValueError):
    """An invalid name, file or setting. The command line prints it and exits with 2."""


class MissingPackage(ImportError):
    """A package that the lab needs is not installed. The command line prints it."""


class TaskError(RuntimeError):
    """A rule failed in a process of an engine. The command line prints it."""


def require_package(module: str, extra: str, user: str) -> Any:
    """Import a package that comes with an extra.

    Args:
        module: the package, or a module of it.
        extra: the extra of apical.
        user: what needs it, for the message.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LabError(
            f"{user} needs {module.partition('.')[0]}, which comes with an extra: pip "
            f"install 'apical[{extra}]'"
        ) from error


def resolve_names(
    kind: str, names: Iterable[str], there_are: Iterable[str]
) -> list[str]:
    """The names, each once; an unknown one is an error that lists the nearest."""
    there_are = list(there_are)
    wanted = list(dict.fromkeys(_spelled(name.strip(), there_are) for name in names))
    if not wanted:
        raise LabError(f"name at least one {kind} of: {', '.join(there_are)}")
    for name in wanted:
        if name not in there_are:
            raise _unknown(kind, name, there_are)
    return wanted


def require_names(argument: str, given: Any, what: str) -> None:
    """Refuse objects where names are expected."""
    wrong = [given] if not isinstance(given, Iterable) else given
    for name in wrong:
        if not isinstance(name, str):
            raise LabError(
                f"{argument}: {name!r} is not a name. To give a {what} as an object, "
                f"name it: {argument}={{'mine': {what}}}"
            )


def _spelled(name: str, there_are: list[str]) -> str:
    """The known spelling: `feedback_alignment` for `feedback-alignment`."""
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


# ---- Factories and rules named as `module:attribute`


def find_attribute(name: str, option: str) -> Any:
    """Import `module:attribute`; modules in the current folder are found too.

    Args:
        name: `module:attribute`.
        option: the option that it is the value of, for messages.

    Raises:
        LabError: if there is no such module or attribute, or the module needs one that
            is not installed.
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


def _module(where: str, name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise LabError(
            f"{where}: {name!r} is not the name of a module; write module:attribute"
        )
    here = os.getcwd()
    if here not in sys.path:  # `python -m` has it there, a command has not
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            raise LabError(
                f"{where}: there is no module {name} in {here} or among the installed "
                "packages"
            ) from error
        raise LabError(
            f"{where}: {name} needs the module {error.name}, which is not installed"
        ) from error
    except Exception as error:
        raise LabError(
            f"{where}: the module {name} cannot be imported: {failure(error)}"
        ) from error


def failure(error: Exception) -> str:
    """The exception of a user's code, with its file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) or not frames:
        return message
    return f"{message} ({frames[-1].filename}:{frames[-1].lineno})"
