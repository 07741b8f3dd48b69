"""Records: one JSON object per line, per seed and epoch, kept the moment it is made."""

import dataclasses
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

import apical
from apical.lab._errors import LabError

FILE = "records.jsonl"
FIGURES = ("figure.png", "figure.svg")
_PACKAGES = ("jax", "jaxlib", "numpy", "optax", "equinox")


class Recorder:
    """Keeps records in memory and, where there is a folder, in its `records.jsonl`.

    Args:
        folder: where to write; made where it is missing. None: nothing is written.
        force: replace the records of an earlier comparison.
    """

    def __init__(self, folder: str | Path | None, force: bool = False):
        self.records: list[dict[str, Any]] = []
        self.folder = None if folder is None else Path(folder)
        self._file = None if self.folder is None else _open(self.folder, force)

    def write(self, record: dict[str, Any]) -> None:
        """Add one record; it is in the file when this returns."""
        self.records.append(record)
        if self._file is not None:
            self._file.write(json.dumps(record, allow_nan=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_records(folder: str | Path) -> list[dict[str, Any]]:
    """The records of an earlier comparison, from its output folder."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise LabError(f"{path}: there is no such file; was another --out used?")
    # An interrupt may have torn the last line; every line before it is whole.
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def free_folder(name: str = "apical-compare") -> Path:
    """The first of `name`, `name-2`, `name-3`, ... that holds no records."""
    folder, number = Path(name), 1
    while (folder / FILE).exists():
        number += 1
        folder = Path(f"{name}-{number}")
    return folder


def hyper_parameters(rule: Any) -> dict[str, Any]:
    """Every field of a rule, as JSON can hold it."""
    return {
        field.name: plain(getattr(rule, field.name))
        for field in dataclasses.fields(rule)
    }


def plain(value: Any) -> Any:
    """A value as JSON can hold it; a number that is not finite becomes None."""
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, (float, np.number, np.ndarray, jax.Array)):
        return _plain_number(np.asarray(value).tolist())
    if dataclasses.is_dataclass(value):
        return {"name": type(value).__name__, **hyper_parameters(value)}
    return type(value).__name__


def environment() -> dict[str, Any]:
    """The versions and the kind of machine that a record was made with."""
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": f"{platform.system()} {platform.machine()}",
        "device": jax.devices()[0].device_kind,
    }


def _open(folder: Path, force: bool) -> Any:
    path = folder / FILE
    if path.exists() and path.stat().st_size and not force:
        raise LabError(
            f"{path} holds the records of an earlier comparison: choose another "
            "folder with --out, or replace them with --force"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in FIGURES:  # A figure must never stand beside newer records.
            (folder / figure).unlink(missing_ok=True)
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise LabError(
            f"cannot write to {path} ({error.strerror}): choose another folder "
            "with --out"
        ) from error


def _plain_number(number: Any) -> Any:
    if isinstance(number, list):
        return [_plain_number(item) for item in number]
    return number if math.isfinite(number) else None


def _versions() -> dict[str, str]:
    return {"apical": apical.__version__, **{name: version(name) for name in _PACKAGES}}
