"""`apical claims` and `apical reproduce`: run published claims and show verdicts."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from apical.cli._app import app, lab, stop, stops
from apical.lab._errors import resolve_names
from apical.lab.report._terminal import (
    Cell,
    MarkdownPage,
    NameCell,
    as_text,
    make_table,
    print_text,
)

claims = typer.Typer(
    no_args_is_help=True,
    help="Published claims: run them and show their verdicts.",
)
app.add_typer(claims, name="claims")

Out = Annotated[Path, typer.Option(help="Folder for records, figures and reports.")]
DataDir = Annotated[
    Path | None, typer.Option(help="The folder with the files of the data sets.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Download files that are missing.")
]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="A small version, two minutes; it settles nothing."),
]
Smoke = Annotated[
    bool,
    typer.Option(
        "--smoke", help="The smallest version, seconds; it shows that it runs."
    ),
]
_OUT = Path("apical-claims")


@claims.command("list")
def list_claims(out: Out = _OUT, quick: Quick = False, smoke: Smoke = False) -> None:
    """List the claims with the verdicts of the published runs and of your own."""
    scale, kept = _scale(quick, smoke), lab_claims().kept_claims()
    begun = [name for name in kept if (out / scale / name).is_dir()]
    with stops(""):
        found = {name: _outcome(name, scale, out) for name in begun}
    yours = {n: lab_claims().in_short(found[n].verdict) for n in begun if found[n]}
    headers = ["claim", "statement", "hours", "verdict"]
    rows: list[list[Cell]] = [
        [
            NameCell(name),
            as_text(one.sentence),
            as_text(f"{one.hours:g}"),
            as_text(one.verdict),
        ]
        for name, one in kept.items()
    ]
    if yours:
        headers.append("yours")
        for name, row in zip(kept, rows, strict=True):
            row.append(as_text(yours.get(name, "–")))
    console = Console()
    console.print(make_table(headers, rows, numbers=[2]))
    print_text(
        console,
        "Verdicts are those of the full runs in results/claims of the repository"
        f"{_and_yours(yours, scale, out)}. Details: apical claims show ID. Run one: "
        "apical claims run ID.",
    )


def _and_yours(yours: dict[str, str], scale: str, out: Path) -> str:
    if yours:
        return f"; yours are those of the runs at {scale} scale in {out}"
    return f"; no claim has been run at the {scale} scale in {out}"


@claims.command()
def show(name: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one claim: its source, the experiment, the decision rule and the verdict."""
    with stops(""):
        console = Console()
        console.print(MarkdownPage(lab_claims().described(_claim(name))))
        kept = lab_claims().kept_claims().get(_claim(name).id)
    if kept is not None:
        told = [f"**Kept run: {kept.verdict}.** {kept.because}", ""]
        told += lab_claims().refusal(kept.refused, kept.unrefused)
        console.print(MarkdownPage("\n".join(told)))


@claims.command()
def run(
    name: Annotated[str, typer.Argument(metavar="ID")],
    data_dir: DataDir = None,
    download: Download = False,
    quick: Quick = False,
    smoke: Smoke = False,
    out: Out = _OUT,
) -> None:
    """Run one claim, or resume it, and print the verdict."""
    with stops("To resume: the same command."):
        _run(_claim(name), _scale(quick, smoke), out, data_dir, download)


@claims.command()
def report(out: Out = _OUT, quick: Quick = False, smoke: Smoke = False) -> None:
    """Write a report of all claims that have been run."""
    scale = _scale(quick, smoke)
    with stops(""):
        read = lab_claims().read_outcome
        outcomes = [read(claim, scale, out) for claim in _claims().values()]
        done = [outcome for outcome in outcomes if outcome is not None]
        if not done:
            stop(f"no claim has been run at the {scale} scale in {out}")
        path = lab_claims().write_report(done, out / scale)
    print_text(Console(), f"The report: {path}")


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(metavar="PAPER")],
    data_dir: DataDir = None,
    download: Download = False,
    quick: Quick = False,
    smoke: Smoke = False,
    out: Out = _OUT,
) -> None:
    """Run the claims of a paper: millidge2020, lillicrap2016, liao2016 or another."""
    with stops("To resume: the same command."):
        wanted, scale = _of_paper(paper), _scale(quick, smoke)
        print_text(Console(), f"{paper}: {len(wanted)} claims, {_takes(wanted, scale)}")
        for claim in wanted:
            _run(claim, scale, out, data_dir, download)


def lab_claims() -> Any:
    """`apical.claims`, imported late."""
    lab()
    from apical import claims

    return claims


def _claims() -> dict[str, Any]:
    return lab_claims().CLAIMS


def _claim(name: str) -> Any:
    (name,) = resolve_names("claim", [name], _claims())
    return _claims()[name]


def _of_paper(paper: str) -> list[Any]:
    papers = dict.fromkeys(c.paper for c in _claims().values() if c.paper)
    (paper,) = resolve_names("paper", [paper], papers)
    return [claim for claim in _claims().values() if claim.paper == paper]


def _scale(quick: bool, smoke: bool) -> str:
    return "smoke" if smoke else "quick" if quick else "full"


def _run(
    claim: Any, scale: str, out: Path, data_dir: Path | None, download: bool
) -> None:
    console = Console()
    print_text(console, f"{claim.id}: {_takes([claim], scale)}")
    outcome = lab_claims().run_claim(
        claim, scale, out, data_dir=data_dir, download=download, console=console
    )
    console.print(MarkdownPage(lab_claims().reported(outcome)))
    print_text(console, f"Records, figure and report: {out / scale / claim.id}")


def _takes(claims: list[Any], scale: str) -> str:
    """The estimated time of these claims."""
    if scale == "full":
        hours = sum(claim.hours for claim in claims)
        return f"about {hours:.2g} h on two cores"
    return f"{len(claims)} x about {'2 minutes' if scale == 'quick' else '20 seconds'}"


def _outcome(name: str, scale: str, out: Path) -> Any:
    return lab_claims().read_outcome(_claims()[name], scale, out)
