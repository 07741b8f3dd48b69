"""The output folder of a comparison: settings, lock, and whether it can be resumed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from apical.lab._errors import LabError
from apical.lab.storage._checksums import read_json, verified, with_checksum
from apical.lab.storage._jsonl import Line, replace_file
from apical.lab.storage._results import FILES, ResultStore
from apical.lab.storage._source_digests import changed

SETTINGS = "settings.json"
REPORTS = (
    *("figure.png", "figure.svg", "layers.png", "layers.svg"),
    *("cost.png", "cost.svg", "trials.png", "trials.svg"),
    *("varied.png", "varied.svg", "report.html"),
)


@contextmanager
def open_folder(
    path: Path | None, settings: Line, force: bool, resume: bool
) -> Iterator[ResultStore]:
    """The result store in this folder, which is locked meanwhile.

    Args:
        path: the folder; made if it is missing. None: nothing is written.
        settings: the settings of the comparison.
        force: replace an earlier comparison.
        resume: continue an earlier comparison with the same settings.
    """
    if path is None:
        yield ResultStore(None)
        return
    try:
        with locked(path):
            _prepare(path, settings, force, resume)
            yield ResultStore(path)
    except OSError as error:
        raise LabError(
            f"cannot write to {path} ({error.strerror or error}). "
            f"{_then(path, settings)}"
        ) from error


def _then(path: Path, settings: Line) -> str:
    if not (path / SETTINGS).is_file():
        return "Choose another folder with --out"
    return (
        "What was written before is kept: correct the problem, then continue "
        f"({_resuming(path, settings)}), or choose another folder with --out"
    )


def _resuming(path: Path, settings: Line) -> str:
    """How to resume; a command line cannot hold objects that Python was given."""
    if settings.get("given_as_objects"):
        return "the same call with resume=True"
    return f"`apical compare --resume {path}`; from Python resume=True"


def read_settings(path: Path) -> Line:
    """The settings of the comparison in this folder."""
    file = path / SETTINGS
    try:
        found = read_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(
            f"{path} holds no comparison (there is no {file}): name the folder that "
            "was given as --out. If it was, the comparison had not begun: run it again"
        ) from None
    except OSError as error:
        raise LabError(
            f"{file} cannot be read ({error.strerror or error}): name a folder that "
            "was given as --out"
        ) from error
    except ValueError as error:
        raise LabError(
            f"{file} is damaged ({error}): restore it, or start again in another folder"
        ) from error
    try:
        return verified(dict(found))
    except (TypeError, ValueError) as error:
        raise LabError(
            f"{file} is not what this version of `apical compare` wrote ({error}): "
            "restore it, name a folder that was given as --out, or start again in "
            "another one"
        ) from error


def free_folder(name: str = "apical-compare") -> Path:
    """The first of `name`, `name-2`, `name-3`, ... that holds no comparison."""
    folder, number = Path(name), 1
    while (folder / SETTINGS).exists():
        number += 1
        folder = Path(f"{name}-{number}")
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock this folder against other processes; it is made if it is missing."""
    if path.exists() and not path.is_dir():
        raise LabError(
            f"cannot write to {path}, which is a file: name another folder with --out"
        )
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LabError(
            f"{path} is in use by another run: wait for it, or choose another "
            "folder with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _prepare(path: Path, settings: Line, force: bool, resume: bool) -> None:
    begun = (path / SETTINGS).exists()
    if resume:
        _require_same(path, read_settings(path), settings)
    elif begun and not force:
        replacing = "force=True"
        if not settings.get("given_as_objects"):
            replacing = "--force (from Python force=True)"
        raise LabError(
            f"{path} holds a comparison: continue it ({_resuming(path, settings)}), "
            f"replace it with {replacing}, or choose another folder with --out"
        )
    else:
        for name in (*FILES, *REPORTS):
            (path / name).unlink(missing_ok=True)
        replace_file(
            path / SETTINGS, json.dumps(with_checksum(settings), indent=2).encode()
        )


def _require_same(path: Path, before: Line, now: Line) -> None:
    for name in before | now:
        if before.get(name) != now.get(name):
            if name == "sources":
                raise LabError(
                    f"{changed(before.get(name), now.get(name))} changed since {path} "
                    "was begun: its results would come from two versions of a model or "
                    "rule. Undo the change, or start again in another folder"
                )
            raise LabError(
                f"{path} was begun with {name} = {before.get(name)!r}, and this is "
                f"{now.get(name)!r}: the results would not belong to one comparison. "
                "Use the settings it was begun with, or start again in another folder"
            )
