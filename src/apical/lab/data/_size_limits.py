"""Limits on the size of files, checked before memory is allocated."""

import os
from pathlib import Path

from apical.lab._errors import LabError

# A higher compression ratio is zeros or a decompression bomb, not data. Deflate reaches
# 1,032.
_MOST_FROM_A_BYTE, _HARMLESS = 200, 2**28
_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def require_memory(path: Path, number: int, each: int = 1) -> None:
    """Refuse a file that does not fit into the memory of this machine.

    Args:
        path: the file.
        number: how many numbers or characters it has.
        each: bytes per number at most, all copies included.
    """
    needed, there_is = number * each, memory()
    if there_is is not None and needed > there_is:
        raise LabError(
            f"{path} is too large: to read it would take about {_gigabytes(needed)} of "
            f"memory, and there are {_gigabytes(there_is)}; use a part of it"
        )


def require_plausible_size(
    path: Path, packed: int, unpacked: int, what: str = ""
) -> None:
    """Refuse a small file that decompresses to a huge one.

    Args:
        path: the file.
        packed: its size in bytes.
        unpacked: its decompressed size in bytes, as it declares.
        what: the part of the file, for the message.
    """
    if unpacked > max(_HARMLESS, _MOST_FROM_A_BYTE * packed):
        raise LabError(
            f"{path}: {what or 'it'} would unpack {packed:,} bytes to {unpacked:,}, "
            "which cannot be data; if it is, save it without compression"
        )


def memory() -> int | None:
    """The memory limit of this process in bytes; None if it is not known."""
    known = (_of_machine(), _of_process(), _of_container())
    return min((number for number in known if number is not None), default=None)


def _of_machine() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on this system
        return None


def _of_process() -> int | None:
    try:
        import resource
    except ImportError:  # not on this system
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _of_container() -> int | None:
    try:
        return int(_CONTAINER.read_text("ascii"))
    except (OSError, ValueError):  # there is none, or it has no limit
        return None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"
