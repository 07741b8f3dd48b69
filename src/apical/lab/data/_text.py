"""Text as windows of characters, with the next characters as labels.

    x[i] = text[64 i : 64 i + 64]        y[i] = text[64 i + 1 : 64 i + 65]

The first nine tenths of the text are for training, the rest for testing; no window
overlaps both.
"""

from pathlib import Path

import numpy as np

from apical.lab._errors import LabError
from apical.lab.data._dataset import Data
from apical.lab.data._size_limits import require_memory

WINDOW = 64
_COPIES = 32  # bytes per character while the text is encoded
_NOTE = (
    f"windows of {WINDOW} characters; the first 90 % of the text train, the rest "
    "tests; accuracy is that of the next character"
)


def read_text(path: Path, name: str) -> Data:
    """Read a text in UTF-8; its alphabet is the set of characters in it.

    Args:
        path: the file.
        name: the name of the data set.

    Returns:
        Characters `(windows, 64)`, numbered in the order of Unicode.

    Raises:
        LabError: if the file is not UTF-8, or too short.
    """
    try:
        require_memory(path, path.stat().st_size, _COPIES)
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise LabError(
            f"{path} is not a text in UTF-8: byte {error.start:,} is "
            f"{error.object[error.start]:#04x}. Save it as UTF-8; arrays go into an "
            ".npz file"
        ) from error
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}") from error
    return windows(text, name, str(path))


def windows(text: str, name: str, source: str) -> Data:
    """Cut a text into windows.

    Args:
        text: at least 641 characters, so that the last tenth fills a window.
        name: the name of the data set.
        source: the origin of the text, for messages.

    Returns:
        The windows, as characters.

    Raises:
        LabError: if the text is too short.

    Example:
        >>> data = windows("to be or not to be, " * 40, "hamlet", "act three")
        >>> data.train_x.shape, data.test_x.shape, data.classes
        ((11, 64), (1, 64), 8)
    """
    # The last tenth, rounded up, must hold a window and the character after it.
    needed = 10 * WINDOW + 1
    if len(text) < needed:
        raise LabError(
            f"{source} is too short: it has {len(text):,} characters and needs "
            f"{needed:,}, so that its last tenth fills a window of {WINDOW}"
        )
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    alphabet, symbols = np.unique(codes, return_inverse=True)
    cut = len(symbols) * 9 // 10
    parts = [_cut(part.astype(np.int32)) for part in (symbols[:cut], symbols[cut:])]
    return Data(name, "characters", *parts[0], *parts[1], len(alphabet), _NOTE)


def _cut(symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    number = (len(symbols) - 1) // WINDOW
    end = number * WINDOW
    x, y = symbols[:end], symbols[1 : end + 1]
    return x.reshape(number, WINDOW), y.reshape(number, WINDOW)
