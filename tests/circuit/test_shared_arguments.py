"""A mask that all examples share gives an effective weight."""

import jax
import jax.numpy as jnp
import pytest
from support.laws import assert_same, distance, normal

import apical
from apical.rules import FeedbackAlignment, PredictiveCoding

X, Y = normal(1, 6, 3), normal(2, 6, 2)
PARAMS = {"a": normal(3, 3, 5), "b": normal(4, 5, 5), "c": normal(5, 5, 2)}
MASK = jax.random.bernoulli(jax.random.key(6), 0.5, (5, 5))
SHARED = {"batch_axes": (0, 0, None)}


def times(w, mask):
    return w * mask


def where(w, mask):
    return jnp.where(mask, w, 0.0)


def scaled(w, mask):
    return 2 * mask * w


def drawn(w, key):
    return jnp.where(jax.random.bernoulli(key, 0.5, w.shape), w / 0.5, 0.0)


def loss_with(masked):
    def loss_fn(params, x, y, mask):
        hidden = jnp.tanh(x @ params["a"])
        hidden = jnp.tanh(hidden @ masked(params["b"], mask))
        return jnp.mean((hidden @ params["c"] - y) ** 2)

    return loss_fn


@pytest.mark.parametrize("masked", [times, where, scaled, drawn])
def test_a_weight_times_a_shared_mask_is_a_synapse(masked):
    learner = apical.value_and_grad(loss_with(masked), FeedbackAlignment(), **SHARED)
    mask = jax.random.key(7) if masked is drawn else MASK
    circuit = learner.circuit(PARAMS, X, Y, mask)
    assert [n.name for n in circuit.nodes] == ["a", "b"]
    assert [s.name for s in circuit.synapses] == ["a", "b", "c"]


def test_a_mask_of_each_entry_and_example_makes_no_weight():
    def loss_fn(params, x, y, mask):
        hidden = jnp.tanh(x @ params["a"])
        hidden = jnp.tanh(jnp.einsum("ni,nij->nj", hidden, params["b"] * mask))
        return jnp.mean((hidden @ params["c"] - y) ** 2)

    learner = apical.value_and_grad(loss_fn, FeedbackAlignment())
    with pytest.raises(ValueError, match="by None in `batch_axes`"):
        learner.init(jax.random.key(0), PARAMS, X, Y, jnp.ones((6, 5, 5)))


def by_hand(phi):
    """Feedback alignment written out; the mask is on both sides."""
    one = jnp.tanh(X @ PARAMS["a"])
    two = jnp.tanh(one @ (PARAMS["b"] * MASK))
    error = 2 * (two @ PARAMS["c"] - Y) / Y.size
    drive_two = (error @ phi["c"].T) * (1 - two**2)
    drive_one = (drive_two @ (phi["b"] * MASK).T) * (1 - one**2)
    grads = {"a": X.T @ drive_one, "b": MASK * (one.T @ drive_two)}
    return {**grads, "c": two.T @ error}


def test_feedback_alignment_with_a_mask_equals_the_network_by_hand():
    learner = apical.value_and_grad(loss_with(times), FeedbackAlignment(), **SHARED)
    state = learner.init(jax.random.key(0), PARAMS, X, Y, MASK)
    found = learner(PARAMS, state, X, Y, MASK).grads
    assert_same(found, by_hand(state.feedback), 1e-5)
    assert distance(found["a"], by_hand(PARAMS)["a"]) > 0.1


@pytest.mark.parametrize("masked", [times, where])
def test_predictive_coding_with_a_mask_is_exact_and_has_its_node(masked):
    loss_fn = loss_with(masked)
    true = jax.grad(loss_fn)(PARAMS, X, Y, MASK)
    errors = []
    for steps in (1, 2):
        rule = PredictiveCoding(steps=steps)
        learner = apical.value_and_grad(loss_fn, rule, **SHARED)
        grads = learner(PARAMS, (), X, Y, MASK).grads
        errors.append(max(distance(grads[n], true[n]) for n in true))
    assert errors[1] < 1e-5 < 0.1 < errors[0]


def test_a_mask_inside_a_loop_is_found_there():
    def loss_fn(params, x, y, mask):
        def step(hidden, drive):
            hidden = jnp.tanh(drive + hidden @ (params["b"] * mask))
            return hidden, hidden

        drives = jnp.stack([x @ params["a"]] * 3)
        _, hidden = jax.lax.scan(step, jnp.zeros((6, 5)), drives)
        return jnp.mean((hidden[-1] @ params["c"] - y) ** 2)

    learner = apical.value_and_grad(loss_fn, FeedbackAlignment(), **SHARED)
    circuit = learner.circuit(PARAMS, X, Y, MASK)
    assert [s.name for s in circuit.synapses] == ["a", "b", "c"]


def test_a_shared_argument_that_enters_a_synapse_is_still_data():
    def loss_fn(params, points, y):
        hidden = jnp.tanh(points @ params["a"])
        return jnp.mean((hidden @ params["b"] @ params["c"] - y) ** 2)

    for batch in ((None, 0), (0, 0), None):
        learner = apical.value_and_grad(loss_fn, FeedbackAlignment(), batch_axes=batch)
        circuit = learner.circuit(PARAMS, X, Y)
        assert circuit.synapses[0].name == "a"
        assert circuit.nodes[0].name == "a"


def test_what_is_larger_than_the_weight_is_no_mask_of_it():
    def loss_fn(params, times, y):
        drive = times[:, None] * params["line"]  # a layer written as a product
        return jnp.mean((jnp.tanh(drive) @ params["c"] - y) ** 2)

    params = {"line": normal(8, 1, 5), "c": PARAMS["c"]}
    for batch in ((None, 0), (0, 0)):
        learner = apical.value_and_grad(loss_fn, PredictiveCoding(), batch_axes=batch)
        circuit = learner.circuit(params, X[:, 0], Y)
        assert [n.name for n in circuit.nodes] == ["line"]
