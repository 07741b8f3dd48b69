"""Windows of a sequence: a critic predicts the gradient of all later windows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.by_hand import assert_close, distance
from support.check_on import check_on

import apical
from apical.rules import Backpropagation, WindowedSyntheticGradients

KEY = jax.random.key(0)
WINDOW, EXAMPLES, UNITS = 3, 4, 3
RULE = WindowedSyntheticGradients(optimizer=optax.sgd(0.05))
DRAW = np.random.default_rng(0)
U = np.asarray(0.5 * DRAW.normal(size=(UNITS, UNITS)), np.float32)
PARAMS = {"u": jnp.asarray(U), "in": jnp.asarray(DRAW.normal(size=(2, UNITS)) / 2)}
H = jnp.asarray(DRAW.normal(size=(EXAMPLES, UNITS)), float)
XS = jnp.asarray(DRAW.normal(size=(WINDOW, EXAMPLES, 2)), float)


def loss_fn(params, h, x):
    """A linear recurrent network that loses by what is in it at every step."""

    def step(h, x):
        h = h @ params["u"] + x @ params["in"]
        return h, 0.5 * jnp.sum(h**2)

    h, losses = jax.lax.scan(step, h, x)
    return jnp.sum(losses) / h.shape[0], {"end": {"h": h}}


KEYWORDS = {"has_aux": True, "batch_axes": (0, 1), "carry": (0, ("end", "h"))}


def learner_of(rule=RULE, loss_fn=loss_fn, **keywords):
    return apical.value_and_grad(loss_fn, rule, **{**KEYWORDS, **keywords})


def drawn(rule=RULE):
    state = learner_of(rule).init(KEY, PARAMS, H, XS)
    weights = jax.tree.map(lambda w: w + 0.3 * jnp.cos(1.0 + w.size), state.weights)
    return state._replace(weights=weights)


def test_a_window_by_hand():
    state = drawn()
    credit = jax.jit(learner_of())(PARAMS, state, H, XS)
    u, v, x = np.asarray(PARAMS["u"]), np.asarray(PARAMS["in"]), np.asarray(XS)
    (layer,) = state.weights
    a, b = np.asarray(layer["w"]), np.asarray(layer["b"])
    values = [np.asarray(H)]
    for t in range(WINDOW):
        values.append(values[-1] @ u + x[t] @ v)
    delta = values[-1] @ a + b  # the critic's prediction for the rest
    grads = {"u": 0.0, "in": 0.0}
    for t in reversed(range(WINDOW)):
        delta = delta + values[t + 1]
        grads["u"] = grads["u"] + values[t].T @ delta / EXAMPLES
        grads["in"] = grads["in"] + x[t].T @ delta / EXAMPLES
        delta = delta @ u.T
    off = values[0] @ a + b - delta  # the error of its prediction at the start
    moved = {"w": a - 0.05 * values[0].T @ off / EXAMPLES}
    moved["b"] = b - 0.05 * off.sum(axis=0) / EXAMPLES
    assert_close(credit.grads, grads)
    assert_close(credit.state.weights, [moved])
    assert_close(credit.aux, {"end": {"h": values[-1]}})
    np.testing.assert_allclose(credit.info.loss, 0.5 * np.sum(off**2) / 4, rtol=1e-4)
    silent = jax.tree.map(jnp.zeros_like, state.weights)
    truncated = learner_of()(PARAMS, state._replace(weights=silent), H, XS).grads
    assert distance(truncated["u"], grads["u"]) > 0.1
    true = jax.grad(loss_fn, has_aux=True)(PARAMS, H, XS)[0]
    assert_close(truncated, true)  # without the critic: truncated backpropagation


# ----------------------------------------------------------------- the exact critic


def exact():
    """P of the loss that is still to come, h P h / 2, once the inputs are zero.

    It is what the window to come loses, and P again where that window ends:
    P = sum_k U^k U^kT = U U^T + U P U^T.
    """
    size = UNITS**2
    p = np.linalg.solve(np.eye(size) - np.kron(U, U), (U @ U.T).ravel())
    return p.reshape(UNITS, UNITS)


def with_critic(matrix, state):
    weights = [{"w": jnp.asarray(matrix, float), "b": jnp.zeros(UNITS)}]
    return state._replace(weights=weights)


def test_with_the_exact_critic_a_window_has_the_gradient_of_the_whole_sequence():
    assert np.max(np.abs(np.linalg.eigvals(U))) < 0.95

    def whole(params):
        """The parameters of the first window, and what it does to all that follows."""
        first, aux = loss_fn(params, H, XS)
        rest = jnp.zeros((300, EXAMPLES, 2))
        return first + loss_fn(PARAMS, aux["end"]["h"], rest)[0]

    expected, state = jax.grad(whole)(PARAMS), drawn()
    found = jax.jit(learner_of())(PARAMS, with_critic(exact(), state), H, XS).grads
    assert_close(found, expected, 1e-3)
    other = learner_of()(PARAMS, with_critic(0.5 * exact(), state), H, XS).grads
    assert distance(other, expected) > 0.05


def test_the_critic_converges_to_the_exact_one_from_window_to_window():
    """A stream of states with no input: what is lost later is all bootstrapped."""
    rule = WindowedSyntheticGradients(
        optimizer=optax.adam(optax.cosine_decay_schedule(0.05, 2000))
    )
    learner, starts = learner_of(rule), jnp.concatenate([jnp.eye(3), -jnp.eye(3)])
    none = jnp.zeros((WINDOW, len(starts), 2))
    state = learner.init(KEY, PARAMS, starts, none)

    @jax.jit
    def train(state):
        def call(state, _):
            credit = learner(PARAMS, state, starts, none)
            return credit.state, credit.info.loss

        return jax.lax.scan(call, state, length=2000)

    after, losses = train(state)
    (layer,) = after.weights
    assert_close(layer["w"], exact(), 1e-2, 1e-3)
    assert_close(layer["b"], np.zeros(UNITS), atol=1e-3)
    assert losses[-1] < 1e-4 * losses[0]
    window = sum(
        np.linalg.matrix_power(U, k) @ np.linalg.matrix_power(U, k).T
        for k in range(1, WINDOW + 1)
    )
    assert distance(window, exact()) > 0.05  # more than the next window alone


# ----------------------------------------------------------- what pays off only later


DELAY, WIDTH = 4, 24


def remember(params, h, x):
    """Output the input of `DELAY` steps ago."""

    def step(h, x):
        shown, wanted = x
        h = jnp.tanh(h @ params["u"] + shown @ params["in"])
        return h, jnp.mean((h @ params["out"] - wanted) ** 2)

    h, losses = jax.lax.scan(step, h, x)
    return jnp.mean(losses), {"h": h}


def copy_task(rule, calls=4000, window=2):
    """The mean loss over the last windows, each two steps long."""
    draw = np.random.default_rng(1)
    params = {"u": draw.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 * 0.9}
    params |= {"in": draw.normal(size=(1, WIDTH)), "out": np.zeros((WIDTH, 1))}
    params = jax.tree.map(lambda w: jnp.asarray(w, float), params)
    bits = np.sign(draw.normal(size=(calls * window + DELAY, 16, 1)))
    shown = jnp.asarray(bits[DELAY:], float).reshape(calls, window, 16, 1)
    wanted = jnp.asarray(bits[:-DELAY], float).reshape(calls, window, 16, 1)
    step = apical.train_step(
        remember,
        rule,
        optax.adam(2e-3),
        has_aux=True,
        batch_axes=(0, 1),
        carry=(0, "h"),
    )
    h = jnp.zeros((16, WIDTH))
    state = step.init(KEY, params, h, (shown[0], wanted[0]))

    def call(carried, x):
        params, state, h = carried
        params, state, credit = step(params, state, h, x)
        return (params, state, credit.aux["h"]), credit.value

    run = jax.jit(lambda: jax.lax.scan(call, (params, state, h), (shown, wanted))[1])
    return float(jnp.mean(run()[-200:]))


def test_the_critic_trains_effects_after_the_window():
    truncated = copy_task(Backpropagation())
    beyond = copy_task(WindowedSyntheticGradients(1e-2))
    assert beyond < 0.1 * truncated


# -------------------------------------------------------------------------- refusals


def test_invalid_windows_are_refused():
    def init(loss_fn=loss_fn, args=(H, XS), **keywords):
        return learner_of(loss_fn=loss_fn, **keywords).init(KEY, PARAMS, *args)

    with pytest.raises(ValueError, match="pass `has_aux=True` and `carry=`"):
        init(carry=None)
    with pytest.raises(ValueError, match="`carry` names argument 2"):
        init(carry=(2, "end"))
    with pytest.raises(ValueError, match=r"`carry` looks for 'state' in `aux`"):
        init(carry=(0, "state"))

    def longer(params, h, x):
        loss, aux = loss_fn(params, h, x)
        end = aux["end"]["h"]
        return loss, {"end": {"h": jnp.concatenate([end, end])}}

    with pytest.raises(ValueError, match=r"A window starts from \(4, 3\).*\(8, 3\)"):
        init(longer)

    def counted(params, h, x):
        loss, aux = loss_fn(params, h["h"], x)
        return loss, {"end": {"h": {"h": aux["end"]["h"], "step": h["step"] + 1}}}

    start = {"h": H, "step": jnp.zeros((4, 1), int)}
    with pytest.raises(ValueError, match="floating-point numbers that differ"):
        init(counted, (start, XS))


def test_a_carry_of_several_arrays_is_read_side_by_side():
    def pair(params, carry, x):
        loss, aux = loss_fn(params, carry[0], x)
        return loss, {"end": {"h": (aux["end"]["h"], carry[1] + 1)}}

    args = ((H, jnp.ones((EXAMPLES, 2))), XS)
    state = learner_of(loss_fn=pair).init(KEY, PARAMS, *args)
    (layer,) = state.weights
    assert layer["w"].shape == (5, 5)
    assert learner_of(loss_fn=pair)(PARAMS, state, *args).grads["u"].shape == (3, 3)


def test_the_rule_keeps_the_laws():
    params = {**PARAMS, "in": PARAMS["in"][:1], "out": jnp.ones((UNITS, 1))}
    args = H, (XS[..., :1], XS[..., 1:])
    keywords = {**KEYWORDS, "carry": (0, "h")}
    check_on(RULE, loss_fn=remember, params=params, args=args, **keywords)
