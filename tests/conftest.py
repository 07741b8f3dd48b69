"""Setup shared by all tests: JAX on the CPU, one key, deterministic properties."""

import os
import shutil
import tempfile
from collections import Counter
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


# Imported by tests that need torch, and run where it is.
collect_ignore = ["support/torch_models.py"]

# What depends on neither Python's version nor JAX's: texts, pages, verdicts, figures,
# and what the lab adds to a learner. Those that the newest Python leaves out (`sweep`)
# run on the oldest all the same.
ONCE = (
    *("test_house.py", "claims", "cli", "docs", "examples", "interop", "tools"),
    *("lab/data", "lab/engines", "lab/report", "lab/run", "lab/storage", "lab/test_"),
    *("lab/training", "report"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Divide the tests between the newest Python, the oldest and longer runs.

    `make test` runs every `keep`-th case of a grid. `make test-all` then runs, on the
    oldest Python, as many other cases, and no test marked `once`; `make bench` runs
    all.
    """
    cases = Counter(map(_function, items))
    seen: Counter[str] = Counter()
    for item in items:
        folder = item.path.relative_to(item.config.rootpath).as_posix()
        once = folder.startswith(tuple(f"tests/{each}" for each in ONCE))
        grid = item.get_closest_marker("grid")
        if grid is not None:
            function, keep = _function(item), grid.kwargs["keep"]
            case = seen[function]
            seen[function] += 1
            if case % keep == 0:
                once |= cases[function] > keep // 2  # else the oldest would run none
            else:
                item.add_marker(pytest.mark.sweep)
                if case % keep != keep // 2:
                    item.add_marker(pytest.mark.exhaustive)
        if once and item.get_closest_marker("sweep") is None:
            item.add_marker(pytest.mark.once)


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


# A first call compiles, so no deadline; the same examples in every run.
hypothesis.settings.register_profile("apical", deadline=None, derandomize=True)
hypothesis.settings.load_profile("apical")


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key, the same for every test."""
    return jax.random.key(0)
