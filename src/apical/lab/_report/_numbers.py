"""Numbers as they stand in the page: what is not known is a dash, never "nan"."""

import math

from apical.lab._summary import Interval

UNKNOWN = "–"


def percent(value: Interval) -> str:
    """A share in percent, with its interval where there is one.

    Example:
        >>> percent(Interval(0.9718, 0.004)), percent(Interval(0.97, math.nan))
        ('97.2 ± 0.4', '97.0')
    """
    mean, half = (100 * part for part in value)
    if math.isnan(mean):
        return UNKNOWN
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def points(value: Interval) -> str:
    """A difference in percentage points, always with its sign.

    Example:
        >>> points(Interval(-0.011, 0.003)), points(Interval(0.0, 0.0))
        ('−1.1 ± 0.3', '0.0 ± 0.0')
    """
    mean, half = (100 * part for part in value)
    if math.isnan(mean):
        return UNKNOWN
    sign = "−" if round(mean, 1) < 0 else "+" if round(mean, 1) > 0 else ""
    signed = f"{sign}{abs(mean):.1f}"
    return signed if math.isnan(half) else f"{signed} ± {half:.1f}"


def cosine(value: float) -> str:
    """An alignment, to two decimals.

    Example:
        >>> cosine(-0.004), cosine(-0.25)
        ('0.00', '−0.25')
    """
    return UNKNOWN if math.isnan(value) else f"{value:z.2f}".replace("-", "−")


def ratio(value: float) -> str:
    """A ratio to backpropagation, to about three figures.

    Example:
        >>> ratio(1.0376), ratio(11.657), ratio(211.6), ratio(math.nan)
        ('1.04', '11.7', '212', '–')
    """
    if math.isnan(value):
        return UNKNOWN
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def plain(value: float) -> str:
    """A hyper-parameter, to three figures."""
    return UNKNOWN if math.isnan(value) else f"{value:.3g}".replace("-", "−")


def counted(number: int, word: str) -> str:
    """A number and its word, in the plural where it is not one."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
