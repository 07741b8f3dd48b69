"""The problems of the zoo have the properties in their records."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from support.zoo import (
    MODELS,
    OPAQUE,
    OPERATIONS,
    backpropagation,
    count_synapses,
    learned,
    random_graph,
)

pytestmark = pytest.mark.grid(keep=7)

EVERY = {**MODELS, **OPERATIONS}
EVERY |= {f"opaque_{name}": model for name, (model, _) in OPAQUE.items()}
REVERSIBLE = [name for name, model in EVERY.items() if model.reversible]
EXACT = [name for name in REVERSIBLE if EVERY[name].exact]
SEPARABLE = [name for name in REVERSIBLE if EVERY[name].separable]
STEP = 1e-3
# The time goes into compiling small programs: compile each once, and badly.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}


class Compiled(NamedTuple):
    """A problem; its `run(leaves, *args)` gives the loss and the gradient."""

    run: Callable[..., Any]
    loss_of: Callable[..., Any]
    leaves: dict[str, Any]
    args: tuple[Any, ...]
    batch_axes: Any
    loss: Any
    gradient: dict[str, Any]


def compiled(loss_fn, params, args, batch_axes=0, has_aux=False) -> Compiled:
    leaves, rebuild = learned(params)

    def loss_of(leaves, *args):
        out = loss_fn(rebuild(leaves), *args)
        return out[0] if has_aux else out

    run = jax.jit(jax.value_and_grad(loss_of), compiler_options=QUICK)
    axes = batch_axes if isinstance(batch_axes, tuple) else (batch_axes,) * len(args)
    return Compiled(run, loss_of, leaves, args, axes, *run(leaves, *args))


def slopes(problem: Compiled) -> tuple[float, float]:
    """Return the slope of the loss in some direction, and what the gradient says."""
    numbers = np.random.default_rng(0)
    gradient = {name: np.asarray(leaf) for name, leaf in problem.gradient.items()}
    noise = {name: numbers.normal(size=g.shape) for name, g in gradient.items()}
    steep, random = unit(gradient), unit(noise)
    way = {name: np.float32(steep[name] + random[name]) for name in gradient}

    def loss(step):
        leaves = {name: leaf + step * way[name] for name, leaf in arrays.items()}
        return float(problem.run(leaves, *problem.args)[0])

    arrays = {name: np.asarray(leaf) for name, leaf in problem.leaves.items()}
    slope = (loss(np.float32(STEP)) - loss(np.float32(-STEP))) / (2 * STEP)
    return slope, sum(float(np.vdot(gradient[name], way[name])) for name in way)


def unit(tree):
    norm = sum(float(np.sum(np.square(leaf))) for leaf in tree.values()) ** 0.5
    return {name: leaf / norm for name, leaf in tree.items()}


def only(index: int, copies: int | None, axis, arg):
    """Return one example in so many copies: by default as many as there were."""
    if isinstance(axis, dict):
        return {name: only(index, copies, axis[name], arg[name]) for name in arg}
    if axis is None:
        return arg
    return np.take(np.asarray(arg), [index] * (copies or arg.shape[axis]), axis)


def example(problem: Compiled, index: int, copies: int | None = None) -> list[Any]:
    pairs = zip(problem.batch_axes, problem.args, strict=True)
    return [only(index, copies, *pair) for pair in pairs]


def number_of_examples(problem: Compiled) -> int:
    mapped = jax.vmap(lambda *args: 0.0, in_axes=problem.batch_axes)
    return jax.eval_shape(mapped, *problem.args).shape[0]


def mean_over_examples(problem: Compiled) -> float:
    """Fill the batch with one example after the other: nothing new to compile."""
    batches = [example(problem, i) for i in range(number_of_examples(problem))]
    return np.mean([problem.run(problem.leaves, *batch)[0] for batch in batches])


def assert_every_leaf_matters(problem: Compiled):
    sizes = {name: float(np.max(np.abs(g))) for name, g in problem.gradient.items()}
    assert all(1e-4 < size < 1e2 for size in sizes.values()), sizes


@functools.cache
def made(name):
    return EVERY[name].make(jax.random.key(0))


@functools.cache
def problem(name) -> Compiled:
    return compiled(*made(name), EVERY[name].batch_axes, EVERY[name].has_aux)


@pytest.mark.parametrize("name", EVERY)
def test_it_has_as_many_synapses_as_it_says(name):
    assert count_synapses(*made(name)) == EVERY[name].synapses


@pytest.mark.parametrize("name", REVERSIBLE)
def test_every_learned_leaf_has_a_gradient(name):
    assert_every_leaf_matters(problem(name))


@pytest.mark.parametrize("name", SEPARABLE)
def test_the_loss_is_the_mean_over_the_examples(name):
    tolerance = 1e-5 if EVERY[name].exact else 1e-2
    found = problem(name)
    np.testing.assert_allclose(mean_over_examples(found), found.loss, rtol=tolerance)


@pytest.mark.parametrize("name", SEPARABLE[::4])
def test_a_batch_of_one_has_the_loss_of_a_batch_of_its_copies(name):
    found = problem(name)
    alone = jax.jit(found.loss_of, compiler_options=QUICK)
    single = alone(found.leaves, *example(found, 1, copies=1))
    copies, _ = found.run(found.leaves, *example(found, 1))
    np.testing.assert_allclose(single, copies, rtol=1e-5 if EVERY[name].exact else 1e-2)


@pytest.mark.parametrize("name", EXACT)
def test_the_gradient_predicts_the_slope_of_the_loss(name):
    np.testing.assert_allclose(*slopes(problem(name)), rtol=2e-2)


@pytest.mark.parametrize("name", ["custom_vjp", "custom_vjp_clipped"])
def test_a_users_rule_bends_the_gradient(name):
    slope, predicted = slopes(problem(name))
    assert abs(slope - predicted) > 0.1 * abs(predicted)


@pytest.mark.parametrize("name", REVERSIBLE[::4])
def test_it_can_be_mapped_over_parameters(name):
    found = problem(name)
    double = {
        path: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype)
        for path, leaf in found.leaves.items()
    }
    axes = (0, *(None for _ in found.args))
    mapped = jax.vmap(jax.value_and_grad(found.loss_of), axes)
    loss, gradient = jax.eval_shape(mapped, double, *found.args)
    assert loss.shape == (2,)
    assert jax.tree.map(np.shape, gradient) == jax.tree.map(np.shape, double)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in REVERSIBLE])
def test_jax_has_no_gradient_where_none_is_promised(name):
    loss_fn, params, args = made(name)
    assert np.isfinite(jax.jit(loss_fn)(params, *args))
    with pytest.raises(ValueError, match=r"differentiation|JVP"):
        backpropagation(loss_fn, params, *args)


@pytest.mark.parametrize("name", OPAQUE)
def test_the_leaves_that_an_error_must_name_are_leaves(name):
    assert set(OPAQUE[name][1]) <= set(made(f"opaque_{name}")[1])


@pytest.mark.parametrize("name", EVERY)
def test_the_key_decides_what_is_made(name):
    again, other = (EVERY[name].make(jax.random.key(seed)) for seed in (0, 1))
    first, again, other = (learned(each[1])[0] for each in (made(name), again, other))
    for path in first:
        np.testing.assert_array_equal(first[path], again[path])
        assert not np.array_equal(first[path], other[path]), path


@settings(max_examples=8, deadline=None, derandomize=True)
@given(drawn=random_graph())
def test_random_graphs_are_problems_like_the_others(drawn):
    found = compiled(*drawn)
    assert_every_leaf_matters(found)
    np.testing.assert_allclose(*slopes(found), rtol=2e-2)
    np.testing.assert_allclose(mean_over_examples(found), found.loss, rtol=1e-5)


def test_random_graphs_have_every_kind_of_node():
    seen = set()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(drawn=random_graph())
    def look(drawn):
        for index, node in enumerate(drawn[0].nodes, start=1):
            seen.update({node.join, node.loop, node.wrapper, node.nonlinearity})
            seen.update({("shared", node.owner != index), ("skip", node.skip)})
            seen.update({("spelled", node.spelling), ("scaled", node.scaled)})

    look()
    # "none" is a loop and a wrapper
    assert len(seen) == 3 + 3 + 4 + 5 - 1 + 4 + 5 + 2
