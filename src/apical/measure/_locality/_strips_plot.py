"""A picture of needs: a strip for each rule, a square for each need, and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...rules._base import NEEDS
from ...spiking._axes import current_axes
from .._cost import Cost
from ._result import Locality

_SIZE = 0.8  # of a square
# The columns of costs, as ratios to backpropagation: title and field.
_COSTS = (("time", "seconds"), ("memory", "memory_bytes"), ("depth", "depth"))
_WIDTH = 2.0  # of a column of costs, in squares


def plot_needs(
    found: Sequence[Locality],
    *,
    labels: Sequence[str] | None = None,
    costs: Sequence[Cost] | None = None,
    colors: tuple[str, str] = ("tab:blue", "tab:red"),
    ax: Any = None,
) -> Any:
    """Draw what each rule needs: a strip per rule, a square per need.

    A full square is a need that was measured, an empty one a need that was excluded. A
    dot is a need that is declared and was not decided. A frame in the second colour
    marks a difference between declaration and measurement. Beside a strip there are the
    rule's time, memory and sequential depth, divided by those of backpropagation.

    Args:
      found: the result of `locality` for each rule, the first on top.
      labels: the name of each strip; by default that of the rule.
      costs: what `cost` measured of each rule; None: no costs.
      colors: the colour of needs, and that of differences.
      ax: matplotlib axes; None: the current ones of `matplotlib.pyplot`.

    Returns:
      The axes.

    Raises:
      ImportError: where matplotlib is not installed (it is in `apical[lab]`).
      ValueError: for no result, and for another number of labels or costs.

    Example:
      >>> import jax.numpy as jnp, apical
      >>> from matplotlib.figure import Figure
      >>> loss_fn = lambda w, x: jnp.mean((x @ w) ** 2)
      >>> learner = apical.value_and_grad(loss_fn, apical.rules.Backpropagation())
      >>> w, x = jnp.ones((2, 1)), jnp.ones((3, 2))
      >>> found = apical.measure.locality(learner, w, (), x)
      >>> ax = apical.measure.plot_needs([found], ax=Figure().subplots())
      >>> [text.get_text() for text in ax.get_yticklabels()]
      ['Backpropagation']
    """
    names = [each.rule for each in found] if labels is None else list(labels)
    if not names:
        raise ValueError("`found` must hold the result of at least one rule.")
    if len(names) != len(found):
        raise ValueError(
            f"`labels` must have one name for each of the {len(found)} rules, not "
            f"{len(names)}."
        )
    if costs is not None and len(costs) != len(found):
        raise ValueError(
            f"`costs` must have the cost of each of the {len(found)} rules, not "
            f"{len(costs)}."
        )
    axes = current_axes("apical.measure.plot_needs") if ax is None else ax
    for y, each in enumerate(found):
        different = {m.need for m in each.mismatches}
        for x, need in enumerate(NEEDS):
            _draw(axes, x, y, each, need, colors, need in different)
    ticks = dict(enumerate(NEEDS)) | (_draw_costs(axes, costs) if costs else {})
    axes.set_xlim(-0.5, max(ticks) + (_WIDTH / 2 if costs else 0.5))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=45, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _draw_costs(axes: Any, costs: Sequence[Cost]) -> dict[float, str]:
    """Write the costs beside the strips; the titles of their columns by position."""
    titles: dict[float, str] = {}
    for column, (title, name) in enumerate(_COSTS):
        x = len(NEEDS) + _WIDTH * (column + 0.25)
        titles[x] = title
        for y, each in enumerate(costs):
            ratio = getattr(each.ratio, name)
            said = "?" if ratio is None else f"{ratio:.1f}"
            axes.text(x, y, said, ha="center", va="center", fontsize="small")
    return titles


def _draw(
    axes: Any,
    x: int,
    y: int,
    each: Locality,
    need: str,
    colors: tuple[str, str],
    different: bool,
) -> None:
    from matplotlib.patches import Circle, Rectangle

    corner = (x - _SIZE / 2, y - _SIZE / 2)
    if need in each.measured:
        axes.add_patch(
            Rectangle(
                corner,
                _SIZE,
                _SIZE,
                facecolor=colors[0] if each.measured[need] else "none",
                edgecolor=colors[1] if different else "0.7",
                linewidth=2.5 if different else 0.8,
            )
        )
    elif need in each.declared:
        axes.add_patch(Circle((x, y), _SIZE / 6, color="0.5"))
