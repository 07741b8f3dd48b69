"""Running a claim: its tasks, each run once, then the verdict from their lines."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from apical.claims._claim import Claim, Earlier, Outcome, Scale, Task, TaskContext
from apical.claims._fairness import refuse_if_unfair
from apical.claims._report import write_outcome
from apical.claims._verdict import Finding
from apical.lab._errors import LabError
from apical.lab.report._terminal import print_text
from apical.lab.run._records import environment
from apical.lab.storage._jsonl import JsonLines, Line, read, replace_file
from apical.lab.storage._output_dir import locked

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
    """Run a claim, or resume it, and judge it.

    Args:
        claim: one of `CLAIMS`.
        scale: `"full"` for a verdict. `"quick"` ends within two minutes on two cores,
            `"smoke"` within seconds; both only show that the code works.
        out: records, verdict and picture are written to `out/scale/id`.
        data_dir: where the files of data sets are.
        download: fetch missing files.
        console: where to show progress.

    Returns:
        The outcome. Tasks that were done before, in the same folder by the same
        versions, are not repeated.

    Raises:
        LabError: the folder is in use, was begun by other versions, holds a kept run,
            or cannot be written to; or data are missing.
    """
    folder = Path(out) / scale / claim.id
    tasks = list(claim.tasks(scale))
    if (folder / PACKED).exists():
        raise LabError(
            f"{folder} holds a run that is kept, in {PACKED}: choose another folder "
            "(--out)"
        )
    with locked(folder):
        records = JsonLines(folder / RECORDS)
        _require_same_versions(folder, records.lines)
        for number, task in enumerate(tasks, 1):
            if not any(line["task"] == task.name for line in records.lines):
                if console is not None:
                    print_text(
                        console, f"{claim.id} {number}/{len(tasks)}: {task.name}"
                    )
                context = TaskContext(
                    _folder_of(task, folder),
                    None if data_dir is None else Path(data_dir),
                    download,
                    console,
                )
                records.write(*_lines(claim, scale, task, context))
        outcome = judge_lines(claim, scale, records.lines)
        write_outcome(outcome, folder)
        _write(folder, outcome)
    return outcome


def read_outcome(claim: Claim, scale: Scale, out: str | Path) -> Outcome | None:
    """The outcome of an earlier run, from its records; None if it has not ended.

    The verdict is computed again from the records, and not read from a file.
    """
    folder = Path(out) / scale / claim.id
    if not (folder / OUTCOME).exists():
        return None
    packed = folder / PACKED
    lines = read(packed if packed.exists() else folder / RECORDS)
    kept = json.loads((folder / OUTCOME).read_text("utf-8"))
    earlier = tuple(Earlier(**each) for each in kept.get("earlier", ()))
    return judge_lines(claim, scale, lines, earlier)


def judge_lines(
    claim: Claim, scale: Scale, lines: list[Line], earlier: tuple[Earlier, ...] = ()
) -> Outcome:
    """The outcome that follows from the lines of all tasks, including trials."""
    trials = [line for line in lines if "trial" in line]
    measured = [line for line in lines if "trial" not in line]
    verdict = claim.judge(measured)
    if scale == "full":
        verdict = refuse_if_unfair(claim, verdict, measured, trials)
    else:
        settles_nothing = f"run at the {scale} scale, which settles nothing. "
        verdict = verdict._replace(
            word="not settled", because=settles_nothing + verdict.because
        )
    return Outcome(claim, scale, measured, verdict, trials, earlier)


def _folder_of(task: Task, claim: Path) -> Path:
    return (claim.parent / SHARED if task.shared else claim / WORK) / task.name


def _lines(claim: Claim, scale: Scale, task: Task, context: TaskContext) -> list[Line]:
    shared = {"claim": claim.id, "scale": scale, "task": task.name, **environment()}
    lines = [shared | line for line in task.run(context)]
    if not lines:
        raise LabError(f"{claim.id}: the task {task.name} gave no lines")
    return lines


def _require_same_versions(folder: Path, lines: list[Line]) -> None:
    now = environment()
    for line in lines[:1]:
        for name, value in now.items():
            if line.get(name) != value:
                raise LabError(
                    f"{folder} was begun with {name} {line.get(name)}, and this is "
                    f"{value}: continue with that, or start again in another "
                    "folder (--out)"
                )


def _write(folder: Path, outcome: Outcome) -> None:
    written = json.dumps(verdict_as_json(outcome), indent=2)
    replace_file(folder / OUTCOME, written.encode())


def verdict_as_json(outcome: Outcome) -> dict[str, Any]:
    """A verdict with its rule, and the earlier verdicts, as JSON."""
    verdict = outcome.verdict
    return {
        "verdict": verdict.word,
        "because": verdict.because,
        "refused": list(verdict.refused),
        "by the numbers alone": verdict.unrefused or verdict.word,
        "not known": list(verdict.unknown),
        "effects": [_effect(finding) for finding in verdict.findings],
        "claim": outcome.claim.id,
        "scale": outcome.scale,
        "rule": outcome.claim.rule,
        "earlier": [each._asdict() for each in outcome.earlier],
    }


def _effect(finding: Finding) -> dict[str, Any]:
    found = finding.effect._asdict()
    del found["runs"]
    numbers = {k: None if v != v else v for k, v in found.items()}
    return numbers | {
        "word": finding.effect.word,
        "claimed": finding.says,
        "finding": finding.word,
    }
