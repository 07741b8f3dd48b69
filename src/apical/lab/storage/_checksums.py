"""Checksums of results, so that an edited number is not taken for a measured one.

They guard against mistakes (an edited number, a line of another file, a truncated
file), not against forgery.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

CHECKSUM = "checksum"


def with_checksum(line: Mapping[str, Any]) -> dict[str, Any]:
    """The line with its checksum as the last field.

    Example:
        >>> verified(with_checksum({"epochs": 5}))
        {'epochs': 5}
        >>> verified(with_checksum({"epochs": 5}) | {"epochs": 6})
        Traceback (most recent call last):
            ...
        ValueError: it is not what was written: its checksum is another
    """
    return {**line, CHECKSUM: checksum(line)}


def verified(line: Mapping[str, Any], required: bool = True) -> dict[str, Any]:
    """The line without its checksum, which is compared with that of the rest.

    Args:
        line: a line as it was read.
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
    """The first sixteen hexadecimal digits of the sha256 of the content as JSON."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_json(text: str) -> Any:
    """Parse JSON; constants that are not JSON (`NaN`, `Infinity`) are refused."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number in JSON")


def digest(lines: Iterable[Mapping[str, Any]]) -> str:
    """One checksum of several lines, in order."""
    return checksum([checksum(line) for line in lines])
