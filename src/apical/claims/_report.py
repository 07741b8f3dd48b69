"""Claims as Markdown: for the terminal, the report of a run and the documentation."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from apical.claims._claim import Claim, Earlier, Lines, Outcome, Published
from apical.claims._data import data_in_words, data_names
from apical.claims._verdict import Verdict
from apical.lab.report.figures._style import figure_style, render
from apical.lab.storage._jsonl import replace_file

# ---- Verdicts and refusals, in words


def in_short(verdict: Verdict) -> str:
    """The word of a verdict, with "(refused)" if it was refused."""
    return f"{verdict.word} (refused)" if verdict.refused else verdict.word


def refusal(refused: Sequence[str], unrefused: str | None) -> list[str]:
    """Why a verdict was refused, and the verdict by the numbers alone, as Markdown."""
    if not refused:
        return []
    alone = f"By the numbers alone: {unrefused}."
    return ["**A verdict is refused.**", "", *_listed(refused), "", alone, ""]


def described(claim: Claim) -> str:
    """A claim without an outcome, as Markdown."""
    return "\n".join([*_sentence(claim), *_work(claim), *_published(claim.published)])


def reported(outcome: Outcome, picture_name: str = "", work_first: bool = True) -> str:
    """A claim and its outcome, as Markdown.

    Args:
        outcome: of the run.
        picture_name: the path of its picture; "" shows none.
        work_first: whether the outcome comes last, as a terminal is read from its end;
            on a page it comes first.
    """
    claim = outcome.claim
    parts = [_work(claim), _came_out(outcome, picture_name)]
    return "\n".join(
        [
            *_sentence(claim),
            *(line for p in parts[:: 1 if work_first else -1] for line in p),
        ]
    )


def _sentence(claim: Claim) -> list[str]:
    return [f"## {claim.id}", "", f"> {claim.sentence}", "", claim.source, ""]


def _work(claim: Claim) -> list[str]:
    lines = [f"**Set-up.** {claim.work}", ""]
    lines += [f"**Data.** {data_in_words(claim.data)}", ""]
    if claim.differences:
        lines += [f"**Differences from the source.** {claim.differences}", ""]
    lines += [f"**Rule.** {claim.rule}", ""]
    if claim.margin:
        lines += [f"**Margin.** {claim.margin}", ""]
    return [*lines, f"The full run takes about {claim.hours:g} h on two cores.", ""]


def _came_out(outcome: Outcome, picture_name: str) -> list[str]:
    claim, found = outcome.claim, outcome.verdict
    lines = [f"**{found.word.capitalize()}.** {found.because}", ""]
    lines += refusal(found.refused, found.unrefused)
    if found.unknown:
        lines += ["**Not known.**", "", *_listed(found.unknown), ""]
    before = claim.earlier_setup
    if before is not None and before.made(outcome.lines, outcome.trials):
        lines += [f"**Run with an earlier set-up.** {before.work}", ""]
    if outcome.scale != "full":
        lines += [f"Run at the {outcome.scale} scale.", ""]
    if picture_name:
        lines += [f"![{claim.id}]({picture_name})", ""]
    lines += _published(claim.published, outcome)
    if claim.remaining and outcome.scale == "full":
        lines += [f"**Discussion.** {claim.remaining}", ""]
    return [*lines, *_findings(found), *_earlier(claim, outcome.earlier)]


def _listed(reasons: Sequence[str]) -> list[str]:
    return [f"* {reason[:1].upper()}{reason[1:]}." for reason in reasons]


def _earlier(claim: Claim, verdicts: Sequence[Earlier]) -> list[str]:
    """The verdicts on the same records by earlier rules."""
    if not verdicts:
        return []
    lines = [f"**Earlier rule.** {claim.corrected}", ""]
    for each in verdicts:
        lines += [f"* {each.claim}: **{each.verdict}.** {each.because}", ""]
        lines += [f"  The rule was: {each.rule}", ""]
    return lines


def _published(figures: Sequence[Published], ran: Outcome | None = None) -> list[str]:
    """The published figures and, if the claim was run, the measured ones."""
    if not figures:
        return []
    head = ["", "published", *([] if ran is None else [_where(ran)]), "read in"]
    table = [_row(head), _row(["---"] * len(head))]
    for figure in figures:
        measured = [] if ran is None else [_measured(figure, ran.lines)]
        table.append(_row([figure.what, figure.value, *measured, figure.source]))
    return [*table, ""]


def _where(outcome: Outcome) -> str:
    """The header of the measured figures: a smaller run has other data."""
    if outcome.scale == "full":
        return "measured"
    data = f" on {data_names(outcome.lines)}" if outcome.claim.data else ""
    return f"measured{data}, {outcome.scale} scale"


def _measured(figure: Published, lines: Lines) -> str:
    return "–" if figure.measured is None else figure.measured(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _findings(found: Verdict) -> list[str]:
    if not found.findings:
        return []
    lines = ["| compared | difference | 95 % interval | margin | seeds | it is | "]
    lines[0] += "the claim says | |"
    lines += ["|---|--:|---|--:|--:|---|---|---|"]
    for finding in found.findings:
        e = finding.effect
        cells = [e.what, _number(e.mean), f"{_number(e.low)} to {_number(e.high)}"]
        cells += [f"{e.margin:g}", str(e.seeds), e.word, finding.says or "–"]
        lines.append(_row([*cells, finding.word]))
    return [*lines, ""]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"


def write_outcome(outcome: Outcome, folder: Path) -> None:
    """Write the picture and the report of one claim into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with figure_style():
        drawn = render(outcome.claim.draw(outcome.lines))
    replace_file(folder / "picture.png", drawn.png)
    replace_file(folder / "picture.svg", drawn.svg.encode())
    text = f"# A claim, run\n\n{reported(outcome, 'picture.png')}"
    replace_file(folder / "report.md", text.encode())


def write_report(outcomes: Iterable[Outcome], folder: Path) -> Path:
    """Write one report of all claims that were run in a folder."""
    outcomes = list(outcomes)
    for outcome in outcomes:
        here = folder / outcome.claim.id
        if not (here / "picture.png").exists():
            write_outcome(outcome, here)
    lines = ["# The claims", "", "| claim | statement | verdict |"]
    lines += ["|---|---|---|"]
    lines += [
        _row([f"[{o.claim.id}](#{o.claim.id})", o.claim.sentence, in_short(o.verdict)])
        for o in outcomes
    ]
    parts = [reported(o, f"{o.claim.id}/picture.png") for o in outcomes]
    path = folder / "report.md"
    replace_file(path, "\n".join([*lines, "", *parts]).encode())
    return path
