"""Refusals of direct feedback: no target, no output, no axis of examples."""

import jax
import jax.numpy as jnp
import optax
import pytest
from support.by_hand import batch, layers, loss_fn, network
from support.laws import problem

import apical
from apical.rules import DirectFeedbackAlignment, DirectRandomTargetProjection

SGD = optax.sgd(0.1)
KEY = jax.random.key(0)
PARAMS, DATA = layers(5, 7, 6, 3), batch(4, 5, 3)
ERROR, TARGET = DirectFeedbackAlignment(), DirectRandomTargetProjection()


def refuses(message, rule=ERROR, loss_fn=loss_fn, params=PARAMS, data=DATA, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    with pytest.raises(ValueError, match=message):
        learner.init(KEY, params, *data)


# ----------------------------------------------------------------------------- targets


def test_a_rule_that_sees_the_target_needs_one():
    refuses("DirectRandomTargetProjection uses .* pass `target=`", TARGET)
    step = apical.train_step(loss_fn, TARGET, SGD)
    with pytest.raises(ValueError, match="pass `target=`"):
        step.learner.init(KEY, PARAMS, *DATA)


def test_a_target_of_another_shape_is_refused():
    message = r"returned shape \(4,\), .* output has shape \(4, 3\).*jax.nn.one_hot"
    refuses(message, TARGET, target=lambda x, y: jnp.argmax(y, axis=1))


def test_a_target_that_is_no_function_is_refused():
    with pytest.raises(TypeError, match=r"`target` must be a .* not a ndarray"):
        apical.value_and_grad(loss_fn, TARGET, target=jax.device_get(DATA[1]))


@pytest.mark.parametrize(
    "call",
    [
        lambda **keywords: apical.train_step(loss_fn, TARGET, SGD, **keywords),
        lambda **keywords: apical.value_and_grad(loss_fn, TARGET, **keywords),
    ],
    ids=["train_step", "value_and_grad"],
)
def test_every_entry_takes_the_same_keywords(call):
    call(
        has_aux=False, reduction="mean", batch_axes=0, nodes=None, target=lambda x, y: y
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'targets'"):
        call(targets=lambda x, y: y)


# ------------------------------------------------------------------------------ output


def two_heads(params, x, y):
    hidden = jnp.tanh(x @ params["in"])
    heads = hidden @ params["one"], hidden @ params["two"]
    return jnp.mean((heads[0] - y) ** 2) + jnp.mean(jnp.sin(heads[1]))


HEADS = {"in": jnp.ones((5, 4)), "one": jnp.ones((4, 3)), "two": jnp.ones((4, 3))}


def test_a_loss_without_an_output_is_refused():
    found = problem("scan_xs")
    refuses(
        "no output .*Mark it",
        ERROR,
        found.loss_fn,
        found.params,
        found.args,
        batch_axes=0,
    )


def test_a_marked_output_is_taken():
    def loss_fn(params, x, y):
        hidden = jnp.tanh(x @ params["in"])
        one = apical.output(hidden @ params["one"])
        return jnp.mean((one - y) ** 2) + jnp.mean(jnp.sin(hidden @ params["two"]))

    learner = apical.value_and_grad(loss_fn, ERROR)
    assert learner.init(KEY, HEADS, *DATA).feedback["in"].shape == (4, 3)


def test_an_output_before_a_node_is_refused():
    def loss_fn(params, x, y):
        hidden = apical.output(jnp.tanh(x @ params[0]["w"]))
        return jnp.mean((jnp.tanh(hidden @ params[1]["w"]) @ params[2]["w"] - y) ** 2)

    refuses("The output reaches the node '1'.*Mark a later activity", ERROR, loss_fn)


@pytest.mark.parametrize("shape", [(4, 3), (4, 1, 3)])
def test_a_node_that_is_the_output_takes_the_error_itself(shape):
    def loss_fn(params, x, y):
        output = apical.node(network(params, x), "out")
        output = apical.output(output.reshape(shape))  # the same activity
        return 0.5 * jnp.sum((output.reshape(y.shape) - y) ** 2) / 4

    learner = apical.value_and_grad(loss_fn, ERROR, batch_axes=None)
    state = learner.init(KEY, PARAMS, *DATA)
    signals = apical.value_and_grad(loss_fn, ERROR, batch_axes=None).signals(
        PARAMS, state, *DATA
    )
    error = (network(PARAMS, DATA[0]) - DATA[1]) / 4
    assert jnp.allclose(signals["out"].teaching, error, atol=1e-6)
    found, true = learner(PARAMS, state, *DATA).grads, jax.grad(loss_fn)(PARAMS, *DATA)
    assert jnp.allclose(found[2]["w"], true[2]["w"], atol=1e-6)
    assert not jnp.allclose(found[0]["w"], true[0]["w"], atol=1e-2)


def test_another_error_is_refused():
    with pytest.raises(ValueError, match="`error` must be one of"):
        DirectFeedbackAlignment(error="half")


# ---------------------------------------------------------------------------- examples


def test_examples_that_share_an_axis_with_others_receive_their_own_error():
    """Tokens that are folded into the batch are separated again."""

    def folded(params, x, y):
        flat = jnp.tanh(x.reshape(-1, 5) @ params[0]["w"]) @ params[1]["w"]
        return jnp.mean((flat.reshape(len(y), -1)[:, :3] - y) ** 2)

    def apart(params, x, y):
        out = jnp.tanh(x @ params[0]["w"]) @ params[1]["w"]
        return jnp.mean((out.reshape(len(y), -1)[:, :3] - y) ** 2)

    data = jax.random.normal(KEY, (4, 2, 5)), jnp.ones((4, 3))
    found = []
    for each in (folded, apart):
        learner = apical.value_and_grad(each, ERROR)
        state = learner.init(KEY, PARAMS, *data)
        found.append(learner(PARAMS, state, *data).grads[0]["w"])
    assert jnp.allclose(*found, atol=1e-6)


def test_a_loss_for_one_batch_size_is_supported():
    def loss_fn(params, x, y):
        return jnp.mean((network(params, x) + jnp.ones((4, 1)) - y) ** 2)

    learner = apical.value_and_grad(loss_fn, ERROR)
    assert learner.init(KEY, PARAMS, *DATA).feedback["0"].shape == (7, 3)


def test_a_node_that_all_examples_share_is_refused():
    def loss_fn(params, x, y, shared):
        gate = jnp.tanh(jnp.tanh(shared @ params["a"]) @ params["b"])
        return jnp.mean(((jnp.tanh(x @ params["a"]) * gate) @ params["c"] - y) ** 2)

    params = {"a": jnp.ones((5, 4)), "b": jnp.ones((4, 4)), "c": jnp.ones((4, 3))}
    data = *DATA, jnp.ones(5)
    message = r"Node 'a.*' has no axis of examples.*nodes='marked'"
    refuses(message, ERROR, loss_fn, params, data, batch_axes=(0, 0, None))


def test_the_axis_of_the_examples_is_found_by_tracing_with_twice_as_many():
    assert problem("gru").circuit.example_axes == {
        "reset": 1,
        "new+update": 1,
        "output": 0,
    }
    assert problem("examples_last").circuit.example_axes == {
        "0": 1,
        "1": 1,
        "output": 0,
    }
    alone = apical.trace(loss_fn, batch_axes=None)(PARAMS, *DATA)
    assert set(alone.example_axes.values()) == {None}
