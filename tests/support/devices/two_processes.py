"""One of two processes that train on one mesh, by `jax.distributed`.

    python -m support.devices.two_processes PORT PROCESS RULES

Each process holds half of the batch on its two devices. The first prints a line of
JSON: for each rule its name and the numbers of its gradients.
"""

import json
import sys

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P


def main(port: str, process: str, chosen: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, int(process))
    # They hold arrays, which can be made only now.
    from support.devices.divided import EXAMPLES, Divided
    from support.every_rule import TRIALS

    assert len(jax.devices()) == 4 and len(jax.local_devices()) == 2
    half = EXAMPLES // 2
    mine = slice(half * int(process), half * (int(process) + 1))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    rows, same = (NamedSharding(mesh, P(*axes)) for axes in (("data",), ()))
    for name in chosen.split(";"):
        problem = Divided(TRIALS[name])
        x, y = (
            jax.make_array_from_process_local_data(rows, np.asarray(a[mine]))
            for a in problem.args
        )
        learned = jax.jit(problem.learned, out_shardings=same)
        _, grads, _ = learned(problem.params, x, y)
        numbers = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(grads)]
        if process == "0":
            print(json.dumps([name, np.concatenate(numbers).tolist()]), flush=True)
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
