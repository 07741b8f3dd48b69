"""A journal: lines of JSON, in memory and in a file that only grows.

In the file each has its checksum as the last field.
"""

import gzip
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apical.lab._errors import LabError
from apical.lab.storage._checksums import read_json, sealed, unsealed

Line = dict[str, Any]


class Journal:
    """Lines in memory and, where there is a path, in the file.

    Args:
        path: the file; read where it exists. None: nothing is written.
        strict: whether a line of the file without a checksum is refused.
    """

    def __init__(self, path: Path | None, strict: bool = False):
        self.path = path
        self.lines = [] if path is None else read(path, True, strict)
        if path is not None and path.exists():
            self._rewrite()  # without a last line that a kill has torn

    def write(self, *lines: Line) -> None:
        """Add lines; they are on the disk when this returns."""
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_text(lines))
                _to_disk(file)
        self.lines += lines

    def keep(self, wanted: Callable[[Line], bool]) -> None:
        """Drop every line that is not wanted."""
        kept = [line for line in self.lines if wanted(line)]
        if len(kept) < len(self.lines):
            self.lines = kept
            self._rewrite()

    def _rewrite(self) -> None:
        if self.path is not None:
            replace_file(self.path, _text(self.lines).encode())


def read(path: Path, missing_ok: bool = False, strict: bool = False) -> list[Line]:
    """The whole lines of a journal, packed (`.gz`) or not; what is torn is left out.

    Args:
        path: the file.
        missing_ok: whether it need not be there.
        strict: whether a line without a checksum is refused.

    Raises:
        LabError: it cannot be read, or a line is not what was written.
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
        raise LabError(f"{path} is not a journal of apical ({error})") from error
    lines = enumerate(whole.split("\n") if whole else [], 1)
    return [_read_line(text, f"{path}, line {n}", strict) for n, text in lines]


def _read_line(text: str, where: str, strict: bool) -> Line:
    try:
        line = read_json(text)
        if not isinstance(line, dict):
            raise ValueError("it is not an object of JSON")
        return unsealed(line, required=strict)
    except ValueError as error:
        raise LabError(
            f"{where}, is not of a journal of apical ({error}); was it edited? Without "
            "that line its run is made again by --resume"
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that at any moment it is wholly the old one or the new one."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(content)
        _to_disk(file)
    os.replace(new, path)


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _text(lines: Any) -> str:
    made = (json.dumps(sealed(line), allow_nan=False) for line in lines)
    return "".join(f"{text}\n" for text in made)
