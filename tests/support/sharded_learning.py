"""Run every rule on a mesh of eight devices and on one, and print differences.

Run by `test_sharding.py` in a separate process: the number of devices is fixed when
JAX starts.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import apical
from apical import rules

KEYS = jax.random.split(jax.random.key(0), 6)
X = jax.random.normal(KEYS[0], (16, 8))
Y = jax.nn.one_hot(jax.random.randint(KEYS[1], (16,), 0, 4), 4)
W = {
    "a": jax.random.normal(KEYS[2], (8, 12)) / 3,
    "b": jax.random.normal(KEYS[3], (12, 12)) / 3,
    "c": jax.random.normal(KEYS[4], (12, 4)) / 3,
}


def loss_fn(w, x, y):
    h = jnp.tanh(jnp.tanh(x @ w["a"]) @ w["b"])
    return jnp.mean(jnp.sum((h @ w["c"] - y) ** 2, axis=1))


def target(x, y):
    del x
    return y


FREE = {"prediction": "free", "steps": 3}
RULES = [
    *(rules.Backpropagation(), rules.FeedbackAlignment(), rules.SignConcordance()),
    *(rules.WeightMirror(), rules.DirectFeedbackAlignment()),
    *(rules.DirectRandomTargetProjection(), rules.PredictiveCoding()),
    rules.PredictiveCoding(**FREE),
    rules.PredictiveCoding(**FREE, inference=rules.ConjugateGradients()),
    rules.PredictiveCoding(**FREE, inference=rules.ErrorRelaxation()),
    *(rules.NodePerturbation(), rules.ForwardGradient()),
    *(rules.ForwardGradient("activities"), rules.WeightPerturbation()),
    *(rules.EvolutionStrategy(), rules.LocalLosses(objective="both")),
    rules.EquilibriumPropagation(free_steps=3, nudged_steps=3),
    *(rules.DualPropagation(), rules.ActivationRelaxation()),
    rules.ContrastiveHebbian(free_steps=3, clamped_steps=3),
    rules.GeneRec(free_steps=3, clamped_steps=3),
    *(rules.TargetPropagation(), rules.DifferenceTargetPropagation()),
    *(rules.SyntheticGradients(), rules.PEPITA(), rules.ForwardForward()),
]


def grads(rule, params, *data):
    keywords = {"target": target, "input_argnums": 0}
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    state = learner.init(KEYS[5], params, *data)
    return jax.jit(learner)(params, state, *data).grads


def divided(tree, mesh, *axes):
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return jax.tree.map(lambda x: jax.device_put(x, sharding), tree)


def main():
    assert len(jax.devices()) == 8
    axis_types = [AxisType[name] for name in sys.argv[1:]]
    for rule in RULES:
        alone = grads(rule, W, X, Y)
        for axis_type in axis_types:
            mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
            try:
                with jax.set_mesh(mesh):
                    data = divided((X, Y), mesh, "data")
                    found = grads(rule, divided(W, mesh), *data)
                for name, g in found.items():
                    np.testing.assert_allclose(g, alone[name], rtol=1e-3, atol=1e-4)
            except Exception as error:
                first = str(error).strip().splitlines()[0]
                print(f"{type(rule).__name__}, {axis_type.name}: {first}")
    print(f"{len(RULES)} rules")


if __name__ == "__main__":
    main()
