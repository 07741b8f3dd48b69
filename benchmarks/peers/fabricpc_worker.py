"""FabricPC, by its own train step: `make_train_step(structure, adam, algorithm)`."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from _problem import Problem, pooled
from _worker import Built, serve
from fabricpc.core.activations import IdentityActivation, TanhActivation
from fabricpc.core.inference import InferenceSGD
from fabricpc.core.inference_epc import EPCInference
from fabricpc.core.topology import Edge
from fabricpc.graph_assembly import TaskMap, graph
from fabricpc.graph_initialization import initialize_params
from fabricpc.nodes import IdentityNode, Linear
from fabricpc.nodes.convolutional import ConvNode
from fabricpc.training import make_train_step, pc_weight_gradients
from fabricpc.training.trainer import build_clamps


class PooledConv(ConvNode):
    """A convolution with its pooling in one node, so that the energy is the same."""

    @staticmethod
    def predict(params: Any, inputs: Any, state: Any, node_info: Any) -> Any:
        """The maximum over squares of two by two of the activated convolution."""
        (weight,) = params.weights.values()
        (x,) = inputs.values()
        numbers = ("NHWC", "HWIO", "NHWC")
        z = jax.lax.conv_general_dilated(
            x, weight, (1, 1), "VALID", dimension_numbers=numbers
        )
        return pooled(jnp.tanh(z + params.biases["b"])), None

    @staticmethod
    def initialize_params(
        key: Any, node_shape: Any, input_shapes: Any, weight_init: Any, config: Any
    ) -> Any:
        """Without the check that the sides are those of a convolution alone."""
        return Linear.initialize_params(
            key, node_shape, input_shapes, weight_init, config
        )


def build(problem: Problem, told: dict[str, Any]) -> Built:
    """A train step, or the settled state and gradients alone."""
    structure, params = _network(problem, told)
    optimizer = optax.adam(1e-3)
    algorithm = "backprop" if told["way"] == "backprop" else "pc"
    step = make_train_step(structure, optimizer, algorithm=algorithm)
    batch = {"x": jnp.asarray(problem.x), "y": jnp.asarray(problem.y)}
    key = jax.random.key(0)
    names = [n for n in structure.node_order if n != "input"][:-1]
    at = {"params": params, "optimizer": optimizer.init(params), "first": None}

    def call() -> Any:
        params, memory, _, state = step(at["params"], at["optimizer"], batch, key)
        at.update(params=params, optimizer=memory)
        at["first"] = at["first"] or state
        return params

    def grads() -> Any:
        clamps = build_clamps(batch, structure, clamp_target=True)
        _, own = _network(problem, told)  # the step was given its own to keep
        found = jax.jit(lambda p, s: pc_weight_gradients(p, s, structure, clamps))(
            own, at["first"]
        )
        leaves = (found.nodes[n] for n in [*names, "output"])
        pairs = ((next(iter(x.weights.values())), x.biases["b"]) for x in leaves)
        return [leaf for pair in pairs for leaf in pair]

    def values() -> Any:
        return [at["first"].nodes[n].z_latent for n in names]

    return Built(call, values, grads if told.get("grads") else None)


def _network(problem: Problem, told: dict[str, Any]) -> Any:
    nodes = [IdentityNode(shape=problem.x.shape[1:], name="input")]
    shapes, last = problem.shapes, len(problem.weights) - 1
    for i, (weight, shape) in enumerate(zip(problem.weights, shapes, strict=True)):
        name = "output" if i == last else f"layer{i}"
        if weight.ndim == 4:
            side = weight.shape[:2]
            nodes.append(PooledConv(shape, name, side, padding="VALID"))
            continue
        nodes.append(
            Linear(
                shape=shape,
                name=name,
                activation=IdentityActivation() if i == last else TanhActivation(),
                flatten_input=len(nodes[-1].shape) > 1,
            )
        )
    structure = graph(
        nodes=nodes,
        edges=[
            Edge(source=a, target=b.slot("in")) for a, b in itertools.pairwise(nodes)
        ],
        task_map=TaskMap(x=nodes[0], y=nodes[-1]),
        inference=_inference(told),
    )
    params = initialize_params(structure, jax.random.key(0))
    given = {"input": params.nodes["input"]}
    for i, node in enumerate(nodes[1:]):
        own = params.nodes[node.name]
        (edge,) = own.weights
        bias = jnp.asarray(problem.biases[i]).reshape((1,) * len(shapes[i]) + (-1,))
        given[node.name] = own._replace(
            weights={edge: jnp.asarray(problem.weights[i])}, biases={"b": bias}
        )
    return structure, params._replace(nodes=given)


def _inference(told: dict[str, Any]) -> Any:
    kind = EPCInference if told["way"] == "errors" else InferenceSGD
    return kind(eta_infer=told["rate"], infer_steps=told["steps"])


if __name__ == "__main__":
    serve(build)
