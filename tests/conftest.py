"""What every test shares: JAX on the CPU, one key, properties that repeat."""

import os

import hypothesis
import jax
import pytest

jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS", "cpu"))
# The time of most tests goes into compiling small programs that run once: compile them
# badly, at half the time. A test that measures what was compiled turns this back on.
jax.config.update("jax_disable_most_optimizations", True)

# Two settings are left alone on purpose. Strict rank promotion would refuse
# `x @ w + b`, which is how the people write whose models are to work here. And a
# compilation cache on disk could answer a test with what an older build compiled.

# On the newest of two Pythons `make test` leaves these out, to end within 20 minutes:
# what stands above the core, tested whole on the oldest.
if os.environ.get("APICAL_TESTS") == "core":
    collect_ignore_glob = [
        *("test_lab_*.py", "test_claims*.py", "test_cli.py", "test_tools.py"),
        *("test_docs.py", "test_notebooks.py", "test_readme.py", "test_house.py"),
        *("test_messages*.py", "test_rules_and_models.py", "test_later_families.py"),
    ]

# A first call compiles, so no deadline; the same examples in every run.
hypothesis.settings.register_profile("apical", deadline=None, derandomize=True)
hypothesis.settings.load_profile("apical")


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key, the same for every test."""
    return jax.random.key(0)
