"""`find_engine`: an engine by name, as on the command line."""

from typing import Any

from apical.lab._call_syntax import parse_call
from apical.lab._errors import LabError, resolve_names
from apical.lab.engines._engine import Engine
from apical.lab.engines._ray import RayEngine
from apical.lab.engines._slurm import SlurmEngine

ENGINES: dict[str, type[Engine]] = {"ray": RayEngine, "slurm": SlurmEngine}
_EXAMPLE = "ray(address='10.0.0.1:6379', cpus=8)"


def find_engine(wanted: Any, address: str | None = None) -> Engine | None:
    """The engine with this name.

    Args:
        wanted: a name, or a name with arguments in parentheses; an engine; or None.
        address: of a Ray cluster, if it is not among the arguments.

    Returns:
        The engine; None where the comparison runs in this process.

    Raises:
        LabError: for an unknown engine or argument.

    Example:
        >>> find_engine("ray(cpus=8)", "10.0.0.1:6379")
        RayEngine(address='10.0.0.1:6379', cpus=8, gpus=0, retries=3)
    """
    if address is not None and not str(wanted).strip().startswith("ray"):
        raise LabError(f"--address {address} is of a Ray cluster: add --engine ray")
    if wanted is None or isinstance(wanted, Engine):
        return wanted
    if not isinstance(wanted, str):
        raise LabError(
            f"engine is a {type(wanted).__name__}: name it by a string, as "
            f"{_EXAMPLE!r}, or make a `lab.RayEngine` or a `lab.SlurmEngine`"
        )
    name, arguments = parse_call(wanted, "--engine", _EXAMPLE)
    (name,) = resolve_names("engine", [name], ENGINES)
    if address is not None:
        arguments = {"address": address} | arguments
    try:
        return ENGINES[name](**arguments)
    except TypeError as error:
        raise LabError(f"--engine {wanted}: {error}") from error
