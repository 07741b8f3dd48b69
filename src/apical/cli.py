"""The command line: `apical compare`, `apical rules`, `apical --version`."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn

from apical import __version__

try:
    import typer
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ModuleNotFoundError as missing:
    sys.exit(f"The command line needs the package {missing.name}: install apical[lab]")

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


@app.command()
def compare(
    data: Annotated[
        str, typer.Option(help="digits, mnist, fashion-mnist or cifar10.")
    ] = "digits",
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder with the files of the data set.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="mlp or cnn; may be given again. Default: both."),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            help="Names with commas between, see `apical rules`. Default: all."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Default: 8 on digits, otherwise 5.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, trained at once.")] = 5,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 64,
    optimizer: Annotated[
        str, typer.Option(help="adam, adamw, momentum, rmsprop or sgd.")
    ] = "adam",
    rate: Annotated[
        float | None,
        typer.Option(help="Step size, the same for all rules. Default: by optimizer."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for records and figure. Default: apical-compare."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the records in that folder.")
    ] = False,
) -> None:
    """Train the same model with each rule: a table, records and a figure."""
    lab = _lab()
    out = lab.free_folder() if out is None else out
    chosen = {"models": model or None, "rules": rules and rules.split(",")}
    given = {name: value for name, value in chosen.items() if value is not None}
    console = Console()
    try:
        result = lab.compare(
            data=data,
            data_dir=data_dir,
            epochs=epochs,
            seeds=seeds,
            batch_size=batch_size,
            optimizer=optimizer,
            rate=rate,
            out=out,
            force=force,
            console=console,
            **given,
        )
    except lab.LabError as error:
        _stop(str(error))
    except KeyboardInterrupt:
        _stop(f"interrupted; finished epochs are kept in {out}", code=130)
    console.print(result.table)
    console.print(f"Records and figure: {out}")


@app.command("rules")
def list_rules() -> None:
    """List the rules: name, source, and what each needs."""
    grid = Table("rule", "source", "needs", box=SIMPLE_HEAD, pad_edge=False)
    for name, entry in _lab().RULES.items():
        keys = ", ".join(re.findall(r"@\w+\{\s*([^,\s]+)", entry.citation))
        grid.add_row(name, keys or "–", " · ".join(entry.needs))
    Console().print(grid)


def main() -> None:
    """Run the command line."""
    app()


def _lab() -> ModuleType:
    # Late, so that help comes at once and a missing package is a message, not a trace.
    try:
        from apical import lab
    except ImportError as error:
        _stop(str(error))
    return lab


def _stop(message: str, code: int = 2) -> NoReturn:
    Console(stderr=True).print(f"[bold red]apical:[/] {escape(message)}")
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
