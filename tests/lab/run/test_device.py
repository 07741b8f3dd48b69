"""The device that a comparison runs on."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from apical import lab
from apical.lab import LabError
from apical.lab.run._device import current_device, on_device

SEVERAL = """
import jax
import numpy as np
from support.lab_runs import trainer
from apical.lab.run._device import on_device

with on_device("cpu:2"):
    made = trainer()
    after, *_ = made.advance(made.begin().learned, np.zeros((1, 2, 8), int))
found = [leaf.devices() for leaf in jax.tree.leaves(after[0].params)]
print({device.id for devices in found for device in devices}, made.setup.device.id)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("abacus", "--device abacus: JAX has no abacus here, only"),
        ("cpu:99", "--device cpu:99: there is cpu:0"),
        ("CPU 1", "--device CPU 1: give a platform, as cpu or gpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused(name, message):
    with pytest.raises(LabError, match=message):
        lab.compare(device=name)


def test_the_default_is_that_of_jax():
    with on_device(None):
        assert current_device() == jax.devices()[0]
    with jax.default_device("cpu"):
        assert current_device() == jax.devices("cpu")[0]


def test_arrays_and_calls_are_placed_on_one_of_several_devices():
    flags = "--xla_force_host_platform_device_count=4"
    paths = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-c", SEVERAL],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["{2}", "2"]


def test_a_device_is_chosen_for_what_is_made_in_its_context():
    with on_device("cpu:0"):
        assert current_device() == jax.devices("cpu")[0]
        assert jnp.ones(2).devices() == {jax.devices("cpu")[0]}
