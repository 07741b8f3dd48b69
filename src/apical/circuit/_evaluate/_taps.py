"""Taps: functions that replace the values that consumers of a node read.

A tap is called at every site of a circuit as `tap(site, computed, injected)`. It
returns the value that the consumers of the site read in place of the computed one;
`injected` is the caller's value for the site, or None. The built-in taps:

| tap      | consumers read        | derivative                                  |
|----------|-----------------------|---------------------------------------------|
| `clamp`  | `injected`            | none through the site                       |
| `offset` | `computed + injected` | through the site: the total cotangent       |
| `stop`   | `computed`            | none through the site                       |
| `hold`   | `computed + injected` | that of `clamp`, in a single evaluation     |

Sites without an injected value are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

Tap = Callable[[str, Any, Any], Any]


def clamp(site: str, computed: Any, injected: Any) -> Any:
    """Consumers read the injected value; derivatives stop here."""
    del site
    return computed if injected is None else injected


def offset(site: str, computed: Any, injected: Any) -> Any:
    """Consumers read the computed value plus an offset; derivatives pass through."""
    del site
    return computed if injected is None else computed + injected


def stop(site: str, computed: Any, injected: Any) -> Any:
    """Consumers read the computed value; derivatives stop here."""
    del site, injected
    return jax.lax.stop_gradient(computed)


def hold(site: str, computed: Any, injected: Any) -> Any:
    """Clamp to the computed value plus an offset, in the same evaluation."""
    del site
    return computed if injected is None else jax.lax.stop_gradient(computed) + injected


TAPS: dict[str, Tap] = {"clamp": clamp, "offset": offset, "stop": stop, "hold": hold}


def find_tap(tap: str | Tap | None) -> Tap | None:
    """The tap of this name, or the function that was given."""
    if isinstance(tap, str) and tap in TAPS:
        return TAPS[tap]
    if tap is not None and not callable(tap):
        raise ValueError(
            f"`tap` must be one of {sorted(TAPS)} or a function, not {tap!r}."
        )
    return tap
