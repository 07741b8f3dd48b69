"""Two small networks whose arrays are divided over the devices of a mesh.

The network of a trial, with sizes that four by two devices divide evenly: the batch
over `data`, the units of a hidden layer over `model`.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import apical
from support.by_hand import layers
from support.every_rule import RecurrentTrial, Trial

EXAMPLES = 8
KEY = jax.random.key(5)
# A layout says whether the batch, and whether a layer, is divided.
LAYOUTS = {
    "replicated": (False, False),
    "batch": (True, False),
    "model": (False, True),
    "both": (True, True),
}


@dataclass(frozen=True)
class Divided:
    """The problem of a trial.

    Attributes:
      trial: the rule, the nonlinearity, and whether there are spikes.
      out: the sharding of the product with the divided layer's weights, which the user
        has to name on explicit axes: the sum over its units is over devices.
      axis: the axis of a mesh over which the loss is a mean, inside `jax.shard_map`.
    """

    trial: Trial
    out: P | None = None
    axis: str | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        inputs_are_targets = self.trial.widths[0] == self.trial.widths[-1]
        return (8, 4, 8) if inputs_are_targets else (6, 8, 8, 4)

    @property
    def params(self) -> Any:
        found = layers(*self.widths)
        if isinstance(self.trial, RecurrentTrial):
            found[0]["recurrent"] = layers(8, 8, seed=3)[0]["w"]
        return found

    @property
    def args(self) -> tuple[jax.Array, jax.Array]:
        inputs, outputs = self.widths[0], self.widths[-1]
        x = jnp.sin(jnp.arange(EXAMPLES * inputs * 1.0)).reshape(EXAMPLES, inputs)
        y = jax.nn.one_hot(jnp.arange(EXAMPLES) % outputs, outputs)
        return x, x if inputs == outputs else y

    def loss_fn(self, params: Any, x: Any, y: Any) -> Any:
        recurrent = isinstance(self.trial, RecurrentTrial)
        errors = (self.recurrent if recurrent else self.feedforward)(params, x, y)
        loss = jnp.mean(errors)
        return loss if self.axis is None else jax.lax.pmean(loss, self.axis)

    def feedforward(self, params: Any, x: Any, y: Any) -> Any:
        rho, spikes = self.trial.nonlinearity, self.trial.spikes
        for i, each in enumerate(params[:-1]):
            x = rho(self.dot(x, each["w"], i) + each["b"])
            x = apical.bernoulli(x) if spikes else x
        return self.error(x, params, y)

    def recurrent(self, params: Any, x: Any, y: Any) -> Any:
        """A layer of leaky units, and the others in each step."""
        first, *hidden, _ = params
        rho = self.trial.nonlinearity

        def step(h: Any, x: Any) -> Any:
            back = apical.node(rho(h), "back")
            drive = x @ first["w"] + first["b"]
            h = 0.8 * h + drive + self.dot(back, first["recurrent"], "recurrent")
            z = apical.node(rho(h), "first")
            for i, each in enumerate(hidden, 1):
                z = rho(self.dot(z, each["w"], i) + each["b"])
            return h, self.error(z, params, y)

        start = jnp.zeros_like(x @ first["w"])
        return jax.lax.scan(step, start, jnp.stack([x, x[:, ::-1]]))[1]

    def error(self, x: Any, params: Any, y: Any) -> Any:
        last = len(params) - 1
        out = self.dot(x, params[last]["w"], last) + params[last]["b"]
        return 0.5 * jnp.sum((out - y) ** 2, axis=-1)

    def dot(self, x: Any, w: Any, layer: int | str) -> Any:
        if self.out is None or layer not in (1, "recurrent"):
            return x @ w
        spec = P(self.out[0], "model") if layer == "recurrent" else self.out
        return jnp.matmul(x, w, out_sharding=spec)

    def learner(self) -> Any:
        told = {"target": lambda x, y: y, "input_argnums": 0, **self.trial.keywords}
        return apical.value_and_grad(self.loss_fn, self.trial.rule, **told)

    def learned(self, params: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
        """The loss, the gradients and the next state of one call."""
        learner = self.learner()
        state = learner.init(KEY, params, x, y)
        credit = learner.credit(params, state, x, y)
        return credit.value, credit.grads, credit.state


def on_a_mesh(trial: Trial, axes: AxisType, layout: str) -> tuple[Any, Any, Any]:
    """One call with arrays that are divided over four by two devices."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(axes,) * 2)
    batch, layer = LAYOUTS[layout]
    rows = "data" if batch else None
    named = axes == AxisType.Explicit and layer
    problem = Divided(trial, out=P(rows, None) if named else None)
    specs = jax.tree.map(lambda _: P(), problem.params)
    if layer:
        specs[0] = {n: P("model", None) for n in specs[0]}
        specs[0] |= {"w": P(None, "model"), "b": P("model")}
        specs[1]["w"] = P("model", None)

    def put(x: Any, spec: P) -> Any:
        return jax.device_put(x, NamedSharding(mesh, spec))

    with jax.set_mesh(mesh):
        params = jax.tree.map(put, problem.params, specs)
        args = [put(x, P(rows, None)) for x in problem.args]
        return jax.jit(problem.learned)(params, *args)


def in_shard_map(trial: Trial, parts: int = 4) -> tuple[Any, Any]:
    """One call on each device's part of the batch: the loss and the gradients."""
    auto, some = (AxisType.Auto,), jax.devices()[:parts]
    mesh = jax.make_mesh((parts,), ("data",), axis_types=auto, devices=some)
    problem = Divided(trial, axis="data")
    rows = P("data")
    mapped = jax.shard_map(
        lambda *given: problem.learned(*given)[:2],
        mesh=mesh,
        in_specs=(P(), rows, rows),
        out_specs=P(),
    )
    return jax.jit(mapped)(problem.params, *problem.args)
