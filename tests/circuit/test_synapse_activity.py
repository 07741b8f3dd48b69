"""The ends of synapses in time: inputs, units, products of both, and the pull."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.synapses_in_time import B, T, convolved, heads, numbers, scanned

import apical
from apical.circuit import require_linear_weights, synapse_activity

pytestmark = pytest.mark.grid(keep=3)

IN, OUT = 5, 2
X = numbers(1, T, B, IN)
HEADS = numbers(2, T, B, 2, IN)
SIX = numbers(3, T, B, 6, 6, 2)

# How a weight meets its input: loss, weight, inputs, and product and means by hand.
SPELLINGS = {
    "x @ w": (
        *(scanned(lambda w, x: x @ w, (B, OUT)), numbers(4, IN, OUT), X),
        *("tbi,tbj->ij", "tbi,tbj->bij", "tbj->tj", (1, OUT)),
    ),
    "w @ x of each example": (
        scanned(lambda w, x: jax.vmap(lambda x: w @ x)(x), (B, OUT)),
        *(numbers(4, OUT, IN), X),
        *("tbi,tbj->ji", "tbi,tbj->bji", "tbj->tj", (OUT, 1)),
    ),
    "units before examples": (
        scanned(lambda w, x: w @ x, (OUT, B)),
        *(numbers(4, OUT, IN), jnp.swapaxes(X, 1, 2)),
        *("tib,tjb->ji", "tib,tjb->bji", "tjb->tj", (OUT, 1)),
    ),
    "a weight for each head": (
        *(scanned(heads, (B, 2, OUT)), numbers(4, 2, IN, OUT), HEADS),
        *("tbhi,tbhj->hij", "tbhi,tbhj->bhij", "tbhj->thj", (2, 1, OUT)),
    ),
}


@pytest.fixture(params=SPELLINGS)
def spelling(request):
    loss_fn, w, x, product, each, means, shape = SPELLINGS[request.param]
    circuit = apical.trace(loss_fn, batch_axes=x.shape.index(B))(w, x)
    found = synapse_activity(circuit, w, (x,))
    (synapse,) = found.synapses
    assert np.allclose(synapse.pre, x) and np.allclose(synapse.weight, w)
    assert np.allclose(synapse.post, circuit.run(w, (x,)).sites["unit"])
    assert np.allclose(found.loss, loss_fn(w, x), rtol=1e-5)
    return synapse, product, each, means, shape


def test_products_are_those_of_every_spelling(spelling):
    synapse, product, each, *_ = spelling
    ends = synapse.pre, synapse.post
    assert np.allclose(synapse.product(*ends), np.einsum(product, *ends), rtol=1e-4)
    found = synapse.product_of_each(*ends)
    assert np.allclose(found, np.einsum(each, *ends), rtol=1e-4, atol=1e-6)
    assert synapse.used_once


def test_means_of_units_are_aligned_with_the_weight(spelling):
    synapse, _, _, means, shape = spelling
    found = synapse.unit_means(synapse.post)
    assert found.shape == (T, *shape)
    summed = np.einsum(means, synapse.post) / B
    assert np.allclose(found.reshape(T, -1), summed.reshape(T, -1), rtol=1e-4)
    of_each = synapse.unit_means_of_each(synapse.post)
    assert of_each.shape == (T, B, *shape)
    assert np.allclose(np.mean(of_each, axis=1), found, rtol=1e-4, atol=1e-6)


def test_numbers_of_examples_lie_along_them(spelling):
    synapse = spelling[0]
    given = numbers(9, T, B)
    spread = synapse.along_examples(given) * jnp.ones_like(synapse.post)
    axis = 1 + synapse.post.shape[1:].index(B)
    every = tuple(a for a in range(1, synapse.post.ndim) if a != axis)
    assert np.allclose(np.mean(spread, axis=every), given, rtol=1e-5)
    assert synapse.along_examples(given[:, 0]).shape[1:] == (1,) * (
        synapse.post.ndim - 1
    )


def test_a_product_at_a_convolution_is_its_derivative():
    w, shape = numbers(5, 3, 3, 2, 4), (B, 3, 3, 4)
    circuit = apical.trace(scanned(convolved, shape), batch_axes=1)(w, SIX)
    (synapse,) = synapse_activity(circuit, w, (SIX,)).synapses
    signal = numbers(6, *synapse.post.shape)
    slopes = jax.vmap(lambda x, s: jax.grad(lambda w: jnp.vdot(s, convolved(w, x)))(w))(
        SIX, signal
    )
    assert np.allclose(synapse.product(SIX, signal), slopes.sum(0), rtol=1e-4)
    assert synapse.unit_axes == (3,) and not synapse.used_once
    means = synapse.unit_means(signal)
    assert np.allclose(means[:, 0, 0, 0], signal.mean((1, 2, 3)), rtol=1e-4, atol=1e-6)


def test_a_pull_is_the_transpose_of_what_makes_the_weights():
    def loss_fn(params, x):
        def drive(params, x):
            return x @ (2 * params["a"].T)

        return scanned(drive, (B, OUT))(params, x) + jnp.sum(params["b"]) ** 2

    params = {"a": numbers(4, OUT, IN), "b": jnp.ones(3)}
    circuit = apical.trace(loss_fn, batch_axes=1)(params, X)
    found = synapse_activity(circuit, params, (X,))
    update = numbers(7, IN, OUT)
    pulled = found.pull([update])
    assert np.allclose(pulled["a"], 2 * update.T) and not np.any(pulled["b"])


def test_only_the_named_synapses_are_read():
    def loss_fn(w, x):
        return scanned(lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"], (B, OUT))(w, x)

    w = {"a": numbers(4, IN, 6), "b": numbers(4, 6, OUT)}
    circuit = apical.trace(loss_fn, batch_axes=1)(w, X)
    assert len(synapse_activity(circuit, w, (X,)).synapses) == 2
    (second,) = synapse_activity(circuit, w, (X,), names=("b",)).synapses
    assert (second.name, second.node) == ("b", "unit")
    assert np.allclose(second.pre, jnp.tanh(X @ w["a"]), rtol=1e-5)


def test_a_factored_weight_is_read_and_said_not_to_be_linear():
    loss_fn = scanned(lambda w, x: x @ (w[0] @ w[1]), (B, OUT))
    w = numbers(4, IN, 3), numbers(4, 3, OUT)
    circuit = apical.trace(loss_fn, batch_axes=1)(w, X)
    (synapse,) = synapse_activity(circuit, w, (X,)).synapses
    assert np.allclose(synapse.weight, w[0] @ w[1], rtol=1e-5)
    with pytest.raises(ValueError, match="is not linear in the parameters"):
        require_linear_weights(circuit, w, (X,))


def test_two_arrangements_of_one_output_are_refused():
    def twice(w, x):
        def step(v, x):
            i = x @ w
            return v, apical.node(jnp.tanh(i + i.T), "unit")

        return jnp.sum(jax.lax.scan(step, 0.0, x)[1] ** 2) / B

    w = numbers(4, IN, B)
    circuit = apical.trace(twice, batch_axes=1)(w, X)
    with pytest.raises(ValueError, match="in two arrangements"):
        synapse_activity(circuit, w, (X,))
