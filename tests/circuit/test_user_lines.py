"""Messages and circuits point at the user's line, never at one inside a package."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import apical
from apical.rules import FeedbackAlignment

W, X = jnp.ones((3, 3)), jnp.ones((4, 3))
PACKAGE = """
import jax, jax.numpy as jnp

def plain(w, x):
    return jnp.tanh(x @ w)

compiled = jax.jit(plain)
checkpointed = jax.checkpoint(plain)

def mapped(w, x):
    return jax.vmap(lambda each: plain(w, each))(x)

def scanned(w, x):
    return jax.lax.scan(lambda h, _: (plain(w, h), None), x, length=3)[0]

def chosen(w, x):
    return jax.lax.cond(jnp.sum(x) > 0, plain, lambda w, x: x, w, x)

def nested(w, x):
    return jax.jit(scanned)(w, compiled(w, x))

def applied(function, *args):
    return function(*args)

@jax.custom_vjp
def derived(w, x):
    return x @ w

derived.defvjp(lambda w, x: (x @ w, (w, x)), lambda r, g: (r[1].T @ g, g @ r[0].T))

def loss(w, x):
    return jnp.mean(plain(w, x) @ w)
"""
LAYERS = ("plain", "compiled", "checkpointed", "mapped", "scanned", "chosen", "nested")


# Where pip puts a package, where Linux does, and where `pip install --target` does.
@pytest.fixture(params=["site-packages", "dist-packages", "target"])
def package(request, tmp_path, monkeypatch):
    root = tmp_path / request.param
    (root / "layers_of_others").mkdir(parents=True)
    (root / "layers_of_others" / "__init__.py").write_text(PACKAGE)
    if request.param == "target":
        (root / "layers_of_others-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(root)
    yield importlib.import_module("layers_of_others")
    del sys.modules["layers_of_others"]


def lines_of(loss_fn) -> set[str]:
    circuit = apical.trace(loss_fn)(W, X)
    assert circuit.nodes and circuit.synapses
    return {part.where for part in (*circuit.nodes, *circuit.synapses)}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_line_of_a_layer_is_where_the_user_calls_it(package, layer):
    def loss_fn(w, x):
        h = getattr(package, layer)(w, x)  # the line in the message
        return jnp.mean(h @ w)

    first = loss_fn.__code__.co_firstlineno
    for line in lines_of(loss_fn):
        assert f"{Path(__file__)}:" in line
        assert int(line.split(":")[1]) in (first + 1, first + 2)
    assert any(f":{first + 1}:" in line for line in lines_of(loss_fn))


def test_a_function_that_a_package_calls_is_the_users(package):
    def inner(w, x):
        return jnp.tanh(x @ w)  # the line in the message

    def loss_fn(w, x):
        return jnp.mean(package.applied(inner, w, x) @ w)

    told = inner.__code__.co_firstlineno + 1
    assert any(f"{Path(__file__)}:{told}:" in line for line in lines_of(loss_fn))


def test_a_function_that_jax_compiled_before_tells_the_line_of_this_call(package):
    package.compiled(W, X)  # from another line, and kept by JAX

    def loss_fn(w, x):
        return jnp.mean(jax.nn.relu(package.compiled(w, x)) @ w)

    told = loss_fn.__code__.co_firstlineno + 1
    assert all(f"{Path(__file__)}:{told}:" in line for line in lines_of(loss_fn))


def test_a_loss_function_of_a_package_has_lines_of_the_package(package):
    assert all(f"{package.__file__}:" in line for line in lines_of(package.loss))


def test_a_refusal_names_the_users_line(package):
    def loss_fn(w, x):
        h = jnp.tanh(package.derived(w, x))  # the line in the message
        return jnp.mean(h @ w)

    told = loss_fn.__code__.co_firstlineno + 1
    learner = apical.value_and_grad(loss_fn, FeedbackAlignment())
    with pytest.raises(ValueError, match=f"{Path(__file__)}:{told}:"):
        learner.init(jax.random.key(0), W, X)


def test_a_mark_inside_a_package_is_the_line_that_calls_it(package):
    def loss_fn(w, x):
        return jnp.mean(package.applied(apical.node, package.plain(w, x), "h") @ w)

    assert all(f"{Path(__file__)}:" in line for line in lines_of(loss_fn))
