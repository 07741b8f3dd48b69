"""Print how often devices communicate in one call of rules, with a divided batch.

    python -m support.devices.collectives [RULES]

prints a line of JSON: for each rule the number of each collective operation in the
compiled program, and for rules that loop, inside loops or not.
"""

import json
import re
import sys
from collections import Counter

import jax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from support.devices.divided import KEY, Divided
from support.every_rule import TRIALS, RecurrentTrial, Trial

KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"


def collectives(trial: Trial) -> Counter[str]:
    """The collective operations of one call, whose batch is divided by eight."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    problem = Divided(trial)
    learner = problem.learner()
    state = learner.init(KEY, problem.params, *problem.args)

    def call(*given):
        credit = learner.credit(*given)
        return credit.value, credit.grads

    def put(tree, spec):
        return jax.device_put(tree, NamedSharding(mesh, spec))

    params, state = put((problem.params, state), P())
    args = [put(x, P("data", None)) for x in problem.args]
    text = jax.jit(call).lower(params, state, *args).compile().as_text()
    return Counter(re.findall(rf" ({KINDS})(?:-start)?\(", text))


def main(chosen: str = "") -> None:
    assert len(jax.devices()) == 8
    plain = [n for n, t in TRIALS.items() if not isinstance(t, RecurrentTrial)]
    for name in chosen.split(";") if chosen else plain:
        print(json.dumps([name, collectives(TRIALS[name])]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
