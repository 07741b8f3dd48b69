"""`apical compare` and `apical rules`."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from apical.cli._app import app, lab, stop, stops
from apical.lab.report._terminal import Cell, Name, grid, said, tell


@app.command()
def compare(
    context: typer.Context,
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
            "arguments in parentheses: 'feedback-alignment(removed_backward=0.9)'; "
            "all: every rule there is. Default: those of the README's first table."
        ),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER=VALUES",
            help="A number of rules, and values: 'removed_backward=0,0.5,0.9'. Each "
            "rule that has it gets a row for each value, and the page a curve.",
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
            help="Go on with the comparison in this folder, as it was begun: without "
            "any other option.",
        ),
    ] = None,
) -> None:
    """Train the same model with each rule: a table, records, figures and a page."""
    if resume is not None:
        _require_alone(context, resume)
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
                rules=lab().COMPARED if rules is None else rules,
                vary=vary,
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
    tell(console, f"The page: {folder / 'report.html'}. Records and figures beside it.")


def _require_alone(context: typer.Context, folder: Path) -> None:
    """Refuse what is said beside `--resume`: it would not be done."""
    others = [
        f"--{name.replace('_', '-')}"
        for name in context.params
        if name != "resume" and _is_said(context, name)
    ]
    if others:
        stop(
            f"--resume goes on as the comparison in {folder} was begun, so that "
            f"{', '.join(others)} would change nothing: leave it out, or begin another "
            "comparison in another folder with --out"
        )


def _is_said(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@app.command("rules")
def list_rules() -> None:
    """List the rules: name, source, and what each needs."""
    apart = {name: entry for name, (entry, _) in lab().NOT_COMPARED.items()}
    heading = [Name("not in a comparison by these names:")]
    rows = [*_rows(lab().RULES), heading, *_rows(apart)]
    console = Console()
    console.print(grid(("rule", "source", "needs"), rows))
    for name, (_, why) in lab().NOT_COMPARED.items():
        tell(console, f"  {name}: {why}")
    tell(
        console,
        "Arguments: 'feedback-alignment(removed_backward=0.9)'. What has been claimed "
        "of them, and what came out: apical claims list",
    )


def _rows(entries: dict[str, Any]) -> list[list[Cell]]:
    return [
        [Name(name), said(_key(entry)), said(" · ".join(entry.needs))]
        for name, entry in entries.items()
    ]


def _key(entry: Any) -> str:
    return ", ".join(re.findall(r"@\w+\{\s*([^,\s]+)", entry.citation)) or "–"
