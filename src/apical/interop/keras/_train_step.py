"""A `train_step` with which `model.fit` learns by a rule.

    teaching signals -> gradients by the rule -> the model's own optimiser

What the rule carries from step to step (feedback weights, keys) lies among the
variables of the optimiser: `fit` hands those from step to step, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import apical

from ._functional import named, ordered, parameters
from ._package import keras


def train_step(
    model: Any, rule: Any, x: Any, y: Any, *, key: jax.Array, **settings: Any
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The function to set as `model.train_step`: `model.fit` then learns by the rule.

    Callbacks, metrics, regularisers, the learning rate and `evaluate` work as with
    gradients. The loss is that of `model.compile`.

    Args:
      model: a `keras.Model` that is built and compiled.
      rule: a rule of `apical.rules`.
      x: the inputs of a batch as `fit` will give it, from which the rule is
        initialised. Some rules keep values per example: then every batch must be as
        large as this.
      y: its targets.
      key: of the rule's random numbers.
      **settings: of `apical.value_and_grad`: `target`, `nodes`, `input_argnums`, ...
        about a loss function of `(params, state, x, y)`.

    Returns:
      The function `(state, data) -> (logs, state)`, in the form that Keras documents
      for its JAX backend.

    Raises:
      ValueError: if the model is not built or not compiled, or scales its loss (mixed
        precision); if the rule moves its state together with the parameters; by the
        function, where `fit` is given weights of samples or classes.

    Example:
      >>> import os; os.environ["KERAS_BACKEND"] = "jax"
      >>> import apical, jax, keras
      >>> import numpy as np
      >>> from apical.interop import keras as interop
      >>> layers = [keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)]
      >>> model = keras.Sequential([keras.Input((4,)), *layers])
      >>> model.compile("sgd", "mse")
      >>> x, y = np.ones((16, 4), "float32"), np.ones((16, 1), "float32")
      >>> model.train_step = interop.train_step(
      ...     model, apical.rules.FeedbackAlignment(), x[:8], y[:8],
      ...     key=jax.random.key(0))
      >>> history = model.fit(x, y, batch_size=8, epochs=3, verbose=0)
      >>> losses = history.history["loss"]
      >>> losses[2] < losses[0]
      True
    """
    if rule.coupled:
        raise ValueError(
            f"{type(rule).__name__} moves its state together with the parameters, by "
            "the same update, which an optimiser of Keras cannot do: train with "
            "`loss_function` and `apical.train_step`."
        )
    params, state = parameters(model)
    optimizer = _checked_optimizer(model)
    optimizer.build(model.trainable_variables)

    def loss_fn(params: Any, state: Any, x: Any, y: Any) -> tuple[jax.Array, Any]:
        value, (_, y_pred, others, metrics) = model.compute_loss_and_updates(
            ordered(model.trainable_variables, params, "params"),
            ordered(model.non_trainable_variables, state["others"], "state"),
            state["metrics"],
            x,
            y,
            None,
            training=True,
            optimizer_variables=state["optimizer"],
        )
        return value, (y_pred, others, metrics)

    described = {"has_aux": True, "batch_axes": (None, 0, 0), **settings}
    learner = apical.value_and_grad(loss_fn, rule, **described)
    first_state = {
        "others": state,
        "metrics": [variable.value for variable in model.metrics_variables],
        "optimizer": [variable.value for variable in optimizer.variables],
    }
    arrays = jax.tree.map(jnp.asarray, (x, y))
    # From a raw key the state is made of plain arrays, which variables can hold.
    typed = jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key)
    raw = jax.random.key_data(key) if typed else key
    first = learner.init(raw, params, first_state, *arrays)
    leaves, structure = jax.tree.flatten(first)
    own = len(optimizer.variables)
    for i, value in enumerate(map(jnp.asarray, leaves)):
        optimizer.add_variable(
            value.shape, dtype=str(value.dtype), name=f"rule_{i}"
        ).assign(value)

    def step(variables: Any, data: Any) -> tuple[Any, Any]:
        trainable, others, optimised, metrics = variables
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError(
                "fit was given weights of samples or classes, which a rule does not "
                "know: leave them out, or put them into a loss of your own."
            )
        params = named(model.trainable_variables, trainable)
        state = {
            "others": named(model.non_trainable_variables, others),
            "metrics": metrics,
            "optimizer": optimised,
        }
        carried = jax.tree.unflatten(structure, optimised[own:])
        credit = learner(params, carried, state, x, y)
        y_pred, others, metrics = credit.aux
        grads = ordered(model.trainable_variables, credit.grads, "gradients")
        trainable, optimised = optimizer.stateless_apply(optimised, grads, trainable)
        optimised = [*optimised[:own], *jax.tree.leaves(credit.state)]
        logs, metrics = _measured(model, metrics, credit.value, x, y, y_pred)
        return logs, (trainable, others, optimised, metrics)

    return step


def _checked_optimizer(model: Any) -> Any:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            f"the model {model.name} is not compiled: call model.compile(optimizer, "
            "loss) first."
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "the optimiser scales the loss, as mixed_float16 does, and a rule would "
            "scale only a part of its signals: use float32 or mixed_bfloat16."
        )
    return optimizer


def _measured(
    model: Any, metrics: Any, value: Any, x: Any, y: Any, y_pred: Any
) -> tuple[Any, list[Any]]:
    """The logs of a step, and the new variables of the metrics."""
    number = jax.tree.leaves(x)[0].shape[0]
    pairs = list(zip(model.metrics_variables, metrics, strict=True))
    with keras.StatelessScope(state_mapping=pairs) as scope:
        for metric in model.metrics:
            if metric.name == "loss":
                metric.update_state(value, sample_weight=number)
        logs = model.compute_metrics(x, y, y_pred, None)
    found = [scope.get_current_value(variable) for variable, _ in pairs]
    return logs, [
        old if new is None else new for new, (_, old) in zip(found, pairs, strict=True)
    ]
