"""Weights that are computed with arguments: spectral norms, masks, inner steps, styles.

`effective(params, held, extra)` is the weight of the middle layer: what is linear in
the weight is computed from `params`, everything else from `held`. So the second copy of
the layer, by hand, is `effective(copies, params, extra)`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import stop_gradient as still
from support.laws import assert_same, distance, drawn, normal, through

import apical
from apical.rules import DirectFeedbackAlignment, FeedbackAlignment

X, Y = normal(1, 4, 5), normal(2, 4, 3)
U, V, MASK = normal(3, 6), normal(4, 6), jnp.ones((6, 6)).at[0, 2:].set(0.0)
STYLE, BASE = 1 + 0.3 * normal(5, 4, 6), normal(6, 6, 6)
PARAMS = {"below": normal(7, 5, 6, size=0.5), "w": normal(8, 6, 6, size=0.5)}
PARAMS |= {"above": normal(9, 6, 3, size=0.5)}
LORA = {**PARAMS, "w": (normal(10, 6, 1), normal(11, 1, 6))}


def power_iteration(w, u, steps):
    def step(_, u):
        v = w @ u
        u = w.T @ (v / jnp.linalg.norm(v))
        return u / jnp.linalg.norm(u)

    return jax.lax.fori_loop(0, steps, step, u)


def norm_of_flax(params, held, u):
    """One step of the power iteration, through which no derivative goes."""
    w = held["w"]
    v = still(w @ u / jnp.linalg.norm(w @ u))
    u = still(w.T @ v / jnp.linalg.norm(w.T @ v))
    return params["w"] / (v @ w @ u)


def norm_of_torch(params, held, vectors):
    u, v = vectors
    return params["w"] / jnp.einsum("i,ij,j->", u, held["w"], v)


def norm_by_a_loop(params, held, u):
    w = held["w"]
    return params["w"] / jnp.linalg.norm(w @ power_iteration(w, u, 3))


def norm_by_a_product(params, held, u):
    return params["w"] * (1 / jnp.linalg.norm(held["w"] @ u))


def masked(params, held, mask):
    return params["w"] * mask


def masked_and_normalised(params, held, mask):
    return params["w"] * mask / jnp.linalg.norm(held["w"] * mask, axis=0)


def low_rank(params, held, base):
    return base + params["w"][0] @ params["w"][1]


def selected(params, held, rows):
    return params["w"][rows]


ROWS = jnp.array([5, 3, 0, 1, 1, 2])
SHARED = {
    "norm_of_flax": (norm_of_flax, PARAMS, U),
    "norm_of_torch": (norm_of_torch, PARAMS, (U, V)),
    "norm_by_a_loop": (norm_by_a_loop, PARAMS, U),
    "norm_by_a_product": (norm_by_a_product, PARAMS, U),
    "masked": (masked, PARAMS, MASK),
    "masked_and_normalised": (masked_and_normalised, PARAMS, MASK),
    "low_rank": (low_rank, LORA, BASE),
    "selected": (selected, PARAMS, ROWS),
}


def layered(effective):
    """A net with such a weight in its middle, and the same with second copies."""

    def loss_fn(params, x, y, extra):
        h = jnp.tanh(x @ params["below"])
        h = jnp.tanh(h @ effective(params, params, extra))
        return 0.5 * jnp.sum((h @ params["above"] - y) ** 2) / len(x)

    def oracle(params, copies, x, y, extra):
        h = jnp.tanh(x @ params["below"])
        copy = still(effective(copies, params, extra))
        h = jnp.tanh(through(jnp.matmul, h, effective(params, params, extra), copy))
        out = through(jnp.matmul, h, params["above"], copies["above"])
        return 0.5 * jnp.sum((out - y) ** 2) / len(x)

    return loss_fn, oracle


@pytest.mark.parametrize("name", SHARED)
def test_what_all_examples_share_makes_weights(name):
    effective, params, extra = SHARED[name]
    loss_fn, oracle = layered(effective)
    args, batch = (X, Y, extra), (0, 0, None)
    circuit = apical.trace(loss_fn, batch_axes=batch)(params, *args)
    copy = drawn(params)

    @jax.jit
    def compute():
        def feedback(copy):
            return jax.grad(lambda p: circuit.run(p, args, feedback=copy).loss)(params)

        by_hand = jax.grad(oracle)(params, copy, *args)
        return (
            feedback(copy),
            by_hand,
            feedback(params),
            jax.grad(loss_fn)(params, *args),
        )

    found, by_hand, itself, own = compute()
    assert_same(found, by_hand, 1e-4)
    assert_same(itself, own, 1e-4)
    assert distance(found["below"], own["below"]) > 1e-2
    # The norm, the mask and the base are part of the weight: no nodes of their own.
    assert [node.name.split(".")[0] for node in circuit.nodes] in (
        ["below", "w"],
        ["below", "w[0]+w[1]"],
    )
    assert len(circuit.synapses) == 3
    for rule in (FeedbackAlignment(), DirectFeedbackAlignment()):
        learner = apical.value_and_grad(loss_fn, rule, batch_axes=batch)
        state = learner.init(jax.random.key(0), params, *args)
        assert np.isfinite(jax.jit(learner)(params, state, *args).value)


def inner_steps(steps):
    """Learning to learn (Finn et al. 2017): the loss after steps on a support set."""

    def predict(params, x):
        return jnp.tanh(x @ params["a"] + params["b"]) @ params["c"]

    def inner(params, x, y):
        return jnp.mean((predict(params, x) - y) ** 2)

    def moved(params, x, y):
        def step(params, _):
            slope = jax.grad(inner)(params, x, y)
            return jax.tree.map(lambda w, g: w - 0.1 * g, params, slope), None

        return jax.lax.scan(step, params, None, length=steps)[0]

    def loss_fn(params, x, y, support, target):
        return jnp.mean((predict(moved(params, support, target), x) - y) ** 2)

    return loss_fn, moved


@pytest.mark.parametrize("steps", [1, 3])
def test_an_inner_step_on_a_shared_set_moves_the_weight(steps):
    loss_fn, moved = inner_steps(steps)
    params = {"a": normal(1, 5, 6, size=0.5), "b": normal(2, 6), "c": normal(3, 6, 3)}
    args = X, Y, normal(4, 8, 5), normal(5, 8, 3)
    circuit = apical.trace(loss_fn, batch_axes=(0, 0, None, None))(params, *args)
    assert [node.name for node in circuit.nodes] == ["a"]
    assert [synapse.name for synapse in circuit.synapses] == ["a", "c"]
    # What is taught at the only node goes back through the moved copies of `c`.
    copies = {**drawn(params), "b": params["b"]}

    def oracle(params):
        here, there = moved(params, *args[2:]), moved(copies, *args[2:])
        h = jnp.tanh(X @ here["a"] + here["b"])
        out = through(jnp.matmul, h, here["c"], still(there["c"]))
        return jnp.mean((out - Y) ** 2)

    found = jax.grad(lambda p: circuit.run(p, args, feedback=copies).loss)(params)
    assert_same(found, jax.grad(oracle)(params), 1e-4)
    assert distance(found["a"], jax.grad(loss_fn)(params, *args)["a"]) > 1e-2


def test_an_inner_step_for_each_task_moves_the_weight():
    one_task, _ = inner_steps(1)

    def loss_fn(params, *tasks):
        return jnp.mean(jax.vmap(one_task, (None, 0, 0, 0, 0))(params, *tasks))

    params = {"a": normal(1, 5, 6, size=0.5), "b": normal(2, 6), "c": normal(3, 6, 3)}
    shapes = (4, 2, 5), (4, 2, 3), (4, 8, 5), (4, 8, 3)
    args = tuple(normal(i, *shape) for i, shape in enumerate(shapes))
    circuit = apical.trace(loss_fn)(params, *args)
    circuit.require_feedback()
    own = jax.grad(loss_fn)(params, *args)

    def feedback(copies):
        return jax.grad(lambda p: circuit.run(p, args, feedback=copies).loss)(params)

    assert_same(feedback(params), own, 1e-4)
    assert distance(feedback(drawn(params))["a"], own["a"]) > 1e-2


# ------------------------------------------------------------------------- by example


def styled(h, w, style):
    return jnp.einsum("bi,bio->bo", h, w[None] * style[:, :, None])


def demodulated(h, w, style):
    kernel = w[None] * style[:, :, None]
    kernel = kernel / jnp.sqrt(jnp.sum(kernel**2, axis=1, keepdims=True) + 1e-3)
    return jnp.einsum("bi,bio->bo", h, kernel)


def by_style(operation, given):
    """A layer whose weight is scaled for each example, by data or by an activity."""

    def loss_fn(params, x, y, style, dot=lambda h, w, name: h @ w):
        h = jnp.tanh(dot(x, params["below"], "below"))
        scale = style if given else 1 + jnp.tanh(dot(style, params["s"], "s"))
        h = jnp.tanh(operation(h, params["w"], scale))
        return jnp.mean((dot(h, params["above"], "above") - y) ** 2)

    return loss_fn, {**PARAMS, **({} if given else {"s": normal(12, 6, 6, size=0.5)})}


@pytest.mark.parametrize("given", [True, False], ids=["data", "activity"])
def test_a_weight_that_examples_scale_has_a_copy_that_they_scale(given):
    loss_fn, params = by_style(styled, given)
    args, copies = (X, Y, STYLE), drawn(params)
    circuit = apical.trace(loss_fn)(params, *args)
    circuit.require_feedback()

    def both(h, w, style):
        """Signals to the activity and to the style go through the copy."""
        copy = copies["w"]
        there = styled(h, copy, still(style)) + styled(still(h), copy, style)
        return styled(still(h), w, still(style)) + there - still(there)

    def oracle(params):
        hand, _ = by_style(both, given)
        return hand(
            params, *args, lambda h, w, name: through(jnp.matmul, h, w, copies[name])
        )

    found = jax.grad(lambda p: circuit.run(p, args, feedback=copies).loss)(params)
    assert_same(found, jax.grad(oracle)(params), 1e-4)
    itself = jax.grad(lambda p: circuit.run(p, args, feedback=p).loss)(params)
    assert distance(itself["below"], found["below"]) > 1e-2


@pytest.mark.parametrize("given", [True, False], ids=["data", "activity"])
def test_a_weight_normalised_by_example_is_refused(given):
    loss_fn, params = by_style(demodulated, given)
    learner = apical.value_and_grad(loss_fn, FeedbackAlignment())
    with pytest.raises(ValueError, match=r"true 'w' at .*test_weights_with_arg"):
        learner.init(jax.random.key(0), params, X, Y, STYLE)


def test_a_kernel_that_an_activity_makes_is_refused_by_name():
    def loss_fn(params, x, y, z):
        kernels = jnp.einsum(
            "be,ewio->bwio", jax.nn.softmax(z @ params["r"]), params["w"]
        )
        h = jnp.tanh(x @ params["below"]).reshape(4, 1, 6, 1)

        def convolve(h, kernel):
            numbers = ("NWC", "WIO", "NWC")
            return jax.lax.conv_general_dilated(
                h, kernel, (1,), "SAME", dimension_numbers=numbers
            )

        h = jnp.tanh(jax.vmap(convolve)(h, kernels)).reshape(4, -1)
        return jnp.mean((h @ params["above"] - y) ** 2)

    params = {**PARAMS, "r": normal(1, 5, 2), "w": normal(2, 2, 3, 1, 1)}
    learner = apical.value_and_grad(loss_fn, FeedbackAlignment())
    with pytest.raises(ValueError, match=r"r, w.*kernel that is an activity"):
        learner.init(jax.random.key(0), params, X, Y, X)


# ------------------------------------------------- what all examples share, no weight


def test_activities_that_all_examples_share_keep_their_nodes():
    """The network that embeds a shared argument learns by the rule, not by backprop."""

    def loss_fn(params, x, y, time):
        embedded = jnp.tanh(time @ params["time"]) @ params["shift"]
        h = jnp.tanh(x @ params["below"] + embedded)
        return jnp.mean((h @ params["above"] - y) ** 2)

    params = {**PARAMS, "time": normal(1, 2, 6), "shift": normal(2, 6, 6)}
    args = X, Y, normal(3, 2)
    circuit = apical.trace(loss_fn, batch_axes=(0, 0, None))(params, *args)
    assert {node.name for node in circuit.nodes} >= {"time"}
    assert {s.name for s in circuit.synapses} == {"time", "shift", "below", "above"}
    own = jax.grad(loss_fn)(params, *args)
    copies = drawn(params)
    found = jax.grad(lambda p: circuit.run(p, args, feedback=copies).loss)(params)
    assert distance(found["time"], own["time"]) > 1e-2
