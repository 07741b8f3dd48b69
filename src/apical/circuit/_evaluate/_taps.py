"""Taps: what the consumers of a node read in place of what was computed.

A tap is called at every site of a circuit as `tap(site, computed, injected)`. It
returns what the consumers of that site read in place of what was computed there;
`injected` is the caller's value for the site, or None. The built-in taps:

| tap      | consumers read        | derivative                                  |
|----------|-----------------------|---------------------------------------------|
| `clamp`  | `injected`            | no chain crosses the site                   |
| `offset` | `computed + injected` | chains cross: the whole cotangent           |
| `stop`   | `computed`            | no chain crosses the site                   |
| `hold`   | `computed + injected` | that of `clamp`, in the same one evaluation |

Where nothing is injected, a site is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

Tap = Callable[[str, Any, Any], Any]


def clamp(site: str, computed: Any, injected: Any) -> Any:
    """Consumers read the injected value; the chain of derivatives ends here."""
    del site
    return computed if injected is None else injected


def offset(site: str, computed: Any, injected: Any) -> Any:
    """Consumers read the computed value plus an error, and the chain goes on."""
    del site
    return computed if injected is None else computed + injected


def stop(site: str, computed: Any, injected: Any) -> Any:
    """Consumers read the computed value; the chain of derivatives ends here."""
    del site, injected
    return jax.lax.stop_gradient(computed)


def hold(site: str, computed: Any, injected: Any) -> Any:
    """Clamp to the computed value plus an error, in the same evaluation."""
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
