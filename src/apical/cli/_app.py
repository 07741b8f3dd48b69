"""The Typer application, and how errors end it."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from apical import __version__
from apical.lab.report._terminal import print_text

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Compare learning rules on the same model, data and initial weights.",
)


@app.callback(invoke_without_command=True)
def _apical(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    if show_version:
        typer.echo(f"apical {__version__}")
        raise typer.Exit


def lab() -> ModuleType:
    """`apical.lab`, imported late: it is slow, and `--help` does not need it."""
    from apical import lab

    return lab


@contextmanager
def stops(interrupted: str) -> Iterator[None]:
    """Turn errors of the lab and an interrupt into messages.

    Args:
        interrupted: what to print after an interrupt: how to resume.
    """
    try:
        yield
    except lab().LabError as error:
        stop(str(error))
    except lab().TaskError as error:
        stop(f"{error}\n{interrupted}", code=1)
    except KeyboardInterrupt:
        stop(f"interrupted. {interrupted}", code=130)


def stop(message: str, code: int = 2) -> NoReturn:
    """Print an error message and exit."""
    print_text(Console(stderr=True), message, "bold red", before="apical:")
    raise typer.Exit(code)
