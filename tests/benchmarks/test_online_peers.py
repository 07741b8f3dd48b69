"""The benchmark beside braintrace: checks that do not need it."""

import numpy as np
import pytest
from support.braintrace_cells import ARGS, GOLDENS, OUT
from support.by_hand import distance

from benchmarks import _online_peers
from benchmarks._environments import Worker
from benchmarks._peers import UnequalError, read
from benchmarks.peers._problem import Problem

GOLDEN = GOLDENS["gru"]
DRAW = np.random.default_rng(0)
GRADS = [DRAW.normal(size=3) for _ in range(6)]


def test_gradients_that_both_find_are_compared():
    other = [g + 1e-6 * abs(g).max() for g in GRADS]
    other[2], other[3] = 0 * other[2], 0 * other[3]  # of the reset gate
    assert _online_peers.require_same("gru", GRADS, other) < 1e-5


@pytest.mark.parametrize("i", [0, 1, 4, 5])
def test_another_gradient_is_refused(i):
    other = [g if j != i else 1.01 * g for j, g in enumerate(GRADS)]
    with pytest.raises(UnequalError, match="say nothing"):
        _online_peers.require_same("gru", GRADS, other)


def test_the_worker_of_apical_finds_the_recorded_gradients(tmp_path):
    gates = [GOLDEN.params[name] for name in ("wz", "wr", "wh")]
    problem = Problem(
        [*(gate["weight"] for gate in gates), OUT],
        [*(gate["bias"] for gate in gates), np.zeros(OUT.shape[1], np.float32)],
        *ARGS,
    )
    path = str(tmp_path / "problem.npz")
    problem.save(path)
    told = {"problem": path, "cell": "gru", "chunk": 2}
    with Worker(_online_peers.APICAL) as worker:
        found = read(worker.ask("build", name="a", decay=0.7, **told)["grads"])
        eprop = read(worker.ask("build", name="b", **told)["grads"])
    for i, name in ((0, "wz"), (4, "wh")):
        expected = GOLDEN.expected[name]
        assert distance(found[i], expected["weight"]) < 1e-5
        assert distance(found[i + 1], expected["bias"]) < 1e-5
        assert distance(eprop[i], expected["weight"]) > 0.01
