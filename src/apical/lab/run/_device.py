"""The device that a comparison runs on."""

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax

from apical.lab._errors import LabError


def on_device(name: str | None) -> AbstractContextManager[Any]:
    """A context in which arrays are made, and functions compiled, for this device.

    Args:
        name: `"cpu"`, `"gpu"`, `"tpu"`, or one of several: `"gpu:1"`. None: the default
            device of JAX.

    Raises:
        LabError: for a device that is not there.
    """
    return nullcontext() if name is None else jax.default_device(_find(name))


def current_device() -> Any:
    """The device on which a new array is made."""
    chosen = jax.config.jax_default_device
    if isinstance(chosen, str):
        return jax.devices(chosen)[0]
    return jax.devices()[0] if chosen is None else chosen


def _find(name: str) -> Any:
    found = re.fullmatch(r"([a-z]+)(?::(\d+))?", name)
    if found is None:
        raise LabError(
            f"--device {name}: give a platform, as cpu or gpu, or one of its devices, "
            "as gpu:1"
        )
    platform, number = found[1], int(found[2] or 0)
    try:
        devices = jax.local_devices(backend=platform)
    except RuntimeError as error:
        raise LabError(
            f"--device {name}: JAX has no {platform} here, only {_there()}. For a GPU "
            "install the extra of JAX for it, as jax[cuda13]"
        ) from error
    if number >= len(devices):
        raise LabError(
            f"--device {name}: there is {platform}:0"
            + (f" to {platform}:{len(devices) - 1}" if len(devices) > 1 else " alone")
        )
    return devices[number]


def _there() -> str:
    platforms = {device.platform for device in [*jax.devices(), *jax.devices("cpu")]}
    return " and ".join(sorted(platforms))
