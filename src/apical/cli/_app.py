"""The command line itself, and how it stops."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from apical import __version__
from apical.lab.report._terminal import tell

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Learning rules side by side, on the same model, data and start.",
)


@app.callback(invoke_without_command=True)
def _apical(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.")
    ] = False,
) -> None:
    if show_version:
        typer.echo(f"apical {__version__}")
        raise typer.Exit


def lab() -> ModuleType:
    """The lab, which imports what is asked of it: so help comes at once."""
    from apical import lab

    return lab


@contextmanager
def stops(interrupted: str) -> Iterator[None]:
    """Errors of the lab and an interrupt as messages.

    Args:
        interrupted: what to say after an interrupt: how to go on.
    """
    try:
        yield
    except lab().LabError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop(f"interrupted. {interrupted}", code=130)


def stop(message: str, code: int = 2) -> NoReturn:
    """Say why, and end."""
    tell(Console(stderr=True), message, "bold red", before="apical:")
    raise typer.Exit(code)
