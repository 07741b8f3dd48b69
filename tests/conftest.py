"""Setup shared by all tests: JAX on the CPU, one key, deterministic properties."""

import os
import shutil
import tempfile
from importlib.metadata import version

import hypothesis
import jax
import pytest

# JAX 0.10 compiles a program in three quarters of the time by its older way of writing
# fused loops, which newer ones do not have; read when the first computation starts.
if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = " ".join(
        [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_use_fusion_emitters=false"]
    )

jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS", "cpu"))
# The time of most tests goes into compiling small programs that run once: compile them
# badly, at half the time. A test that measures what was compiled turns this back on.
jax.config.update("jax_disable_most_optimizations", True)

# Strict rank promotion is left off: it would refuse `x @ w + b`, which people write.


def pytest_configure(config):
    """Compile each program once for all tests and processes of this run.

    The folder is new for every run, so nothing that an older build compiled is used.
    """
    if not hasattr(config, "workerinput"):  # the process that starts the others
        folder = tempfile.mkdtemp(prefix="apical-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["APICAL_COMPILED"] = folder
    jax.config.update("jax_compilation_cache_dir", os.environ["APICAL_COMPILED"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most cases of a grid to longer runs.

    `make test` runs every `keep`-th case, `make test-all` also every one of about twice
    that density, and `make bench` all.
    """
    seen: dict[str, int] = {}
    for item in items:
        grid = item.get_closest_marker("grid")
        if grid is None:
            continue
        function = item.nodeid.partition("[")[0]
        case = seen[function] = seen.get(function, -1) + 1
        keep = grid.kwargs["keep"]
        if case % keep:
            item.add_marker(pytest.mark.sweep)
            if case % ((keep + 1) // 2):
                item.add_marker(pytest.mark.exhaustive)


# A first call compiles, so no deadline; the same examples in every run.
hypothesis.settings.register_profile("apical", deadline=None, derandomize=True)
hypothesis.settings.load_profile("apical")


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key, the same for every test."""
    return jax.random.key(0)
