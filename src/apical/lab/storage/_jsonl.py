"""JSON lines: one object per line, in memory and in an append-only file.

In the file each line has its checksum as the last field.
"""

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from apical.lab._errors import LabError
from apical.lab.storage._checksums import read_json, verified, with_checksum

# One line of any result file: numbers, strings, booleans or None by name.
Line = dict[str, Any]
Lines = Sequence[Line]


class JsonLines:
    """A list of lines and, where there is a path, the file that holds them.

    Args:
        path: the file; it is read if it exists. None: nothing is written.
        strict: whether to refuse a line of the file without a checksum.
    """

    def __init__(self, path: Path | None, strict: bool = False):
        self.path = path
        self.lines = [] if path is None else read(path, True, strict)
        if path is not None and path.exists():
            self._rewrite()  # without a last line that a kill has truncated

    def write(self, *lines: Line) -> None:
        """Append lines; they are on disk when this returns."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_text(lines))
                _to_disk(file)
        self.lines += lines

    def keep(self, wanted: Callable[[Line], bool]) -> None:
        """Drop the lines for which `wanted` is false."""
        kept = [line for line in self.lines if wanted(line)]
        if len(kept) < len(self.lines):
            self.lines = kept
            self._rewrite()

    def sort(self, place: Callable[[Line], Any]) -> None:
        """Put the lines in the order of their places; equal places keep theirs."""
        ordered = sorted(self.lines, key=place)
        if any(a is not b for a, b in zip(ordered, self.lines, strict=True)):
            self.lines = ordered
            self._rewrite()

    def _rewrite(self) -> None:
        if self.path is not None:
            replace_file(self.path, _text(self.lines).encode())


def read(path: Path, missing_ok: bool = False, strict: bool = False) -> list[Line]:
    """The lines of a file, compressed (`.gz`) or not; a truncated last one is left out.

    Args:
        path: the file.
        missing_ok: whether a missing file counts as an empty one.
        strict: whether to refuse a line without a checksum.

    Raises:
        LabError: if it cannot be read, or a line does not have its checksum.
    """
    if missing_ok and not path.exists():
        return []
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        whole = content.decode().rpartition("\n")[0]
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, ValueError) as error:
        raise LabError(f"{path} is not a result file of apical ({error})") from error
    lines = enumerate(whole.split("\n") if whole else [], 1)
    return [_read_line(text, f"{path}, line {n}", strict) for n, text in lines]


def _read_line(text: str, where: str, strict: bool) -> Line:
    try:
        line = read_json(text)
        if not isinstance(line, dict):
            raise ValueError("it is not a JSON object")
        return verified(line, required=strict)
    except ValueError as error:
        raise LabError(
            f"{where}, is not a line that apical wrote ({error}); was it edited? If "
            "you remove the line, --resume repeats its run"
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically: at any moment it is the old one or the new one."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(content)
        _to_disk(file)
    os.replace(new, path)


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _text(lines: Iterable[Line]) -> str:
    made = (json.dumps(with_checksum(line), allow_nan=False) for line in lines)
    return "".join(f"{text}\n" for text in made)
