"""The current axes of matplotlib, or the message that says how to get it."""

from typing import Any


def current_axes(function: str) -> Any:
    """`matplotlib.pyplot.gca()`, for a function that draws where no axes are given.

    Args:
      function: its public name, for the message.

    Raises:
      ImportError: without matplotlib.
    """
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"`{function}` needs matplotlib: pip install 'apical[lab]'"
        ) from missing
    return pyplot.gca()
