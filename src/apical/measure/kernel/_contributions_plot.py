"""Plots of contributions: the training examples that pulled one prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...spiking._axes import current_axes

_SIZE = 16.0  # points, of the larger side of an image


def plot_contributions(
    change: Any,
    *,
    count: int = 8,
    labels: Sequence[Any] | None = None,
    images: Any = None,
    colors: tuple[str, str] = ("tab:blue", "tab:red"),
    ax: Any = None,
) -> Any:
    """Draw the training examples that changed one prediction most, with their weights.

    A bar for each of them, the largest on top; the last bar is the sum of all others,
    so the bars add up to the change of the prediction.

    Args:
      change: the contributions to one prediction, `[examples]`: `found.change[3]`, or
        `found.change[3, 0]` for one of its outputs.
      count: the number of examples drawn.
      labels: the name of every example (its class), beside its index.
      images: every example as an image, `[examples, height, width]` or with colours in
        a last axis.
      colors: the colour of bars that raised the prediction, and of those that
        lowered it.
      ax: matplotlib axes; None: the current ones of `matplotlib.pyplot`.

    Returns:
      The axes.

    Raises:
      ImportError: where matplotlib is not installed (it is in `apical[lab]`).
      ValueError: for contributions that are not one number for each example, and for
        another number of labels or images.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from matplotlib.figure import Figure
      >>> change = jnp.array([0.5, -2.0, 0.25, 1.0])
      >>> axes = Figure().subplots()
      >>> ax = apical.measure.plot_contributions(change, count=2, ax=axes)
      >>> [text.get_text() for text in ax.get_yticklabels()]
      ['1', '3', '2 others']
      >>> [float(bar.get_width()) for bar in ax.patches]
      [-2.0, 1.0, 0.75]
    """
    pulled = _checked(change, count, labels, images)
    order = np.argsort(-np.abs(pulled), kind="stable")
    first, others = order[:count], order[count:]
    widths, names = list(pulled[first]), [str(i) for i in first]
    if labels is not None:
        names = [f"{i}: {labels[i]}" for i in first]
    if len(others):
        widths.append(pulled[others].sum())
        names.append("1 other" if len(others) == 1 else f"{len(others)} others")
    axes = current_axes("apical.measure.plot_contributions") if ax is None else ax
    rows = np.arange(len(widths))
    shades = [colors[0] if width >= 0 else colors[1] for width in widths]
    axes.barh(rows, widths, color=shades, height=0.7)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_xlabel("contribution to the change of the prediction")
    axes.set_ylabel("training example")
    if images is not None:
        axes.tick_params(axis="y", pad=_SIZE + 6)
        for row, example in enumerate(first):
            _place(axes, np.asarray(images[example]), row)
    return axes


def _checked(
    change: Any, count: int, labels: Sequence[Any] | None, images: Any
) -> np.ndarray:
    pulled = np.asarray(change)
    if pulled.ndim != 1 or not pulled.size or not np.isfinite(pulled).all():
        raise ValueError(
            "`change` must be the contributions to one prediction, a finite number for "
            f"each training example, as in `found.change[3]`, not "
            f"{pulled.dtype}{list(pulled.shape)}."
        )
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"`count` must be a whole number above 0, not {count!r}.")
    for name, given in (("labels", labels), ("images", images)):
        if given is not None and len(given) != len(pulled):
            raise ValueError(
                f"`{name}` must have one entry for each of the {len(pulled)} examples, "
                f"not {len(given)}."
            )
    return pulled


def _place(axes: Any, image: np.ndarray, row: int) -> None:
    """Draw an image at the left end of a row."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    drawn = OffsetImage(image, zoom=_SIZE / max(image.shape[:2]), cmap="gray_r")
    where = {"xycoords": axes.get_yaxis_transform(), "box_alignment": (1.1, 0.5)}
    axes.add_artist(AnnotationBbox(drawn, (0, row), frameon=False, pad=0, **where))
