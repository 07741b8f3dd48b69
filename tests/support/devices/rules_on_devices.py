"""Run rules on a mesh of eight devices and on one, and print what differs.

    python -m support.devices.rules_on_devices LAYOUTS [RULES]

with names after commas: "auto batch", "explicit both", "shard_map". Run in a separate
process: the number of devices is fixed when JAX starts.
"""

import sys
import traceback
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType

from apical import rules
from support.devices.divided import Divided, in_shard_map, on_a_mesh
from support.every_rule import TRIALS, Trial

# Rules with random numbers for each example. Inside `shard_map` each device draws its
# own, so the gradients are others, of the same mean.
NOISE_OF_EXAMPLES = {
    *("CLAPP", "ForwardForward", "Concrete", "ScoreFunction", "StraightThrough"),
    *("ForwardGradient, activities", "NodePerturbation", "NodePerturbation, drive"),
    "UORO",
}


@rules.rule
class OfOneDevice(rules.Backpropagation):
    """The sum over examples divided by the number of those on one device."""

    def credit(self, circuit: Any, params: Any, state: Any, args: Any) -> Any:
        found = super().credit(circuit, params, state, args)
        factor = circuit.batch_size / len(args[0])
        return found._replace(grads=jax.tree.map(lambda g: factor * g, found.grads))


# Variants that reduce over examples by ways of their own.
RULES = {
    **TRIALS,
    "LocalLosses, both": Trial(rules.LocalLosses(objective="both")),
    "EquilibriumPropagation, holomorphic": Trial(
        rules.EquilibriumPropagation(estimate=rules.Holomorphic(), gain=0.5)
    ),
    "PredictiveCoding, conjugate gradients": Trial(
        rules.PredictiveCoding(prediction="free", inference=rules.ConjugateGradients())
    ),
    "PredictiveCoding, learned precision": Trial(
        rules.PredictiveCoding(prediction="free", precision=rules.LearnedPrecision())
    ),
}
MUTANT = {"Mutant": Trial(OfOneDevice())}


def numbers(tree: Any) -> list[np.ndarray]:
    leaves = jax.tree.leaves(tree)
    keys = [jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    pairs = zip(leaves, keys, strict=True)
    return [np.asarray(jax.random.key_data(x) if k else x) for x, k in pairs]


def require_equal(found: Any, alone: Any) -> None:
    for a, b in zip(numbers(found), numbers(alone), strict=True):
        assert np.isfinite(a).all()
        size = np.max(np.abs(b), initial=1e-3)
        np.testing.assert_allclose(a / size, b / size, rtol=0, atol=1e-3)


def difference(name: str, trial: Trial, alone: Any, layout: str) -> str | None:
    """What differs from one device, in a line; None if nothing does."""
    try:
        if layout == "shard_map":
            value, grads = in_shard_map(trial)
            require_equal(value, alone[0])
            if name not in NOISE_OF_EXAMPLES:
                require_equal(grads, alone[1])
        else:
            axes, layout = layout.split()
            kind = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}[axes]
            require_equal(on_a_mesh(trial, kind, layout), alone)
    except Exception as error:
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "src" in f[0]]
        where = f"{ours[-1].filename}:{ours[-1].lineno}" if ours else ""
        return f"{type(error).__name__} {where} {' '.join(str(error).split())[:300]}"
    return None


def main(layouts: str, chosen: str = "") -> None:
    assert len(jax.devices()) == 8
    jax.config.update("jax_disable_most_optimizations", True)
    count = 0
    trials = {**RULES, **MUTANT}
    for name in chosen.split(";") if chosen else RULES:
        problem = Divided(trials[name])
        alone = jax.jit(problem.learned)(problem.params, *problem.args)
        for layout in layouts.split(","):
            found = difference(name, trials[name], alone, layout)
            count += 1
            if found:
                print(f"{name}, {layout}: {found}", flush=True)
    print(f"{count} pairs")


if __name__ == "__main__":
    main(*sys.argv[1:])
