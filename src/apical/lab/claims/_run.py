"""Run a claim: task after task, each done once; then the verdict from the lines."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from apical.lab._errors import LabError
from apical.lab._folder import locked
from apical.lab._journal import Journal, Line, read, replace_file
from apical.lab._records import environment
from apical.lab._terminal import tell
from apical.lab.claims._claim import Claim, Desk, Outcome, Scale, Task
from apical.lab.claims._show import write_outcome
from apical.lab.claims._verdict import Effect, Verdict

RECORDS, OUTCOME = "records.jsonl", "verdict.json"
PACKED = f"{RECORDS}.gz"
WORK, SHARED = "work", "shared"


def run_claim(
    claim: Claim,
    scale: Scale = "full",
    out: str | Path = "apical-claims",
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Run a claim, or go on with it, and judge it.

    Args:
        claim: one of `CLAIMS`.
        scale: `"full"` for a verdict; `"quick"` ends within two minutes on two cores,
            `"smoke"` within seconds: these say whether it works, not whether it holds.
        out: where records, verdict and picture go: `out/scale/id`.
        data_dir: where the files of data sets are.
        download: fetch those that are not there.
        console: where to show progress.

    Returns:
        The outcome. What was done before, in the same folder by the same versions, is
        not done again.

    Raises:
        LabError: the folder is in use, was begun by other versions, holds a kept run,
            or cannot be written to; data that are not there.
    """
    folder = Path(out) / scale / claim.id
    tasks = list(claim.tasks(scale))
    if (folder / PACKED).exists():
        raise LabError(
            f"{folder} holds a run that is kept, in {PACKED}: choose another folder "
            "(--out)"
        )
    with locked(folder):
        records = Journal(folder / RECORDS)
        _require_same_versions(folder, records.lines)
        for number, task in enumerate(tasks, 1):
            if not any(line["task"] == task.name for line in records.lines):
                if console is not None:
                    tell(console, f"{claim.id} {number}/{len(tasks)}: {task.name}")
                desk = Desk(
                    _folder_of(task, folder),
                    None if data_dir is None else Path(data_dir),
                    download,
                    console,
                )
                records.write(*_lines(claim, scale, task, desk))
        outcome = Outcome(
            claim, scale, records.lines, _judge(claim, scale, records.lines)
        )
        write_outcome(outcome, folder)
        _write(folder, outcome)
    return outcome


def read_outcome(claim: Claim, scale: Scale, out: str | Path) -> Outcome | None:
    """A claim that was run before, from its records; None if it has not ended.

    The verdict is made anew from the records: it is never only believed.
    """
    folder = Path(out) / scale / claim.id
    if not (folder / OUTCOME).exists():
        return None
    packed = folder / PACKED
    lines = read(packed if packed.exists() else folder / RECORDS)
    return Outcome(claim, scale, lines, _judge(claim, scale, lines))


def _folder_of(task: Task, claim: Path) -> Path:
    return (claim.parent / SHARED if task.shared else claim / WORK) / task.name


def _lines(claim: Claim, scale: Scale, task: Task, desk: Desk) -> list[Line]:
    said = {"claim": claim.id, "scale": scale, "task": task.name, **environment()}
    lines = [said | line for line in task.run(desk)]
    if not lines:
        raise LabError(f"{claim.id}: the task {task.name} gave no lines")
    return lines


def _judge(claim: Claim, scale: Scale, lines: list[Line]) -> Verdict:
    found = claim.judge(lines)
    if scale == "full":
        return found
    return found._replace(
        word="not settled",
        because=f"run at the {scale} scale, which settles nothing. {found.because}",
    )


def _require_same_versions(folder: Path, lines: list[Line]) -> None:
    now = environment()
    for line in lines[:1]:
        for name, value in now.items():
            if line.get(name) != value:
                raise LabError(
                    f"{folder} was begun with {name} {line.get(name)}, and this is "
                    f"{value}: go on with that, or begin anew in another folder (--out)"
                )


def _write(folder: Path, outcome: Outcome) -> None:
    verdict: dict[str, Any] = {
        **asdict_of(outcome.verdict),
        "claim": outcome.claim.id,
        "scale": outcome.scale,
        "rule": outcome.claim.rule,
    }
    replace_file(folder / OUTCOME, json.dumps(verdict, indent=2).encode())


def asdict_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON can hold it."""
    return {
        "verdict": verdict.word,
        "because": verdict.because,
        "effects": [_effect(found) for found in verdict.effects],
    }


def _effect(found: Effect) -> dict[str, Any]:
    numbers = {k: None if v != v else v for k, v in found._asdict().items()}
    return numbers | {"word": found.word}
