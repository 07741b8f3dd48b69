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
        str,
        typer.Option(
            help="digits, mnist, fashion-mnist, cifar10, shakespeare, the path of a "
            "text, or of an .npz file with train_x, train_y, test_x and test_y."
        ),
    ] = "digits",
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder with the files of the data set.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the files that are not there.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="mlp, cnn, lenet, resnet (pictures); rnn, lstm, transformer "
            "(characters); or your_module:factory. May be given again. Default: by the "
            "data."
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            help="Names with commas between, see `apical rules`, or your_module:Rule. "
            "Default: all."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Default: 8 on digits, otherwise 5.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, trained at once.")] = 5,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 64,
    optimizer: Annotated[
        str,
        typer.Option(
            help="One of optax, momentum or batch_manhattan; arguments in parentheses: "
            "'sgd(momentum=0.9)'."
        ),
    ] = "adam",
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--rate",
            help="Step size, the same for all rules. Default: by optimizer.",
        ),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="cross-entropy, or squared-error to one-hot labels.")
    ] = "cross-entropy",
    sweep: Annotated[
        int,
        typer.Option(
            help="Trials in which every rule finds its own step size and numbers, on a "
            "held-out part of the training set. 0: none."
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for records, figures and page. Default: apical-compare."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the comparison in that folder.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Go on with the comparison in this folder, as it was begun; no other "
            "option is looked at.",
        ),
    ] = None,
) -> None:
    """Train the same model with each rule: a table, records, figures and a page."""
    lab, console = _lab(), Console()
    folder = resume or out or lab.free_folder()
    try:
        if resume is not None:
            result = lab.resume(resume, console=console)
        else:
            result = lab.compare(
                data=data,
                data_dir=data_dir,
                download=download,
                models=model or None,
                rules=tuple(lab.RULES) if rules is None else rules.split(","),
                epochs=epochs,
                seeds=seeds,
                batch_size=batch_size,
                optimizer=optimizer,
                learning_rate=learning_rate,
                loss=loss,
                sweep=sweep,
                out=folder,
                force=force,
                console=console,
            )
    except lab.LabError as error:
        _stop(str(error))
    except KeyboardInterrupt:
        _stop(f"interrupted. To go on: apical compare --resume {folder}", code=130)
    console.print(result.table)
    console.print(f"The page: {folder / 'report.html'}. Records and figures beside it.")


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
