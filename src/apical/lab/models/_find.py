"""Models by name: those that come with the lab, and anyone's factory."""

from collections.abc import Callable
from typing import Any

from apical.lab._errors import LabError, known
from apical.lab._modules import find_attribute
from apical.lab.models import _cnn, _lenet, _lstm, _mlp, _resnet, _rnn, _transformer
from apical.lab.models._model import Model

MODELS: dict[str, Model] = {
    "mlp": _mlp.MODEL,
    "mlp-tanh": _mlp.TANH,
    "cnn": _cnn.MODEL,
    "lenet": _lenet.MODEL,
    "resnet": _resnet.MODEL,
    "rnn": _rnn.MODEL,
    "lstm": _lstm.MODEL,
    "transformer": _transformer.MODEL,
}


def find_model(name: str, kind: str) -> Model:
    """The model with this name.

    Args:
        name: one of `MODELS`, or `module:factory`, where the module can be imported
            from the current folder too and `factory(key, shape of one x, classes)`
            returns a model, or a model and its running statistics.
        kind: of the data that it is to read.

    Returns:
        The model.

    Raises:
        LabError: there is no such model, or it does not read this kind of data.

    Example:
        >>> find_model("mlp", "pictures").reads
        ('pictures', 'vectors')
    """
    name = name.strip()
    if ":" in name:
        return own_model(_factory(name), kind)
    known("model", [name], MODELS)
    model = MODELS[name]
    if kind not in model.reads:
        others = [other for other, found in MODELS.items() if kind in found.reads]
        raise LabError(
            f"--model {name} reads {' and '.join(model.reads)}, not {kind}. These read "
            f"{kind}: {', '.join(others)}"
        )
    return model


def own_model(build: Callable[..., Any], kind: str) -> Model:
    """A model of the user's own.

    Args:
        build: `build(key, shape of one x, classes)` makes it.
        kind: of the data that it is to read.
    """
    # Whether it convolves is not known before it is run, so on pictures it is taken to.
    return Model(build, (kind,), steps_per_call=1, convolves=kind == "pictures")


def _factory(name: str) -> Callable[..., Any]:
    found = find_attribute(name, "--model")
    if not callable(found):
        raise LabError(
            f"--model {name} is of the type {type(found).__name__}, not a function of "
            "(key, shape, classes)"
        )
    return found
