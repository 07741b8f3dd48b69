"""PCX, by a train step as its examples write it: T steps of the values, unrolled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pcx.functional as pxf
import pcx.nn as pxnn
import pcx.predictive_coding as pxc
import pcx.utils as pxu
from _problem import Problem
from _worker import Built, serve


class Network(pxc.EnergyModule):
    """Layers, each with a vode; the last one is held at the target."""

    def __init__(self, problem: Problem) -> None:
        """With the weights of a problem."""
        super().__init__()
        self.layers = [_layer(w, b) for w, b in _as_here(problem)]
        self.vodes = [pxc.Vode() for _ in self.layers]
        self.vodes[-1].h.frozen = True

    def __call__(self, x: Any, y: Any = None) -> Any:
        """The prediction of one example, through the values."""
        last = len(self.layers) - 1
        for i, (layer, vode) in enumerate(zip(self.layers, self.vodes, strict=True)):
            if x.ndim > 1 and isinstance(layer, pxnn.Linear):
                x = x.reshape(-1)
            x = layer(x)
            x = x if i == last else jnp.tanh(x)
            x = vode(_pooled(x) if x.ndim > 1 else x)
        if y is not None:
            self.vodes[-1].set("h", y)
        return self.vodes[-1].get("u")


def _pooled(x: Any) -> Any:
    channels, height, width = x.shape
    split = x.reshape(channels, height // 2, 2, width // 2, 2)
    return split.max(axis=(2, 4))


def _as_here(problem: Problem) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights from the output side, channels before the sides of an image."""
    found, shape = [], problem.x.shape[1:]
    for weight, bias, after in zip(
        problem.weights, problem.biases, problem.shapes, strict=True
    ):
        if weight.ndim == 4:
            found.append((weight.transpose(3, 2, 0, 1), bias.reshape(-1, 1, 1)))
        elif len(shape) == 3:
            by_place = weight.reshape(*shape, -1).transpose(3, 2, 0, 1)
            found.append((by_place.reshape(weight.shape[1], -1), bias))
        else:
            found.append((weight.T, bias))
        shape = after
    return found


def _layer(weight: np.ndarray, bias: np.ndarray) -> Any:
    out, into, *sides = weight.shape
    layer = pxnn.Conv2d(into, out, tuple(sides)) if sides else pxnn.Linear(into, out)
    layer.nn.weight.set(jnp.asarray(weight))
    layer.nn.bias.set(jnp.asarray(bias))
    return layer


_mask = pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0))
_values = pxu.M_hasnot(pxc.VodeParam, frozen=True)
_weights = pxu.M(pxnn.LayerParam)


@pxf.vmap(_mask, in_axes=(0, 0), out_axes=0)
def _forward(x: Any, y: Any, *, model: Any) -> Any:
    return model(x, y)


@pxf.vmap(_mask, in_axes=(0,), out_axes=(None, 0), axis_name="batch")
def _energy(x: Any, *, model: Any) -> Any:
    y = model(x, None)
    return jax.lax.psum(model.energy().sum(), "batch"), y


def _step(steps: int, x: Any, y: Any, *, model: Any, weights: Any, values: Any) -> None:
    with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
        _forward(x, y, model=model)
    for _ in range(steps):
        with pxu.step(model, clear_params=pxc.VodeParam.Cache):
            slope = pxf.value_and_grad(_values.to([False, True]), has_aux=True)
            _, grads = slope(_energy)(x, model=model)
        values.step(model, grads["model"])
    with pxu.step(model, clear_params=pxc.VodeParam.Cache):
        slope = pxf.value_and_grad(_weights.to([False, True]), has_aux=True)
        _, grads = slope(_energy)(x, model=model)
    weights.step(model, grads["model"], scale_by=1.0 / x.shape[0])


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """A train step; the model is changed in place."""
    model = Network(problem)
    images = problem.x.ndim == 4
    x = jnp.asarray(problem.x.transpose(0, 3, 1, 2) if images else problem.x)
    y = jnp.asarray(problem.y)
    with pxu.step(model, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
        _forward(x, y, model=model)
    weights = pxu.Optim(lambda: optax.adam(1e-3), _weights(model))
    values = pxu.Optim(lambda: optax.sgd(told["rate"]), _values(model))
    step = pxf.jit(static_argnums=0)(_step)
    found: list[Any] = []

    def call() -> Any:
        step(told["steps"], x, y, model=model, weights=weights, values=values)
        if not found:
            found.extend(vode.get("h") for vode in model.vodes[:-1])
        return [layer.nn.weight.get() for layer in model.layers]

    def read() -> list[Any]:
        return [v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for v in found]

    return Built(call, read)


if __name__ == "__main__":
    serve(build)
