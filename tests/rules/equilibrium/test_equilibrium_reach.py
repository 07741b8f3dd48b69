"""Equilibrium propagation: supported models, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.broken_rules import problem as given
from support.by_hand import assert_close, distance, loss_fn
from support.check_on import check_on
from support.refusals import refuses
from support.settled_by_hand import credit_of, weights

import apical
from apical.rules import EquilibriumPropagation, Holomorphic

KEY = jax.random.key(0)
EP = EquilibriumPropagation


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


# ------------------------------------------------------------------- where it reaches


def convolutional(params, x, y):
    for kernel in params["kernels"]:
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        n, rows, columns, channels = x.shape
        squares = x.reshape(n, rows // 2, 2, columns // 2, 2, channels)
        x = jnp.tanh(squares.max(axis=(2, 4)))
    return jnp.mean((x.reshape(len(x), -1) @ params["out"] - y) ** 2)


def recurrent(params, x, y):
    def step(h, x):
        return jnp.tanh(h @ params["u"] + x @ params["in"]), None

    h, _ = jax.lax.scan(step, jnp.zeros((len(y), 4), x.dtype), jnp.swapaxes(x, 0, 1))
    return jnp.mean((h @ params["out"] - y) ** 2)


def residual(params, x, y):
    h = jnp.tanh(x @ params["in"])
    for w in params["blocks"]:
        h = jnp.tanh(h + h @ w)
    return jnp.mean((h @ params["out"] - y) ** 2)


def normal(*shape, size=0.3):
    draw = np.random.default_rng(shape)
    return jnp.asarray(size * draw.normal(size=shape))


Y = normal(3, 2, size=1.0)
REACHED = {
    "convolutional": (
        convolutional,
        {"kernels": [normal(3, 3, 1, 2) / 2, normal(3, 3, 2, 2) / 4]}
        | {"out": normal(2, 2)},
        normal(3, 4, 4, 1, size=1.0),
    ),
    "recurrent": (
        recurrent,
        {"u": normal(4, 4), "in": normal(2, 4), "out": normal(4, 2)},
        normal(3, 5, 2, size=1.0),
    ),
    "residual": (
        residual,
        {"in": normal(3, 4), "blocks": [normal(4, 4), normal(4, 4) / 2]}
        | {"out": normal(4, 2)},
        normal(3, 3, size=1.0),
    ),
}


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", REACHED)
def test_other_models_get_the_gradient_of_their_equilibrium(name):
    loss, params, x = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, float) if hasattr(leaf, "dtype") else leaf,
        REACHED[name],
    )
    # Loops over convolutions are written out: few steps of small weights.
    steps = (10, 8) if name == "convolutional" else (100, 60)
    rule = EP(0.05, *steps, rate=0.9)
    credit = credit_of(rule, loss, params, (x, Y))
    assert np.all(credit.info.settled)
    circuit = apical.trace(loss, nodes="unit")(params, x, Y)
    truth = jax.jit(lambda p: rule.reference(circuit, p, (), (x, Y)))(params)
    assert distance(credit.grads, truth) < 2e-2
    assert distance(jax.grad(loss)(params, x, Y), truth) > 0.02


def test_a_sum_over_examples_has_as_many_times_the_gradient_of_the_mean():
    params, data = weights()

    def total(params, x, y):
        return len(x) * loss_fn(params, x, y)

    rule = EP(0.2, 6, 4)
    whole = credit_of(rule, total, params, data, reduction="sum").grads
    mean = credit_of(rule, loss_fn, params, data).grads
    assert_close(whole, jax.tree.map(lambda g: 4 * g, mean), 1e-8)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("estimate", ["centred", "random sign", Holomorphic(3)])
def test_the_rule_keeps_the_laws(estimate):
    # The loss is that at equilibrium, and the update is taken through the drives.
    rule = EP(rate=0.9, estimate=estimate)
    check_on(rule, **given(), skip=("value", "pull"))


# ------------------------------------------------------------------------- refusals


def init(loss, rule=None, rows=3, **keywords):
    params = {k: jnp.asarray(normal(3, 3)) for k in "abc"}
    learner = apical.value_and_grad(loss, EP() if rule is None else rule, **keywords)
    return learner.init(KEY, params, normal(rows, 3), jnp.ones((rows, 3)))


def mean_of(network):
    return lambda p, x, y: jnp.mean((network(p, x) - y) ** 2)


def chained(p, x):
    return jnp.tanh(x @ p["a"] @ p["b"]) @ p["c"]


def stream(p, x):
    h = x @ p["a"]
    return h + jnp.tanh(h @ p["b"]) @ p["c"]


def dropped(p, x):
    return (jnp.tanh(x @ p["a"]) * (x > 0)) @ p["b"] @ p["c"]


def normalised(p, x):
    z = x @ p["a"]
    return jnp.tanh(z - z.mean(axis=0)) @ p["b"]


def shared(p, x):
    return x @ p["a"] + jnp.tanh(p["b"][0] + 0 * x[0]) @ p["c"]


def smooth(rho):
    return mean_of(lambda p, x: rho(x @ p["a"]) @ p["b"])


def ending(last):
    loss = smooth(jnp.tanh)
    return lambda p, *data: last(loss(p, *data))


HOLOMORPHIC = EP(estimate=Holomorphic(4))
REAL_LOSS = (HOLOMORPHIC, "makes a complex loss real")
REFUSED = {
    "no units": (
        mean_of(lambda p, x: x @ p["a"] @ p["b"]),
        None,
        "needs units, and none",
    ),
    "chain": (mean_of(chained), None, "between 'a' and 'b' (", "apical.node"),
    "stream": (mean_of(stream), None, "unit between one synapse and the next"),
    "batch norm": (mean_of(normalised), None, "examples meet in `sub` at"),
    "shared": (mean_of(shared), None, "'b'", "is the same for all of them"),
    "relu": (smooth(jax.nn.relu), HOLOMORPHIC, "`max` at", "not holomorphic"),
    "abs": (smooth(lambda z: jnp.tanh(abs(z))), HOLOMORPHIC, "`abs` at"),
    "choice": (
        smooth(lambda z: jnp.where(z > 0, jnp.tanh(z), z)),
        *(HOLOMORPHIC, "is not holomorphic"),
    ),
    "cast": (
        smooth(lambda z: jnp.tanh(z).astype(jnp.float32)),
        *(HOLOMORPHIC, "complex"),
    ),
    "loss cast": (ending(lambda x: x.astype(jnp.float32)), *REAL_LOSS),
    "loss asarray": (ending(lambda x: jnp.asarray(x, jnp.float32)), *REAL_LOSS),
    "loss abs": (ending(jnp.abs), None, "examples meet in `abs` at"),
    "loss real": (ending(jnp.real), *REAL_LOSS),
    "error function": (smooth(jax.scipy.special.erf), HOLOMORPHIC, "`erf` at"),
}


@pytest.mark.filterwarnings("ignore:Casting")  # of complex numbers to real ones
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_defined_is_refused(name):
    loss, rule, *words = REFUSED[name]
    refuses((lambda: init(loss, rule), *words))


def test_what_is_holomorphic_is_not_refused():
    def loss(p, x, y):
        h = jax.nn.silu(jax.nn.sigmoid(x @ p["a"]) @ p["b"])
        return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(h @ p["c"]), axis=-1))

    assert init(loss, HOLOMORPHIC) == ()


FIELDS = {
    "nudge": (lambda: EP(0.0), "`nudge`"),
    "estimate": (lambda: EP(estimate="both"), "`estimate`", "'centred'"),
    "points": (lambda: Holomorphic(1), "`points`", "at least 2"),
    "steps": (lambda: EP(free_steps=0), "`free_steps`"),
    "gain": (lambda: EP(gain=-1.0), "`gain`"),
    "nodes": (lambda: init(mean_of(dropped), nodes="entry"), "nodes=", "'unit'"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_invalid_settings_are_refused(name):
    refuses(FIELDS[name])


def test_a_module_that_holds_functions_is_taken():
    eqx = pytest.importorskip("equinox")
    params = eqx.nn.MLP(3, 2, 4, 1, jnp.tanh, key=jax.random.key(0))

    def loss(model, x, y):
        return jnp.mean(jnp.sum((jax.vmap(model)(x) - y) ** 2, axis=-1))

    learner = apical.value_and_grad(loss, HOLOMORPHIC)
    data = jnp.ones((4, 3)), jnp.ones((4, 2))
    assert learner.init(jax.random.key(0), params, *data) == ()
