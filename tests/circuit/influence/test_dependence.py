"""Which entries depend on which, against Jacobians at drawn numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from apical.circuit import trace_program
from apical.circuit._loops._influence._dependence import Dependence, identity

MASK = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1.0]])
ROWS, COLUMNS = np.nonzero(MASK)
FIR = np.array([0.0, 1.0, 2.0])[None, None]


def inner_scan(x):
    def step(h, x):
        return (MASK @ h) * x, h[0]

    h, y = jax.lax.scan(step, x[0], x)
    return h[:, None] * y


def switched(x):
    branches = [lambda x: x * MASK, lambda x: jnp.roll(x, 1, axis=0) * MASK]
    return jax.lax.switch(jnp.asarray(x[0, 0] > 0, int), branches, x)


@jax.custom_jvp
def winner(x):
    return jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1], dtype=x.dtype)


@winner.defjvp
def _(primals, tangents):
    (x,), (moved,) = primals, tangents
    return winner(x), moved - moved.mean(-1, keepdims=True)


EXACT = {
    "masked": lambda x: x * MASK,
    "divided": lambda x: (x * MASK) / (1 + x**2),
    "product with a mask": lambda x: x @ MASK,
    "product with its mask": lambda x: MASK.T @ (x * MASK),
    "square of a masked one": lambda x: (x * MASK) @ (x * MASK),
    "batched product": lambda x: jnp.einsum("bi,bij->bj", x, np.stack([MASK] * 4)),
    "outer product": lambda x: jnp.einsum("bi,bj->bij", x, MASK),
    "chosen": lambda x: jnp.where(MASK > 0, x, x.T),
    "scattered": lambda x: jnp.zeros((4, 4)).at[ROWS, COLUMNS].set(x.ravel()[:6]),
    "scattered onto": lambda x: x.at[ROWS, COLUMNS].set(x.ravel()[:6] ** 2),
    "added at": lambda x: (x * MASK).at[1].add(x[2]),
    "gathered": lambda x: x[COLUMNS] * 2,
    "rolled": lambda x: jnp.roll(x, 1, axis=1),
    "padded": lambda x: jnp.pad(x, 1)[1:, :-1],
    "lower triangle": jnp.tril,
    "summed": lambda x: jnp.sum(x * MASK, axis=0),
    "running sum": lambda x: jnp.cumsum(x, axis=1),
    "filtered": lambda x: jax.lax.conv(x[None, None], FIR[..., None], (1, 1), "SAME"),
    "filter": lambda x: jax.lax.conv(MASK[None, None], x[None, None], (1, 1), "SAME"),
    "a power of a masked one": lambda x: (x * MASK) ** 2 + jnp.tanh(x * MASK),
    "stopped": lambda x: jax.lax.stop_gradient(x.T) * x,
    "compared": lambda x: jnp.where(x.T > 0, x, 2 * x),
    "checkpointed": jax.checkpoint(lambda x: jnp.sin(x * MASK)),
}
AT_LEAST = {
    # A complex number is one entry, and all steps of a loop are alike.
    "imaginary": lambda x: jnp.imag(jax.lax.complex(x * MASK, x.T * MASK)),
    "a loop inside": inner_scan,
    "sorted": lambda x: jnp.sort(x, axis=1),
    "softmax": jax.nn.softmax,
    "switched": switched,
    "straight through": winner,
    "solved": lambda x: jnp.linalg.solve(x + 9 * jnp.eye(4), x),
    "at an index": lambda x: jax.lax.dynamic_slice(
        x, (jnp.asarray(x[0, 0] > 9, int), 0), (2, 4)
    ),
}


def found_and_true(function):
    shape = (4, 4)
    program, _ = trace_program(function, jnp.zeros(shape))
    seen = Dependence(program, 16)
    seen.set(program.body.inputs[0], identity(16, 0, 16))
    seen.run(program.body.ops)
    rows = seen.of(program.body.outputs[0])
    found = np.zeros((seen.size(program.body.outputs[0]), 16), bool)
    found = found if rows is None else rows.toarray()
    true = np.zeros_like(found)
    for key in jax.random.split(jax.random.key(0), 3):
        x = jax.random.normal(key, shape)
        slope = np.asarray(jax.jit(jax.jacobian(function))(x))
        true |= slope.reshape(-1, 16) != 0
    return found, true


@pytest.mark.parametrize("name", EXACT)
def test_dependence_is_where_the_jacobian_is(name):
    found, true = found_and_true(EXACT[name])
    np.testing.assert_array_equal(found, true)
    assert true.any()
    assert not true.all()


@pytest.mark.parametrize("name", AT_LEAST)
def test_dependence_is_nowhere_missed(name):
    found, true = found_and_true(AT_LEAST[name])
    assert true.any()
    assert not np.any(true & ~found)
