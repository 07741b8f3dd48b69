"""Models by name, and checks of models that the user defines."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from apical.lab._errors import LabError, find_attribute, resolve_names
from apical.lab.data._dataset import Data
from apical.lab.models._cnn import MODEL as CNN
from apical.lab.models._gru import MODEL as GRU
from apical.lab.models._layout import layout_note
from apical.lab.models._lenet import MODEL as LENET
from apical.lab.models._lstm import MODEL as LSTM
from apical.lab.models._mlp import MODEL as MLP
from apical.lab.models._mlp import TANH as MLP_TANH
from apical.lab.models._model import Model
from apical.lab.models._resnet import MODEL as RESNET
from apical.lab.models._rnn import MODEL as RNN
from apical.lab.models._spiking import ALIF, LIF
from apical.lab.models._transformer import MODEL as TRANSFORMER

# ---- Checks of a model

_TRIED = 2  # examples


def check_model(
    model: Any, statistics: Any, data: Data, name: str = "the model"
) -> None:
    """Evaluate the shapes of a model on two examples, and refuse what does not fit.

    Args:
        model: the model.
        statistics: its running statistics, or None.
        data: the data set.
        name: the model's name, for messages.

    Raises:
        LabError: if the model has no parameters, fails when it is called, returns
            outputs of another shape, or changes the structure of its statistics.
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
            f"{layout_note(data)}"
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
    time = data.shape[:1] if data.kind in ("characters", "sequences") else ()
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


# ---- The models by name

MODELS: dict[str, Model] = {
    "mlp": MLP,
    "mlp-tanh": MLP_TANH,
    "cnn": CNN,
    "lenet": LENET,
    "resnet": RESNET,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "lif": LIF,
    "alif": ALIF,
    "transformer": TRANSFORMER,
}


def find_model(name: str, kind: str) -> Model:
    """The model with this name.

    Args:
        name: one of `MODELS`, or `module:factory`, where the module can be imported
            from the current folder too and `factory(key, shape of one x, classes)`
            returns a model, or a model and its running statistics.
        kind: the kind of data that it reads.

    Returns:
        The model.

    Raises:
        LabError: for an unknown model, or one that does not read this kind of data.

    Example:
        >>> find_model("mlp", "pictures").reads
        ('pictures', 'vectors')
    """
    name = name.strip()
    if ":" in name:
        return own_model(_factory(name), kind)
    resolve_names("model", [name], MODELS)
    model = MODELS[name]
    if kind not in model.reads:
        others = [other for other, found in MODELS.items() if kind in found.reads]
        rows = kind == "pictures" and "sequences" in model.reads
        hint = ". The rows of pictures are sequences: --data digits-rows, for example"
        raise LabError(
            f"--model {name} reads {' and '.join(model.reads)}, not {kind}. These read "
            f"{kind}: {', '.join(others)}{hint if rows else ''}"
        )
    return model


def own_model(build: Callable[..., Any], kind: str) -> Model:
    """A model defined by the user.

    Args:
        build: `build(key, shape of one x, classes)` makes it.
        kind: the kind of data that it reads.
    """
    # Whether it convolves is not known before it runs: on images, assume that it does.
    return Model(build, (kind,), steps_per_call=1, convolves=kind == "pictures")


def _factory(name: str) -> Callable[..., Any]:
    found = find_attribute(name, "--model")
    if not callable(found):
        raise LabError(
            f"--model {name} is of the type {type(found).__name__}, not a function of "
            "(key, shape, classes)"
        )
    return found
