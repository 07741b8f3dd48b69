"""Loss functions in JAX from a model of Keras 3, and weights written back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from .._named_arrays import require_names, require_shape
from ._package import keras

Arrays = Mapping[str, jax.Array]


def parameters(model: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """The trainable and the other variables of a model, by their paths.

    The other variables are running statistics, the seeds of dropout, and what is frozen
    by `trainable = False`.

    Args:
      model: a `keras.Model` that is built.

    Returns:
      Parameters and state, each a dictionary of arrays.

    Raises:
      ValueError: if the model is not built, nothing is trainable, or two variables have
        the same path.

    Example:
      >>> import os; os.environ["KERAS_BACKEND"] = "jax"
      >>> import keras
      >>> from apical.interop import keras as interop
      >>> layers = [keras.Input((4,)), keras.layers.Dense(3, name="a")]
      >>> model = keras.Sequential(layers, name="net")
      >>> params, state = interop.parameters(model)
      >>> sorted(params), state
      (['net/a/bias', 'net/a/kernel'], {})
    """
    _check_model(model)
    if not model.trainable_variables:
        raise ValueError(f"the model {model.name} has no trainable variable.")
    return (
        _values(model.trainable_variables),
        _values(model.non_trainable_variables),
    )


def loss_function(
    model: Any, loss: Callable[[Any, Any], Any], *, training: bool = True
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
    """A loss function in JAX from a model of Keras.

        loss_fn(params, state, x, y) = loss(y, model(x)) + added losses, new state

    where `model.stateless_call` is given `params` and `state`. Added losses are those
    of regularisers and of `add_loss`.

    Args:
      model: a `keras.Model` that is built: functional, sequential or a subclass.
      loss: `loss(y, y_pred)` returns the mean loss over the examples: a loss of Keras,
        or a function in JAX.
      training: whether batch norm uses the batch and dropout is on.

    Returns:
      The function, for `apical.value_and_grad(..., has_aux=True, batch_axes=(None, 0,
      0))`.

    Raises:
      ValueError: as for `parameters`; by the function, where the names of `params` or
        `state` are not those of the model, or the loss is not one number.

    Example:
      >>> import os; os.environ["KERAS_BACKEND"] = "jax"
      >>> import apical, jax, keras
      >>> import jax.numpy as jnp
      >>> from apical.interop import keras as interop
      >>> layers = [keras.layers.Dense(3, "tanh", name="a"), keras.layers.Dense(2)]
      >>> model = keras.Sequential([keras.Input((4,)), *layers], name="net")
      >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
      >>> loss_fn = interop.loss_function(model, loss)
      >>> params, state = interop.parameters(model)
      >>> learner = apical.value_and_grad(
      ...     loss_fn, apical.rules.FeedbackAlignment(), has_aux=True,
      ...     batch_axes=(None, 0, 0))
      >>> args = state, jnp.ones((8, 4)), jnp.zeros(8, int)
      >>> rule_state = learner.init(jax.random.key(1), params, *args)
      >>> learner(params, rule_state, *args).grads["net/a/kernel"].shape
      (4, 3)

    Source: `stateless_call` is that of Keras 3.
    """
    _check_model(model)

    def loss_fn(
        params: Arrays, state: Arrays, x: Any, y: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        y_pred, others, added = model.stateless_call(
            ordered(model.trainable_variables, params, "params"),
            ordered(model.non_trainable_variables, state, "state"),
            x,
            return_losses=True,
            **call_keywords(model, training),
        )
        value = loss(y, y_pred)
        if getattr(value, "shape", None) != ():
            raise ValueError(
                f"loss(y, y_pred) returned {getattr(value, 'shape', value)!r}; it must "
                "return the mean loss over the examples, one number."
            )
        return value + sum(added), named(model.non_trainable_variables, others)

    return loss_fn


def write_back(model: Any, params: Arrays, state: Arrays | None = None) -> None:
    """Write trained parameters, and other variables, into the model.

    Args:
      model: the model that they came from.
      params: all trainable variables, by path.
      state: all other variables; None leaves them as they are.

    Raises:
      ValueError: if a name is missing or unknown, or a shape differs; then nothing is
        written.

    Example:
      >>> import os; os.environ["KERAS_BACKEND"] = "jax"
      >>> import jax, keras
      >>> from apical.interop import keras as interop
      >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
      >>> params, state = interop.parameters(model)
      >>> interop.write_back(model, jax.tree.map(lambda w: 0 * w, params), state)
      >>> float(abs(model.weights[0].value).sum())
      0.0
    """
    _check_model(model)
    variables = list(model.trainable_variables)
    values = ordered(variables, params, "params")
    if state is not None:
        variables += model.non_trainable_variables
        values += ordered(model.non_trainable_variables, state, "state")
    for variable, value in zip(variables, values, strict=True):
        require_shape(variable.path, variable, value, "model")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def ordered(variables: Iterable[Any], given: Arrays, what: str) -> list[jax.Array]:
    """The given arrays in the order of the variables, or an error that names them."""
    paths = [variable.path for variable in variables]
    require_names(paths, given, what, "model")
    return [given[path] for path in paths]


def named(variables: Iterable[Any], values: Iterable[Any]) -> dict[str, Any]:
    """The values of variables, by their paths."""
    return {v.path: a for v, a in zip(variables, values, strict=True)}


def call_keywords(model: Any, training: bool) -> dict[str, bool]:
    """`training=` where the model's `call` takes it, as Keras passes it."""
    names = inspect.signature(model.call).parameters
    takes = "training" in names or any(
        each.kind is inspect.Parameter.VAR_KEYWORD for each in names.values()
    )
    return {"training": training} if takes else {}


def _values(variables: Iterable[Any]) -> dict[str, jax.Array]:
    found: dict[str, jax.Array] = {}
    for variable in variables:
        if variable.path in found:
            raise ValueError(
                f"two variables have the path {variable.path}: give layers and "
                "variables names of their own."
            )
        # A copy: Keras may give the memory of the variable away in `fit`.
        found[variable.path] = jax.numpy.array(variable.value)
    return found


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"model is a {type(model).__name__}; it must be a keras.Model.")
    if not model.built:
        raise ValueError(
            f"the model {model.name} is not built, so it has no variables yet: call it "
            "once on a batch."
        )
