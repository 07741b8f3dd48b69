"""What every test shares: JAX on the CPU, one key, properties that repeat."""

import os
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

# Two settings are left alone on purpose. Strict rank promotion would refuse
# `x @ w + b`, which is how the people write whose models are to work here. And a
# compilation cache on disk could answer a test with what an older build compiled.

# On the newest of two Pythons `make test` leaves these out, to end within 20 minutes;
# the oldest runs all. What a new JAX may break is the reading of programs, and every
# family of rules has a file that stays.
_ABOVE_THE_CORE = ("lab_*", "claims*", "cli", "tools", "docs", "notebooks", "readme")
_SLOW_PROOFS = (
    *("house", "messages*", "rules_and_models", "later_families", "random_graphs"),
    *("predictive_coding_*", "clamped_states", "dual_and_relaxed", "equilibrium_reach"),
    *("gauss_newton_targets", "windowed_synthetic_gradients", "peers", "examples"),
    *("clapp", "forward_forward", "local_losses", "sign_optimizers"),
    *("scalar_feedback", "stochastic_nodes", "regime", "weight_mirror", "testing*"),
    *("direct_feedback", "target_propagation", "sequential_depth", "reductions"),
    *("equilibrium_kinks", "needs", "saved_states", "nasty_names", "several_outputs"),
    *("dtypes", "default_rate", "depths", "connections", "feedback_page"),
    *("reused_state", "folded_examples"),
)
if os.environ.get("APICAL_TESTS") == "core":
    collect_ignore_glob = [f"test_{n}.py" for n in (*_ABOVE_THE_CORE, *_SLOW_PROOFS)]


def pytest_collection_modifyitems(config, items):
    """Leave whole runs to `make bench`, which asks for them."""
    if not os.environ.get("APICAL_SLOW"):
        slow = [item for item in items if "slow" in item.keywords]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if "slow" not in item.keywords]


# A first call compiles, so no deadline; the same examples in every run.
hypothesis.settings.register_profile("apical", deadline=None, derandomize=True)
hypothesis.settings.load_profile("apical")


@pytest.fixture
def key() -> jax.Array:
    """A PRNG key, the same for every test."""
    return jax.random.key(0)
