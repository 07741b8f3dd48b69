"""Sequential depth and number of products, against closed forms."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from apical.circuit._jaxpr import trace_program
from apical.measure._flops import product_flops
from apical.measure._sequential_depth import sequential_depth

W, X = jnp.eye(3), jnp.ones((2, 3))


def depth(fun, *args):
    return sequential_depth(trace_program(fun, *args)[0])


def flops(fun, *args):
    return product_flops(trace_program(fun, *args)[0])


def chain(length):
    def forward(w, x):
        for _ in range(length):
            x = jnp.tanh(x @ w)
        return jnp.sum(x)

    return forward


PRODUCT = flops(chain(1), W, X)


def test_one_product_is_two_operations_for_each_of_its_terms():
    assert PRODUCT == 2 * 2 * 3 * 3


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_chain_is_as_deep_as_it_is_long_and_its_gradient_twice(length):
    assert depth(chain(length), W, X) == length
    assert depth(jax.grad(chain(length)), W, X) == 2 * length
    assert flops(chain(length), W, X) == length * PRODUCT


def test_work_side_by_side_does_not_wait():
    def wide(w, x):
        return sum(chain(k)(w, x) for k in (1, 3, 2))

    assert depth(wide, W, X) == 3
    assert flops(wide, W, X) == 6 * PRODUCT


def test_local_losses_wait_for_the_forward_pass_and_not_for_one_another():
    """Each layer learns from its own loss: two more products, in all layers at once."""

    def local(weights, x):
        total = 0.0
        for w in weights:
            x = jnp.tanh(lax.stop_gradient(x) @ w)
            total += jnp.sum(x**2)
        return total

    weights = [W] * 5
    whole = jax.grad(lambda ws, x: jnp.sum(_through(ws, x) ** 2))
    assert depth(jax.grad(local), weights, X) == 5 + 1
    assert depth(whole, weights, X) == 2 * 5


def _through(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return x


# ------------------------------------------------------------------------------ loops


def recurrent(w, u, readout, xs):
    h = lax.scan(lambda h, x: (jnp.tanh(h @ w + x @ u), None), jnp.ones(3), xs)[0]
    return jnp.sum((h @ readout) ** 2)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_a_recurrent_network_waits_for_every_step_there_and_back(steps):
    args = (W, W, W, jnp.ones((steps, 3)))
    assert depth(recurrent, *args) == steps + 1
    # The read-out's signal, a step back for all but the first step, and its weights.
    assert depth(jax.grad(recurrent), *args) == (steps + 1) + 1 + (steps - 1) + 1


@pytest.mark.parametrize("steps", [1, 7])
def test_steps_that_hand_nothing_heavy_on_run_at_once(steps):
    def parallel(w, xs):
        return lax.scan(lambda total, x: (total + x @ w, x @ w), jnp.zeros(3), xs)

    assert depth(parallel, W, jnp.ones((steps, 3))) == 1
    assert flops(parallel, W, jnp.ones((steps, 3))) == steps * 2 * 2 * 9


def _pass_on(w, carry, x):
    a, b = carry
    return (x @ w, a), b  # what was made two steps ago


def _two_chains(w, carry, x):
    a, b = carry
    return (a @ w @ w, b @ w + x), a + b


def _overwritten(w, carry, x):
    a, b = carry
    return (jnp.ones(3), a @ w @ w), b * x


def _crossed(w, carry, x):
    a, b = carry
    return (b @ w, a), x @ w


BODIES = [_pass_on, _two_chains, _overwritten, _crossed]


@pytest.mark.parametrize(
    ("body", "steps", "reverse"), list(product(BODIES, [1, 2, 5], [False, True]))
)
def test_a_loop_is_as_deep_as_the_same_loop_written_out(body, steps, reverse):
    start, xs = (jnp.ones(3), jnp.ones(3)), jnp.ones((steps, 3))

    def looped(w, start, xs):
        return lax.scan(lambda c, x: body(w, c, x), start, xs, reverse=reverse)

    def written_out(w, start, xs):
        carry, outs = start, []
        for t in range(steps)[:: -1 if reverse else 1]:
            carry, out = body(w, carry, xs[t])
            outs.append(out)
        return carry, jnp.stack(outs)

    for part in (lambda found: found[0][0], lambda found: found[0][1], lambda f: f[1]):
        depths = [
            depth(lambda *args, f=f: part(f(*args)), W, start, xs)  # noqa: B023
            for f in (looped, written_out)
        ]
        assert depths[0] == depths[1]


def test_a_carry_that_no_output_needs_is_not_counted():
    def two(w, x):
        (a, b), _ = lax.scan(
            lambda c, _: ((c[0] @ w, c[1] @ w @ w), None), (x, x), None, length=4
        )
        return a, b

    assert depth(lambda w, x: two(w, x)[0], W, X) == 4
    assert flops(lambda w, x: two(w, x)[0], W, X) == 4 * PRODUCT
    assert depth(two, W, X) == 8
    assert flops(two, W, X) == 12 * PRODUCT


def test_what_is_the_same_at_every_step_is_paid_once_and_what_is_not_at_each():
    def loop(w, x, first):
        return lax.scan(lambda h, _: (h + first(h) @ w, None), x, None, length=5)[0]

    assert flops(lambda w, x: loop(w, x, lambda h: x), W, X) == PRODUCT
    assert flops(lambda w, x: loop(w, x, lambda h: h), W, X) == 5 * PRODUCT


def test_a_loop_in_a_loop_counts_both():
    def inner(x, w):
        return lax.scan(lambda h, _: (h @ w, None), x, None, length=3)[0]

    def outer(w, x):
        return lax.scan(lambda h, _: (inner(h, w), None), x, None, length=4)[0]

    assert depth(outer, W, X) == 12
    assert flops(outer, W, X) == 12 * PRODUCT


def test_a_loop_of_unknown_length_is_not_known():
    def until(w, x):
        return lax.while_loop(lambda h: jnp.sum(h) < 9.0, lambda h: h @ w, x)

    many = jax.vmap(until, in_axes=(None, 0))
    for fun, start in ((until, X), (many, jnp.ones((4, 2, 3)))):
        assert depth(fun, W, start) is None
        assert flops(fun, W, start) is None

    def light(w, x):
        return lax.while_loop(lambda h: jnp.sum(h) < 9.0, lambda h: h + 1, x) @ w

    assert depth(light, W, X) == 1
    assert flops(light, W, X) == PRODUCT


# ------------------------------------------------------------- choices, calls, solvers


def test_the_longer_branch_counts_and_the_choice_is_waited_for():
    def choose(w, x):
        short, long = (lambda x: x @ w), (lambda x: x @ w @ w @ w)
        return lax.cond(jnp.sum(x @ w @ w) > 0, long, short, x)

    assert depth(choose, W, X) == 2 + 3
    assert flops(choose, W, X) == 5 * PRODUCT


@jax.custom_vjp
def _own(w, x):
    return x @ w @ w


_own.defvjp(lambda w, x: (_own(w, x), (w, x)), lambda kept, d: (kept[0], d))


@jax.custom_jvp
def _other(w, x):
    return x @ w @ w


_other.defjvp(lambda primals, tangents: (_other(*primals), tangents[1]))


@pytest.mark.parametrize(
    "call", [jax.jit(_own), _own, _other, jax.checkpoint(lambda w, x: x @ w @ w)]
)
def test_calls_are_entered(call):
    assert depth(lambda w, x: call(w, x) @ w, W, X) == 3
    assert flops(lambda w, x: call(w, x) @ w, W, X) == 3 * PRODUCT


def test_what_is_computed_twice_is_paid_twice():
    kept, again = (
        jax.grad(lambda w, x, f=f: jnp.sum(f(w, x) ** 2))
        for f in (chain_of_two, jax.checkpoint(chain_of_two))
    )
    assert flops(again, W, X) > flops(kept, W, X)


def chain_of_two(w, x):
    return jnp.tanh(jnp.tanh(x @ w) @ w)


def test_a_solver_is_one_heavy_operation_whose_work_is_not_known():
    def solve(w, x):
        return lax.linalg.triangular_solve(w, x.T, left_side=True) @ x

    assert depth(solve, W, X) == 2
    assert flops(solve, W, X) is None


def test_what_no_output_needs_is_not_counted():
    def dead(w, x):
        _ = x @ w @ w
        return x @ w

    assert depth(dead, W, X) == 1
    assert flops(dead, W, X) == PRODUCT


# ----------------------------------------------------------------------- convolutions


CONVOLUTIONS = [
    {"window_strides": (1, 1), "padding": "SAME"},
    {"window_strides": (2, 1), "padding": "VALID"},
    {"window_strides": (1, 2), "padding": ((2, 0), (0, 1)), "rhs_dilation": (2, 1)},
    {"window_strides": (1, 1), "padding": ((1, 2), (0, 0)), "lhs_dilation": (2, 3)},
    {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_a_convolution_counts_the_products_that_meet_no_padding(settings):
    """With ones everywhere each product adds one to the sum of the result."""
    groups = settings.get("feature_group_count", 1)
    image, kernel = jnp.ones((2, 4, 5, 6)), jnp.ones((6, 4 // groups, 3, 2))

    def convolve(kernel, image):
        return lax.conv_general_dilated(image, kernel, **settings)

    products = float(jnp.sum(convolve(kernel, image)))
    assert flops(convolve, kernel, image) == 2 * products
    # To the kernel and to the image flow as many products as were made.
    back = jax.grad(lambda k, i: jnp.sum(convolve(k, i)), argnums=(0, 1))
    assert flops(back, kernel, image) == 2 * 2 * products
    assert depth(back, kernel, image) == 1


def test_the_shapes_of_a_product_with_shared_axes_are_read():
    a, b = np.ones((5, 2, 3), np.float32), np.ones((5, 3, 4), np.float32)
    assert flops(lambda a, b: a @ b, a, b) == 2 * 5 * 2 * 3 * 4
