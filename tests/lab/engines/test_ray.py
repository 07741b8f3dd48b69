"""Ray: nodes of a real cluster on this machine, one of which is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.lab_files import tiny
from support.lab_runs import SMALL

from apical import lab, rules

# Each starts a cluster; `make bench` installs Ray.
pytestmark = [
    pytest.mark.slow,
    # JAX warns of forks; those of Ray run another program at once.
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
]
pytest.importorskip("ray", reason="needs the extra apical[ray]")

from ray.cluster_utils import Cluster  # noqa: E402

ASKED = {**SMALL, "rules": ["backpropagation", "kolen-pollack"], "report": False}
TABLES = ("records", "layers", "trials", "costs")


@rules.rule
class Breaks(rules.Backpropagation):
    def credit(self, circuit, params, state, args):
        raise TypeError("a mistake of the user")


@pytest.fixture
def cluster():
    """A head that takes no tasks, and two nodes that take one each."""
    head = {"num_cpus": 0, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.nodes_of_tasks = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def local():
    return lab.compare(data=tiny(), sweep=2, **ASKED)


def require_same(found, local):
    for table in TABLES:
        mine, other = (counted(getattr(r, table)) for r in (found, local))
        assert mine == other and mine, table


def counted(lines):
    """Lines without times, those of costs among them."""
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def test_a_node_is_killed_and_the_numbers_are_those_of_a_local_run(
    cluster, local, tmp_path
):
    told = []

    def kill(event):
        told.append((event.rule, event.epoch))
        if len(told) == 1:
            cluster.remove_node(cluster.nodes_of_tasks[0], allow_graceful=False)
            cluster.remove_node(cluster.nodes_of_tasks[1], allow_graceful=False)
            cluster.add_node(num_cpus=1)

    found = lab.compare(
        data=tiny(),
        sweep=2,
        out=tmp_path,
        callbacks=[kill],
        engine=lab.RayEngine(address=cluster.address),
        **ASKED,
    )
    require_same(found, local)
    assert sorted(told) == [(r, e) for r in ASKED["rules"] for e in (0, 1, 2)]
    require_same(lab.Comparison.read(tmp_path), local)
    written = (tmp_path / "records.jsonl").read_text("utf-8").splitlines()
    order = [json.loads(line)["rule"] for line in written]
    assert order == sorted(order)


def test_an_error_comes_back_with_the_rule_and_the_traceback(cluster):
    with pytest.raises(lab.TaskError) as caught:
        lab.compare(
            data=tiny(),
            engine=f"ray(address='{cluster.address}')",
            **ASKED | {"rules": [{"mine": Breaks()}]},
        )
    text = str(caught.value)
    assert text.startswith("mlp · mine failed on ")
    assert "TypeError: a mistake of the user" in text and "in credit" in text


@pytest.fixture
def command():
    """Starts `apical compare` as a process, which is ended after the test."""
    begun = []

    def start(*words):
        known = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        known.pop("RAY_ADDRESS", None)
        program = [sys.executable, "-m", "apical", "compare", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        begun.append(subprocess.Popen(program, env=known, text=True, **pipes))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_driver_resumes_and_a_dead_cluster_says_so(cluster, command, tmp_path):
    data, out = tmp_path / "tiny.npz", tmp_path / "out"
    parts = ("train_x", "train_y", "test_x", "test_y")
    np.savez(data, **{name: getattr(tiny(), name) for name in parts})
    asked = ["--data", data, "--model", "mlp", "--batch-size", 8, "--seeds", 2]
    asked += ["--epochs", 1]
    asked += ["--rules", "backpropagation,feedback-alignment,kolen-pollack"]
    place = ["--engine", "ray", "--address", cluster.address]

    driver, stages = command(*asked, *place, "--out", out), out / "stages.jsonl"
    until(lambda: stages.exists() and "training of" in stages.read_text(), driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    begun = lab.Comparison.read(out).records
    assert 0 < len(begun) < 12
    again = command("--resume", out, *place)
    said = again.communicate()[0]
    assert again.returncode == 0, said
    found = lab.Comparison.read(out).records
    assert len(found) == 12 and [line for line in found if line in begun] == begun

    address = cluster.address  # the cluster forgets it
    cluster.shutdown()
    began = time.monotonic()
    dead = command(*asked, *place, "--out", tmp_path / "dead")
    said = " ".join(dead.communicate()[0].split())
    assert dead.returncode == 2 and time.monotonic() - began < 60
    assert f"no Ray cluster answers at {address}" in said
    assert "ray start --head" in said and not (tmp_path / "dead").exists()


def until(true, process):
    """Wait until something is true; the process must not end before."""
    while not true():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
