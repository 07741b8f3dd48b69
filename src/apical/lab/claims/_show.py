"""Claims in words: for the terminal, for a page, for the documentation."""

from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from apical.lab._journal import replace_file
from apical.lab._report._canvas import our_style, picture
from apical.lab.claims._claim import Claim, Outcome


def claims_table(outcomes: Iterable[tuple[Claim, Outcome | None]]) -> Table:
    """A line for each claim: what it says and, where it has been run, the verdict."""
    grid = Table("claim", "what has been said", "hours", "verdict", box=SIMPLE_HEAD)
    for claim, outcome in outcomes:
        verdict = "–" if outcome is None else outcome.verdict.word
        grid.add_row(claim.id, claim.sentence, f"{claim.hours:g}", verdict)
    return grid


def described(claim: Claim) -> str:
    """Everything about a claim that is known before it runs, as Markdown."""
    lines = [f"## {claim.id}", "", f"> {claim.sentence}", "", claim.source, ""]
    lines += [f"**What is run.** {claim.work}", ""]
    if claim.differences:
        lines += [f"**What differs from the source.** {claim.differences}", ""]
    lines += [f"**The verdict.** {claim.rule}", ""]
    lines += [f"The full form takes about {claim.hours:g} h on two cores.", ""]
    if claim.published:
        lines += ["| published | | read in |", "|---|---|---|"]
        lines += [f"| {p.what} | {p.value} | {p.source} |" for p in claim.published]
        lines += [""]
    return "\n".join(lines)


def reported(outcome: Outcome, picture_name: str = "") -> str:
    """A claim that was run, as Markdown: all of the above, and what came out."""
    found = outcome.verdict
    lines = [
        described(outcome.claim),
        f"**{found.word.capitalize()}.** {found.because}",
    ]
    if outcome.scale != "full":
        lines += ["", f"Run at the {outcome.scale} scale."]
    if found.effects:
        lines += ["", "| compared | difference | 95 % interval | seeds | |"]
        lines += ["|---|--:|---|--:|---|"]
        lines += [
            f"| {e.what} | {e.mean:+.2f} | {e.low:+.2f} to {e.high:+.2f} "
            f"(equal: within ± {e.margin:g}) | {e.seeds} | {e.word} |"
            for e in found.effects
        ]
    if picture_name:
        lines += ["", f"![{outcome.claim.id}]({picture_name})"]
    return "\n".join([*lines, ""])


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Write the picture and the report of one claim into its folder."""
    with our_style():
        drawn = picture(outcome.claim.draw(outcome.lines))
    replace_file(folder / "picture.png", drawn.png)
    replace_file(folder / "picture.svg", drawn.svg.encode())
    text = f"# A claim, run\n\n{reported(outcome, 'picture.png')}"
    replace_file(folder / "report.md", text.encode())


def write_report(outcomes: Iterable[Outcome], folder: Path) -> Path:
    """Write one report of all claims that have been run in a folder."""
    outcomes = list(outcomes)
    lines = ["# The claims", "", "| claim | what has been said | verdict |"]
    lines += ["|---|---|---|"]
    lines += [
        f"| [{o.claim.id}](#{o.claim.id}) | {o.claim.sentence} | {o.verdict.word} |"
        for o in outcomes
    ]
    parts = [reported(o, f"{o.claim.id}/picture.png") for o in outcomes]
    path = folder / "report.md"
    replace_file(path, "\n".join([*lines, "", *parts]).encode())
    return path
