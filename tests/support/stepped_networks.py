"""Small networks with a loop, by their step, and what a rule says on them."""

import jax
import jax.numpy as jnp

import apical

TIME, EXAMPLES = 8, 5
KEYS = jax.random.split(jax.random.key(0), 8)


def target(*args):
    return args[-1]


def weights(**shapes):
    keys = jax.random.split(jax.random.key(1), len(shapes))
    return {
        name: jax.random.normal(key, shape) / shape[0] ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def two_layers(leak=0.0):
    """The step of two layers of units whose reset passes no derivative."""

    def step(w, state, x):
        v1, z1, v2, z2, out = state
        v1 = 0.9 * v1 + x @ w["in"] + z1 @ w["rec"] - jax.lax.stop_gradient(z1)
        z1 = jnp.tanh(v1)
        v2 = 0.8 * v2 + z1 @ w["mid"] - jax.lax.stop_gradient(z2)
        z2 = jnp.tanh(v2)
        out = leak * out + z2 @ w["out"]
        return (v1, z1, v2, z2, out), out

    return step, lambda: tuple(jnp.zeros((EXAMPLES, n)) for n in (4, 4, 6, 6, 2))


def gated():
    """The step of a gated unit: the node is the carry itself."""

    def step(w, h, x):
        gate = jax.nn.sigmoid(x @ w["in"] + h @ w["rec"])
        h = (1 - gate) * h + gate * jnp.tanh(x @ w["mid"])
        return h, h @ w["out"]

    return step, lambda: jnp.zeros((EXAMPLES, 4))


SHAPES = {
    "two layers": {"in": (3, 4), "rec": (4, 4), "mid": (4, 6), "out": (6, 2)},
    "gated": {"in": (3, 4), "rec": (4, 4), "mid": (3, 4), "out": (4, 2)},
}
NETWORKS = {"two layers": two_layers, "gated": gated}


def problem(name, **options):
    step, start = NETWORKS[name](**options)

    def loss_fn(w, x, y):
        _, out = jax.lax.scan(lambda state, x: step(w, state, x), start(), x)
        return jnp.mean((out - y) ** 2)

    x = jax.random.normal(KEYS[2], (TIME, EXAMPLES, 3))
    y = jax.random.normal(KEYS[3], (TIME, EXAMPLES, 2))
    return loss_fn, weights(**SHAPES[name]), x, y


def learned(loss_fn, rule, w, *args, **options):
    options = {"batch_axes": 1, "target": target} | options
    learner = apical.value_and_grad(loss_fn, rule, **options)
    state = learner.init(KEYS[4], w, *args)
    return jax.jit(learner)(w, state, *args), state


def gradients(*args, **options):
    return learned(*args, **options)[0].grads
