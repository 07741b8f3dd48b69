"""Feedback weights of frozen networks: `frozen_feedback=`.

    delta = (phi_frozen delta_above) * rho'(z),      phi in place of W_frozen^T

A frozen network is an argument that all examples share, or what the loss function
closes over. Its weights stand beside the parameters, in a circuit with the same nodes.
"""

from __future__ import annotations

from typing import Any

from ...circuit import (
    CONSTANTS,
    Circuit,
    WithFrozen,
    beside_params,
    frozen_paths,
    with_frozen,
)

# Which frozen networks have feedback weights.
FrozenFeedback = bool | tuple[int | str, ...] | None


def check_frozen_feedback(given: Any) -> None:
    """Raise unless this is True, False, None, or a tuple of places, each once."""
    if given is not None and not isinstance(given, bool) and not _are_places(given):
        raise ValueError(
            "`frozen_feedback` must be True, False, None, or a tuple of the positions "
            "of arguments after `params`, as `(0,)` for the first of them, and of "
            f"'constants' for what the loss function closes over, not {given!r}."
        )


def names_frozen(given: FrozenFeedback) -> bool:
    """Whether true weights of a frozen network in the backward path are named."""
    return given is None or given is True


def widened(
    circuit: Circuit, params: Any, args: Any, given: FrozenFeedback
) -> tuple[Circuit, Any]:
    """The circuit and parameters, with the frozen weights that have feedback.

    Args:
      circuit: of the loss function.
      params: the parameters.
      args: the arguments after them.
      given: `frozen_feedback`.

    Returns:
      A circuit of the same nodes and `WithFrozen(params, frozen)`; or what was given.
    """
    if given is None or given is False:
        return circuit, params
    paths = frozen_paths(circuit, None if given is True else given)
    if not paths:
        return circuit, params
    whole = with_frozen(circuit, params, args, paths)
    return whole, beside_params(circuit, params, args, paths)


def of_params(tree: Any) -> Any:
    """The part of a tree that belongs to the parameters."""
    return tree.params if isinstance(tree, WithFrozen) else tree


def _are_places(given: Any) -> bool:
    return (
        isinstance(given, tuple)
        and 0 < len(given) == len(set(given))
        and all(
            each == CONSTANTS
            if isinstance(each, str)
            else isinstance(each, int) and not isinstance(each, bool) and each >= 0
            for each in given
        )
    )
