"""Two layers below a cause that is inferred: weights, a first cause, and data."""

import jax

KEYS = jax.random.split(jax.random.key(3), 8)
W = {
    "a": jax.random.normal(KEYS[0], (2, 4)),
    "b": jax.random.normal(KEYS[1], (4, 3)) / 2,
}
U = jax.random.normal(KEYS[2], (5, 2))
X = jax.random.normal(KEYS[3], (5, 3))
