"""`apical report`: the page of all rules."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from apical.cli._app import app, lab, stop, stops
from apical.lab.report._terminal import print_text


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path(
        "apical-report.html"
    ),
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="A folder of `apical compare`. Default: the results that come with "
            "apical.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Which model of that comparison. Default: its first."),
    ] = None,
) -> None:
    """Write one page about all rules: results, costs, needs and verdicts of claims."""
    if model is not None and results is None:
        stop("--model names a model of a comparison: give its folder by --results too")
    from apical import report as pages

    with stops(""):
        if results is None:
            found = pages.kept_results()
        else:
            found = pages.results_of(lab().Comparison.read(results), model)
        text = pages.page(found)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text, "utf-8")
        except OSError as error:
            raise lab().LabError(
                f"cannot write {out} ({error.strerror or error}): name another file "
                "with --out"
            ) from error
    print_text(Console(), f"The page: {out}")
