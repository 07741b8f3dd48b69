"""Weights made of weights, and models under transformations of JAX."""

import jax
import jax.numpy as jnp
from jax import lax

from ._bare import dense, layer, layers
from ._model import Draw, Model, cross_entropy, enter, squared

COMPOSED: dict[str, Model] = {}


def regression(draw: Draw) -> tuple[jax.Array, jax.Array]:
    return draw.normal(4, 5), draw.normal(4, 3)


@enter(COMPOSED, synapses=3)
def lora(draw):
    """The effective weight is `w + a @ b`; the product of a and b is no synapse."""

    def loss(params, x, y):
        h = jnp.tanh(dense(params["in"], x))
        adapted = params["w"] + params["a"] @ params["b"]
        return squared(dense(params["out"], jnp.tanh(h @ adapted)), y)

    params = {"in": layer(draw, 5, 7), "w": draw.weight(7, 6), "a": draw.weight(7, 2)}
    params |= {"b": draw.weight(2, 6), "out": layer(draw, 6, 3)}
    return loss, params, regression(draw)


@enter(COMPOSED, synapses=3)
def weight_norm(draw):
    """The effective weight is `g v / |v|`, column by column."""

    def loss(params, x, y):
        for each in params[:-1]:
            length = jnp.linalg.norm(each["v"], axis=0)
            x = jnp.tanh(x @ (each["v"] * (each["g"] / length)) + each["b"])
        return squared(dense(params[-1], x), y)

    def normed(rows, columns):
        weight = {"v": draw.weight(rows, columns), "g": draw.gain(columns)}
        return weight | {"b": draw.bias(columns)}

    params = [normed(5, 7), normed(7, 6), layer(draw, 6, 3)]
    return loss, params, regression(draw)


@enter(COMPOSED, synapses=4, batch_axes=(None, 0, 0))
def conditional(draw):
    """A number that comes with the data chooses between two uses of a weight."""

    def loss(params, flag, x, y):
        h = jnp.tanh(dense(params["in"], x))
        h = lax.cond(
            flag > 0,
            lambda h: jnp.tanh(dense(params["mid"], h)),
            lambda h: jax.nn.gelu(dense(params["mid"], -h)),
            h,
        )
        return squared(dense(params["out"], h), y)

    params = {"in": layer(draw, 5, 7), "mid": layer(draw, 7, 6)}
    params |= {"out": layer(draw, 6, 3)}
    return loss, params, (draw.normal(shift=3.0), *regression(draw))


@enter(COMPOSED, synapses=4)
def jitted(draw):
    """One jitted layer called with different weights, inside a jitted network."""

    @jax.jit
    def nonlinear(params, h):
        return jnp.tanh(dense(params, h))

    @jax.jit
    def network(params, x):
        for each in params[:-1]:
            x = nonlinear(each, x)
        return dense(params[-1], x)

    def loss(params, x, y):
        return squared(network(params, x), y)

    return loss, layers(draw, 5, 6, 6, 6, 3), regression(draw)


@jax.custom_jvp
def soft_sign(x: jax.Array) -> jax.Array:
    return x / (1 + jnp.abs(x))


@soft_sign.defjvp
def _soft_sign_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return soft_sign(x), dx / (1 + jnp.abs(x)) ** 2


@jax.custom_vjp
def spike(x: jax.Array) -> jax.Array:
    return (x > 0).astype(x.dtype)


spike.defvjp(lambda x: (spike(x), x), lambda x, g: (g / (1 + x**2),))


@jax.custom_vjp
def clipped(x: jax.Array) -> jax.Array:
    return x


clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -0.05, 0.05),))


def activated(draw: Draw, activation):
    def loss(params, x, y):
        for each in params[:-1]:
            x = activation(dense(each, x))
        return squared(dense(params[-1], x), y)

    return loss, layers(draw, 5, 7, 6, 3), regression(draw)


@enter(COMPOSED, synapses=3)
def custom_jvp(draw):
    """A user's activation with a user's tangent."""
    return activated(draw, soft_sign)


@enter(COMPOSED, synapses=3, exact=False)
def custom_vjp(draw):
    """A step whose surrogate gradient is linear in the cotangent."""
    return activated(draw, spike)


@enter(COMPOSED, synapses=3, exact=False)
def custom_vjp_clipped(draw):
    """The identity with a clipped gradient.

    It is not linear in the cotangent: scaling the loss does not scale the gradient,
    and the gradient of the mean is not the mean of the gradients.
    """
    return activated(draw, lambda h: clipped(jnp.tanh(h)))


@enter(COMPOSED, synapses=3)
def mapped(draw):
    """The loss of one example, mapped over the batch."""

    def example(params, x, label):
        for each in params[:-1]:
            x = jnp.tanh(dense(each, x))
        return cross_entropy(dense(params[-1], x), label)

    def loss(params, x, labels):
        losses = jax.vmap(example, in_axes=(None, 0, 0))(params, x, labels)
        return jnp.mean(losses)

    args = (draw.normal(4, 5), draw.ids(4, below=3))
    return loss, layers(draw, 5, 7, 6, 3), args


@enter(COMPOSED, synapses=3, batch_axes=(1, 1))
def examples_last(draw):
    """Weights on the left, the examples on the last axis."""

    def loss(params, x, y):
        for each in params[:-1]:
            x = jnp.tanh(each["w"] @ x + each["b"])
        return squared((params[-1]["w"] @ x + params[-1]["b"]).T, y.T)

    def left(rows, columns):
        weight = draw.weight(columns, rows)
        return {"w": weight.T, "b": draw.bias(rows, 1)}

    params = [left(7, 5), left(6, 7), left(3, 6)]
    return loss, params, (draw.normal(5, 4), draw.normal(3, 4))


@enter(COMPOSED, synapses=3, batch_axes=(0, 0, None))
def dropout(draw):
    """A key, shared by the examples, draws which units of a layer are dropped."""

    def loss(params, x, y, key):
        h = jnp.tanh(dense(params[0], x))
        kept = jax.random.bernoulli(key, 0.75, h.shape[1:])
        h = jnp.tanh(dense(params[1], jnp.where(kept, h / 0.75, 0)))
        return squared(dense(params[2], h), y)

    args = (*regression(draw), jax.random.key(3))
    return loss, layers(draw, 5, 7, 6, 3), args
