"""On several devices every rule gives the same results as on one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "sharded_learning.py"


@pytest.mark.sweep
def test_batches_divided_over_devices_teach_the_same_under_every_type_of_axis():
    """With `AxisType.Explicit` the sharding of an operand is a part of its type."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "Auto", "Explicit"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "26 rules", done.stdout
