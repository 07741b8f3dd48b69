"""Compile quickly and badly: for tests that compare numbers and wait for XLA."""

import jax
import pytest

_NAME = "jax_disable_most_optimizations"


@pytest.fixture(autouse=True, scope="module")
def compile_quickly():
    """A module that imports this fixture compiles without most optimisations."""
    before = jax.config.read(_NAME)
    jax.config.update(_NAME, True)
    yield
    jax.config.update(_NAME, before)
