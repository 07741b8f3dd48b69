"""Benchmarks against other libraries: checks that do not need these."""

import itertools
import sys

import numpy as np
import pytest

import apical
from apical.rules import PredictiveCoding
from benchmarks import _environments, _peers
from benchmarks._environments import APICAL, Library, UnavailableError, Worker
from benchmarks.peers._problem import Problem, loss_fn

SIZES = (5, 6, 6, 6, 3)
ABSENT = Library("Absent", "absent_worker.py", (("absent",),))


@pytest.fixture(scope="module")
def problem():
    draw = np.random.default_rng(0)
    pairs = itertools.pairwise(SIZES)
    weights = [draw.normal(size=pair).astype(np.float32) / 2 for pair in pairs]
    biases = [np.zeros(n, np.float32) for n in SIZES[1:]]
    x, y = draw.normal(size=(4, 5)), draw.normal(size=(4, 3))
    return Problem(weights, biases, x.astype(np.float32), y.astype(np.float32))


def settled(problem, steps, rate=0.1):
    """The values after so many steps, in the order of the nodes."""
    rule = PredictiveCoding(steps, rate, "free")
    found = apical.value_and_grad(loss_fn, rule).signals(
        problem.params, (), *problem.args
    )
    nodes = apical.trace(loss_fn)(problem.params, *problem.args).nodes
    return [np.asarray(found[node.name].value) for node in nodes]


@pytest.fixture(scope="module")
def start(problem):
    circuit = apical.trace(loss_fn)(problem.params, *problem.args)
    sites = circuit.run(problem.params, problem.args).sites
    return [np.asarray(sites[node.name]) for node in circuit.nodes]


# ------------------------------------------------------------------ the same work


def test_the_same_values_are_equal_work(problem, start):
    mine = settled(problem, 8)
    other = [v + np.float32(1e-6) * v for v in mine]
    apart = _peers.require_equal(start, {"apical": mine, "peer": other})
    assert 0 < apart["peer"] < 1e-5


@pytest.mark.parametrize(("steps", "rate"), [(9, 0.1), (8, 0.101)])
def test_another_number_of_steps_or_another_rate_is_refused(
    problem, start, steps, rate
):
    both = {"apical": settled(problem, 8), "peer": settled(problem, steps, rate)}
    with pytest.raises(_peers.UnequalError, match="peer settled elsewhere than apical"):
        _peers.require_equal(start, both)


def test_values_that_are_not_numbers_are_refused(problem, start):
    mine = settled(problem, 8)
    both = {"apical": mine, "peer": [np.full_like(v, np.nan) for v in mine]}
    with pytest.raises(_peers.UnequalError, match="settled elsewhere"):
        _peers.require_equal(start, both)


def test_a_network_with_other_nodes_is_refused(problem, start):
    mine = settled(problem, 8)
    with pytest.raises(_peers.UnequalError, match="peer has other nodes than apical"):
        _peers.require_equal(start, {"apical": mine, "peer": mine[:-1]})


def test_the_front_of_twenty_layers_leaves_the_work_that_is_printed_as_the_bound():
    assert _peers.reached(20, 20) == pytest.approx(1 / 1.905, rel=1e-3)
    assert _peers.reached(20, 64) == pytest.approx(1 / 1.174, rel=1e-3)


# ------------------------------------------------------------------- environments


@pytest.mark.parametrize(
    ("python", "word"),
    [("/absent/python", "No such file"), ("failing", "the network is away")],
)
def test_an_environment_that_cannot_be_made_is_told_in_a_word(
    python, word, tmp_path, monkeypatch
):
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho 'the network is away' >&2\nexit 1\n")
    failing.chmod(0o755)
    python = str(failing) if python == "failing" else python
    monkeypatch.setattr(_environments.sys, "executable", python)
    with pytest.raises(UnavailableError, match=f"no environment for Absent: .*{word}"):
        _environments.python_of(ABSENT, tmp_path)
    assert not list(tmp_path.rglob("made"))  # the next run tries again


def test_a_library_that_is_left_out_is_a_line_that_fails_nothing():
    error = UnavailableError("no environment for Absent: the network is away")
    record = _peers.left_out("mlp", error)
    assert record.verdict == ""
    assert record.note == str(error)


def test_a_worker_that_ends_is_told(tmp_path):
    script = tmp_path / "ends.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(UnavailableError, match=r"Ends: its worker ended \(3\)"):
        Worker(Library("Ends", str(script)))


def test_a_worker_settles_where_the_rule_does_and_can_be_timed(problem, tmp_path):
    path = str(tmp_path / "problem.npz")
    problem.save(path)
    told = {"problem": path, "steps": 3, "rate": 0.1}
    with Worker(APICAL) as worker:
        found = worker.ask("build", name="a", way="values", **told)
        assert found["first"] > 0
        values = _peers.read(found["values"])
        for mine, theirs in zip(settled(problem, 3), values, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
        timings = _peers.in_turn({"a": (worker, "a")}, rounds=2)
        assert timings["a"].wall.fastest > 0
        assert timings["a"].processor.fastest > 0
        with pytest.raises(UnavailableError, match="apical: FileNotFoundError"):
            worker.ask("build", name="b", way="values", **(told | {"problem": "no"}))
        assert worker.ask("time", name="a", repeats=1)["seconds"] > 0  # it goes on


def test_peers_are_installed_where_the_benchmark_says():
    assert _environments.python_of(APICAL) == _environments.Path(sys.executable)
    versions = {each.installs[-1][-1] for each in _environments.PEERS}
    assert versions == {"fabricpc[cpu]==0.6.0", "pcx==0.6.3"}
