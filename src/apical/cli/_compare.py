"""`apical compare` and `apical rules`."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from apical.cli._app import app, lab, stops


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
            help="mlp, mlp-tanh, cnn, lenet, resnet (pictures); rnn, lstm, transformer "
            "(characters); or your_module:factory. May be given again. Default: by the "
            "data."
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            help="Names with commas between, see `apical rules`, or your_module:Rule; "
            "all: every rule there is. Default: those of the README's first table."
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
        str | None,
        typer.Option(
            help="cross-entropy, or squared-error (half of it) to one-hot labels. "
            "Default: cross-entropy; squared-error where labels are numbers."
        ),
    ] = None,
    sweep: Annotated[
        int,
        typer.Option(
            help="Trials in which every rule finds its own step size and numbers, on a "
            "held-out part of the training set: at least 2. 0: none."
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
    console = Console()
    folder = resume or out or lab().free_folder()
    with stops(f"To go on: apical compare --resume {folder}"):
        if resume is not None:
            result = lab().resume(resume, console=console)
        else:
            result = lab().compare(
                data=data,
                data_dir=data_dir,
                download=download,
                models=model or None,
                rules=lab().COMPARED if rules is None else rules.split(","),
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
    console.print(result.table)
    if result.regimes:
        console.print(result.regime_table)
    console.print(f"The page: {folder / 'report.html'}. Records and figures beside it.")


@app.command("rules")
def list_rules() -> None:
    """List the rules: name, source, and what each needs."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("rule", no_wrap=True, min_width=max(map(len, lab().RULES)))
    grid.add_column("source", overflow="fold")
    grid.add_column("needs")
    for name, entry in lab().RULES.items():
        grid.add_row(name, _key(entry), " · ".join(entry.needs))
    grid.add_section()
    for name, (entry, _) in lab().APART.items():
        grid.add_row(name, _key(entry), " · ".join(entry.needs))
    console = Console()
    console.print(grid)
    console.print("Not in a comparison by these names:")
    for name, (_, why) in lab().APART.items():
        console.print(f"  {name}: {why}", highlight=False)


def _key(entry: Any) -> str:
    return ", ".join(re.findall(r"@\w+\{\s*([^,\s]+)", entry.citation)) or "–"
