"""On several devices, and in several processes, rules give the results of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from support.devices.divided import Divided
from support.devices.rules_on_devices import RULES
from support.every_rule import TRIALS, RecurrentTrial

import apical

TESTS = Path(__file__).parents[1]
SOME = "FeedbackAlignment;EquilibriumPropagation;NodePerturbation;EProp"
# One sweep back from the loss, as backpropagation.
ONE_SWEEP = [
    *("FeedbackAlignment", "SignConcordance", "KolenPollack", "PredictiveCoding"),
    "DirectFeedbackAlignment",
]


def start(module: str, *args: str, devices: int = 8) -> subprocess.Popen[str]:
    """Start a module of `support.devices` with this number of devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    path = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    return subprocess.Popen(
        [sys.executable, "-m", f"support.devices.{module}", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": path,
        },
    )


def printed(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate()
    assert process.returncode == 0, error[-2000:]
    return out.strip()


def numbers(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# ------------------------------------------------------------------------ the numbers


def test_four_rules_give_the_same_numbers_on_eight_devices():
    layouts = "explicit both,shard_map"
    assert printed(start("rules_on_devices", layouts, SOME)) == "8 pairs"


@pytest.mark.sweep
@pytest.mark.parametrize(
    "layouts",
    [
        pytest.param("auto batch,auto both", marks=pytest.mark.slow),
        "explicit both,shard_map",
    ],
)
def test_every_rule_gives_the_same_numbers_on_eight_devices(layouts):
    found = printed(start("rules_on_devices", layouts))
    assert found == f"{2 * len(RULES)} pairs", found


@pytest.mark.sweep
def test_some_rules_give_the_same_numbers_in_every_layout():
    layouts = [
        f"{axes} {layout}"
        for axes in ("auto", "explicit")
        for layout in ("replicated", "batch", "model")
    ]
    assert printed(start("rules_on_devices", ",".join(layouts), SOME)) == "24 pairs"


@pytest.mark.sweep
def test_a_rule_that_counts_the_examples_of_one_device_is_found():
    found = printed(start("rules_on_devices", "auto batch,shard_map", "Mutant"))
    first, *_, last = found.splitlines()
    assert first.startswith("Mutant, shard_map: AssertionError")
    assert last == "2 pairs"


@pytest.mark.sweep
def test_two_processes_give_the_numbers_of_one():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    both = [start("two_processes", port, i, SOME, devices=2) for i in "01"]
    lines, _ = (printed(process).splitlines() for process in both)
    found = dict(json.loads(line) for line in lines if line.startswith('["'))
    for name in SOME.split(";"):
        problem = Divided(TRIALS[name])
        _, grads, _ = jax.jit(problem.learned)(problem.params, *problem.args)
        np.testing.assert_allclose(found[name], numbers(grads), rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------ the communication


@pytest.mark.sweep
def test_rules_of_one_sweep_communicate_as_often_as_backpropagation():
    wanted = ";".join(["Backpropagation", "LocalLosses", *ONE_SWEEP])
    lines = printed(start("collectives", wanted)).splitlines()
    found = dict(map(json.loads, lines))
    assert set(found["Backpropagation"]) == {"all-reduce"}
    for name in ONE_SWEEP:
        assert found[name] == found["Backpropagation"], name


# ------------------------------------------- the types, for which one device is enough


def mesh(axes: AxisType) -> jax.sharding.Mesh:
    some = jax.devices()[:1]
    return jax.make_mesh((1,), ("data",), axis_types=(axes,), devices=some)


def mapped(problem: Divided, **keywords):
    rows = P("data")
    return jax.shard_map(
        lambda *given: problem.learned(*given)[:2],
        mesh=mesh(AxisType.Auto),
        in_specs=(P(), rows, rows),
        out_specs=P(),
        **keywords,
    )


def test_a_loss_that_differs_between_devices_is_refused():
    problem = Divided(TRIALS["FeedbackAlignment"])
    with pytest.raises(ValueError, match=r"pmean\(loss, 'data'\)"):
        jax.eval_shape(mapped(problem), problem.params, *problem.args)
    free = mapped(problem, check_vma=False)
    jax.eval_shape(free, problem.params, *problem.args)


def test_the_number_of_examples_is_that_of_all_devices():
    auto = (AxisType.Auto,)
    abstract = jax.sharding.AbstractMesh((4,), ("data",), axis_types=auto)
    problem = Divided(TRIALS["FeedbackAlignment"], axis="data")
    seen = []

    def look(params, x, y):
        circuit = problem.learner().circuit(params, x, y)
        seen.append((circuit.batch.size, circuit.batch_size, circuit.scale))
        return jax.lax.pmean(jnp.mean(x), "data")

    rows = P("data")
    specs = {"in_specs": (P(), rows, rows), "out_specs": P()}
    found = jax.shard_map(look, mesh=abstract, **specs)
    jax.eval_shape(found, problem.params, *problem.args)
    assert seen == [(2, 8, 8)]


def test_activities_that_meet_over_devices_are_not_those_of_one_example():
    """Statistics of the batch over all devices, as in synchronised batch norm."""

    def loss_fn(w, x):
        h = x @ w["a"]
        h = jnp.tanh(h - jax.lax.pmean(jnp.mean(h, axis=0), "data"))
        return jax.lax.pmean(jnp.mean((h @ w["b"]) ** 2), "data")

    w, x = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}, jnp.ones((4, 3))
    learner = apical.value_and_grad(loss_fn, apical.rules.NodePerturbation())

    def call(w, x):
        return learner.init(jax.random.key(0), w, x)

    specs = {"in_specs": (P(), P("data")), "out_specs": P()}
    found = jax.shard_map(call, mesh=mesh(AxisType.Auto), **specs)
    with pytest.raises(ValueError, match="activities of several examples meet"):
        jax.eval_shape(found, w, x)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (apical.rules.NodePerturbation(), "examples meet in `shard_map`"),
        (apical.rules.FeedbackAlignment(), "data in `shard_map`"),
    ],
)
def test_a_loss_that_maps_a_layer_itself_is_refused(rule, message):
    axes, rows = mesh(AxisType.Auto), P("data")
    specs = {"in_specs": (rows, P()), "out_specs": rows}
    layer = jax.shard_map(lambda x, w: jnp.tanh(x @ w), mesh=axes, **specs)

    def loss_fn(w, x):
        return jnp.mean((layer(x, w["a"]) @ w["b"]) ** 2)

    w, x = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}, jnp.ones((4, 3))
    learner = apical.value_and_grad(loss_fn, rule)
    with pytest.raises(ValueError, match=message):
        learner.init(jax.random.key(0), w, x)


@pytest.mark.parametrize("name", ["SnAp", "UORO", "Hebbian", "SyntheticGradients"])
def test_explicit_axes_keep_the_types_of_the_parameters(name):
    problem = Divided(TRIALS[name])
    axes = AxisType.Explicit
    with jax.set_mesh(mesh(axes)):
        rows = P("data", None)
        x, y = (jax.device_put(a, rows) for a in problem.args)
        grads = jax.eval_shape(problem.learned, problem.params, x, y)[1]
    shapes = [leaf.shape for leaf in jax.tree.leaves(problem.params)]
    assert [leaf.shape for leaf in jax.tree.leaves(grads)] == shapes


def test_a_recurrent_net_of_step_nonlinearities_takes_explicit_axes():
    """`jax.nn.relu` has a derivative rule of its own, and inner programs."""
    plain = TRIALS["EProp"]
    problem = Divided(RecurrentTrial(plain.rule, nonlinearity=jax.nn.relu))
    with jax.set_mesh(mesh(AxisType.Explicit)):
        x, y = (jax.device_put(a, P("data", None)) for a in problem.args)
        jax.eval_shape(problem.learned, problem.params, x, y)
