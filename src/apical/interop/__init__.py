"""Exchange of networks with other libraries, each by its own module and extra."""

import typing
from importlib import import_module

_LATER = ("keras", "nir", "rsa", "torch")


def __getattr__(name: str) -> typing.Any:
    if name in _LATER:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
