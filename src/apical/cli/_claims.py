"""`apical claims` and `apical reproduce`: what has been said, run and judged."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown

from apical.cli._app import app, lab, stop, stops

claims = typer.Typer(
    no_args_is_help=True, help="What the literature claims: run it, read the verdict."
)
app.add_typer(claims, name="claims")

Out = Annotated[Path, typer.Option(help="Folder for records, pictures and reports.")]
DataDir = Annotated[
    Path | None, typer.Option(help="The folder with the files of the data sets.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch the files that are not there.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="A small form, two minutes: settles nothing.")
]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="The smallest form, seconds: does it run?")
]
_OUT = Path("apical-claims")


@claims.command("list")
def list_claims(out: Out = _OUT, quick: Quick = False, smoke: Smoke = False) -> None:
    """List the claims, and the verdicts of those that have been run."""
    scale, read = _scale(quick, smoke), lab_claims().read_outcome
    found = [(claim, read(claim, scale, out)) for claim in _claims().values()]
    Console().print(lab_claims().claims_table(found))
    if not any(outcome for _, outcome in found):
        Console().print(
            f"None has been run at the {scale} scale in {out}; --out names another "
            "folder. A clone of the repository has runs of its own in results/claims."
        )


@claims.command()
def show(name: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one claim: its source, what is run, how it is judged."""
    with stops(""):
        Console().print(Markdown(lab_claims().described(_claim(name))))


@claims.command()
def run(
    name: Annotated[str, typer.Argument(metavar="ID")],
    data_dir: DataDir = None,
    download: Download = False,
    quick: Quick = False,
    smoke: Smoke = False,
    out: Out = _OUT,
) -> None:
    """Run one claim, or go on with it, and print the verdict."""
    with stops("To go on: the same command."):
        _run(_claim(name), _scale(quick, smoke), out, data_dir, download)


@claims.command()
def report(out: Out = _OUT, quick: Quick = False, smoke: Smoke = False) -> None:
    """Write one report of all claims that have been run."""
    scale = _scale(quick, smoke)
    with stops(""):
        read = lab_claims().read_outcome
        outcomes = [read(claim, scale, out) for claim in _claims().values()]
        done = [outcome for outcome in outcomes if outcome is not None]
        if not done:
            stop(f"no claim has been run at the {scale} scale in {out}")
        path = lab_claims().write_report(done, out / scale)
    Console().print(f"The report: {path}")


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(metavar="PAPER")],
    data_dir: DataDir = None,
    download: Download = False,
    quick: Quick = False,
    smoke: Smoke = False,
    out: Out = _OUT,
) -> None:
    """Run a paper's claims: millidge2020, lillicrap2016, liao2016 and others."""
    with stops("To go on: the same command."):
        for claim in _of_paper(paper):
            _run(claim, _scale(quick, smoke), out, data_dir, download)


def lab_claims() -> Any:
    """The claims, imported late."""
    lab()
    from apical.lab import claims

    return claims


def _claims() -> dict[str, Any]:
    return lab_claims().CLAIMS


def _claim(name: str) -> Any:
    (name,) = lab().known("claim", [name], _claims())
    return _claims()[name]


def _of_paper(paper: str) -> list[Any]:
    papers = dict.fromkeys(c.paper for c in _claims().values() if c.paper)
    (paper,) = lab().known("paper", [paper], papers)
    return [claim for claim in _claims().values() if claim.paper == paper]


def _scale(quick: bool, smoke: bool) -> str:
    return "smoke" if smoke else "quick" if quick else "full"


def _run(
    claim: Any, scale: str, out: Path, data_dir: Path | None, download: bool
) -> None:
    console = Console()
    if scale == "full":
        console.print(f"{claim.id}: about {claim.hours:g} h on two cores")
    outcome = lab_claims().run_claim(
        claim, scale, out, data_dir=data_dir, download=download, console=console
    )
    console.print(Markdown(lab_claims().reported(outcome)))
    console.print(f"Records, picture and report: {out / scale / claim.id}")
