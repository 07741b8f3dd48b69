"""Checksums of what is written down, so that what was edited is not taken for measured.

They guard against mistakes: an edited number, a line from elsewhere, a torn file. Who
wants to deceive can make a checksum too.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

CHECKSUM = "checksum"


def sealed(line: dict[str, Any]) -> dict[str, Any]:
    """The line with its checksum as the last field.

    Example:
        >>> unsealed(sealed({"epochs": 5}))
        {'epochs': 5}
        >>> unsealed(sealed({"epochs": 5}) | {"epochs": 6})
        Traceback (most recent call last):
            ...
        ValueError: it is not what was written: its checksum is another
    """
    return {**line, CHECKSUM: checksum(line)}


def unsealed(line: dict[str, Any], required: bool = True) -> dict[str, Any]:
    """The line without its checksum, which must be that of the rest.

    Args:
        line: as it was read.
        required: whether a line without a checksum is refused.
    """
    rest = {name: value for name, value in line.items() if name != CHECKSUM}
    if CHECKSUM not in line and not required:
        return rest
    if CHECKSUM not in line:
        raise ValueError("it has no checksum")
    if line[CHECKSUM] != checksum(rest):
        raise ValueError("it is not what was written: its checksum is another")
    return rest


def checksum(content: Any) -> str:
    """Sixteen hexadecimal digits, the head of a sha256 of the content as JSON."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_json(text: str) -> Any:
    """What a text in JSON says; numbers that JSON does not know are refused."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def digest(lines: Iterable[dict[str, Any]]) -> str:
    """One checksum of several lines, in their order."""
    return checksum([checksum(line) for line in lines])
