"""Models by name: those that come with the lab, and anyone's factory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from apical.lab._errors import LabError, find_attribute, known
from apical.lab.data._dataset import Data
from apical.lab.models import _cnn, _lenet, _lstm, _mlp, _resnet, _rnn, _transformer
from apical.lab.models._layout import layout_said
from apical.lab.models._model import Model

# ---- Whether a model that was built is one that can be trained on this data.

_TRIED = 2  # examples


def check_model(
    model: Any, statistics: Any, data: Data, name: str = "the model"
) -> None:
    """Run a model on two examples, without computing, and refuse what does not fit.

    Args:
        model: the model.
        statistics: its running statistics; None if it has none.
        data: what it is to be trained on.
        name: the model's name, for messages.

    Raises:
        LabError: there is nothing to learn in the model, it fails when it is called,
            its logits are of a wrong shape, or its statistics change their form.
    """
    if not any(_learned(leaf) for leaf in jax.tree.leaves(model)):
        raise LabError(
            f"{name} has no floating-point array to learn: its factory returned "
            f"{_told(model)}. A model is a pytree; of a function and parameters make "
            "jax.tree_util.Partial(function, parameters)"
        )
    for training in (True,) if statistics is None else (True, False):
        logits, new = _called(name, model, statistics, data, training)
        _check_logits(name, logits, data)
        _check_statistics(name, statistics, new)


def _called(
    name: str, model: Any, statistics: Any, data: Data, training: bool
) -> tuple[Any, Any]:
    x = jax.ShapeDtypeStruct((_TRIED, *data.shape), data.train_x.dtype)

    def call(x: jax.Array) -> Any:
        return model(x) if statistics is None else model(x, statistics, training)

    called = "model(x)" if statistics is None else f"model(x, statistics, {training})"
    try:
        result = jax.eval_shape(call, x)
    except Exception as error:
        raise LabError(
            f"{name} failed when called as {called} with x of the shape {x.shape} and "
            f"type {x.dtype}: {type(error).__name__}: {error}. "
            f"{layout_said(data)}"
        ) from error
    if statistics is None:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise LabError(
            f"{name} was built with statistics, so {called} must return the logits and "
            f"the new statistics, but it returned {_told(result)}"
        )
    return result


def _check_logits(name: str, logits: Any, data: Data) -> None:
    time = data.shape if data.kind == "characters" else ()
    wanted = (_TRIED, *time, data.classes)
    found = getattr(logits, "shape", None)
    if found != wanted:
        last = "outputs" if data.has_numbers else "classes"
        axes = f"(examples, {'time, ' if time else ''}{last})"
        raise LabError(
            f"{name} gives {_told(logits) if found is None else found} for {_TRIED} "
            f"examples of {data.name}; its outputs must have the shape {wanted}, {axes}"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise LabError(
            f"{name} gives outputs of the type {logits.dtype}; they must be "
            "floating-point numbers"
        )


def _check_statistics(name: str, old: Any, new: Any) -> None:
    before, after = _forms(old), _forms(new)
    if before != after:
        raise LabError(
            f"{name} must return statistics of the form that it was given, "
            f"{before[0]} with {before[1]}, but returned {after[0]} with {after[1]}"
        )


def _forms(tree: Any) -> tuple[Any, list[str]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [f"{jnp.result_type(x)} {jnp.shape(x)}" for x in leaves]


def _learned(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", int), jnp.floating)


def _told(value: Any) -> str:
    return f"a {type(value).__name__}"


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
