"""Whether what a file promises can be held, asked before any memory is taken."""

import os
from pathlib import Path

from apical.lab._errors import LabError

# More than this from one byte is nothing that was measured: zeros, or a trap. Deflate
# itself can make 1,032.
_MOST_FROM_A_BYTE, _HARMLESS = 200, 2**28
_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def require_room(path: Path, number: int, each: int = 1) -> None:
    """Refuse what cannot be held in the memory of this machine.

    Args:
        path: the file.
        number: how many numbers or letters it has.
        each: bytes that one of them takes at the most, with every copy that is made.
    """
    needed, there_is = number * each, memory()
    if there_is is not None and needed > there_is:
        raise LabError(
            f"{path} is too large: to read it would take about {_gigabytes(needed)} of "
            f"memory, and there are {_gigabytes(there_is)}; use a part of it"
        )


def require_honest(path: Path, packed: int, unpacked: int, what: str = "") -> None:
    """Refuse what is small on the disk and huge when unpacked.

    Args:
        path: the file.
        packed: bytes that it takes on the disk.
        unpacked: bytes that it promises.
        what: of the file this is, for the message.
    """
    if unpacked > max(_HARMLESS, _MOST_FROM_A_BYTE * packed):
        raise LabError(
            f"{path}: {what or 'it'} would unpack {packed:,} bytes to {unpacked:,}, "
            "which is no data; if it is, save it without compression"
        )


def memory() -> int | None:
    """Bytes that this process may take in all; None where that is not known."""
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
