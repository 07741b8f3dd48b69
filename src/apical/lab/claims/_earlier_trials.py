"""What the trials of records drew that were made before trials were kept.

A sweep drew step sizes on a logarithmic scale, the same for every rule, from the points
of one sequence in (0, 1) and between the ends of a span by optimiser. The chosen one is
in the records; the lowest and the highest that were drawn follow from these numbers.
"""

_POINTS = {  # the lowest and the highest point, by the number of trials
    6: (0.08222483568602834, 0.9572248356860283),
    8: (0.08222483568602834, 0.9572248356860283),
    16: (0.01972483568602834, 0.9572248356860283),
}
_SPANS = {  # of step sizes, by the name of the optimiser
    "adam": (1e-4, 9e-2),
    "momentum": (0.05 / 30, 0.05 * 30),
    "batch_manhattan": (1e-3 / 30, 1e-3 * 30),
}


def ends(optimizer: str, trials: int) -> tuple[float, float]:
    """The lowest and the highest step size of so many trials.

    Example:
        >>> [round(rate, 5) for rate in ends("adam", 16)]
        [0.00011, 0.06728]
    """
    low, high = _SPANS[optimizer.partition("(")[0]]
    first, last = _POINTS[trials]
    return low * (high / low) ** first, low * (high / low) ** last
