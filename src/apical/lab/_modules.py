"""What a user names as `module:attribute`: a factory of models, a rule."""

import importlib
import os
import sys
import traceback
from typing import Any

from apical.lab._errors import LabError


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
