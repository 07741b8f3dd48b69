"""Online rules equal backpropagation of a loss with stops by hand, on every cell."""

import jax
import jax.numpy as jnp
import pytest
from support.by_hand import distance
from support.influence import CELLS, own_weight
from support.online_rules import PATHS, apart, both, gradient_of
from support.online_twins import CASES, REFUSALS

import apical
from apical.rules import RTRL, EProp, SnAp

RULES = {
    "EProp": lambda: EProp(chunk=3),
    "SnAp": lambda: SnAp(chunk=3),
    "RTRL": lambda: RTRL(),
}
# Parameters below another synapse of the same step.
LOWER = {
    "scans_in_series": {"encoder", "bias", "between"},
    "embedded": {"table"},
    "hidden_layer_in_the_cell": {"w"},
    "leaky": set(),
}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True):
        yield


@pytest.mark.grid(keep=9)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_the_gradient_of_the_twin(rule, name):
    found, expected = both(RULES[rule](), CASES[name](), PATHS[rule])
    assert max(apart(found, expected).values()) < 1e-12, apart(found, expected)


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("chunk", [1, 32])
@pytest.mark.parametrize("name", CELLS)
def test_snap_is_influence_masked_by_brute_force(name, chunk):
    cell = CELLS[name]()
    assert distance(gradient_of(SnAp(chunk=chunk), cell), own_weight(cell)) < 1e-12


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("name", REFUSALS)
def test_where_units_mix_rules_of_units_refuse(name):
    case = REFUSALS[name]()
    with pytest.raises(ValueError, match=f"`{case.operation}`"):
        gradient_of(EProp(), case)


@pytest.mark.filterwarnings("always:.* keeps no eligibility trace")
@pytest.mark.parametrize("name", LOWER)
def test_parameters_that_learn_within_the_step_alone_are_named(name, recwarn):
    case = CASES[name]()
    learner = apical.value_and_grad(case.loss_fn, EProp())
    learner.init(jax.random.key(7), case.params, *case.args)
    text = "".join(str(each.message).split(":")[0] for each in recwarn)
    assert {n for n in case.params if f"'{n}'" in text} == LOWER[name]


def test_a_learned_start_that_nothing_passes_back_to_is_named():
    def loss_fn(w, x):
        def step(h, x):
            h = jnp.tanh(x + h @ w["recurrent"])
            return h, h

        start = jnp.broadcast_to(w["start"], (5, 4))
        return jnp.mean(jax.lax.scan(step, start, x)[1] ** 2)

    def begun(rule):
        learner = apical.value_and_grad(loss_fn, rule, batch_axes=1)
        return learner(w, learner.init(jax.random.key(7), w, x), x).grads

    w, x = {"recurrent": jnp.eye(4), "start": jnp.ones(4)}, jnp.ones((3, 5, 4))
    with pytest.warns(UserWarning, match="gives 'start' a gradient of zero"):
        grads = begun(EProp())
    assert not jnp.any(grads["start"]) and jnp.all(grads["recurrent"] != 0)
    assert jnp.all(begun(SnAp())["start"] != 0)  # and no warning


def test_a_layer_that_is_heard_two_steps_later_is_named():
    def loss_fn(w, x):
        def step(state, x):
            h, k = state
            out = k @ w["out"]
            drive = h @ w["mid"]
            return (jnp.tanh(h + x @ w["in"]), jnp.tanh(k + drive)), out

        start = jnp.zeros((5, 4)), jnp.zeros((5, 4))
        return jnp.mean(jax.lax.scan(step, start, x)[1] ** 2)

    w = {name: jnp.eye(4) for name in ("in", "mid", "out")}
    learner = apical.value_and_grad(loss_fn, EProp(), batch_axes=1)
    x = jnp.ones((4, 5, 4))
    with pytest.warns(UserWarning, match="gives 'in' a gradient of zero"):
        state = learner.init(jax.random.key(7), w, x)
    grads = learner(w, state, x).grads
    assert not jnp.any(grads["in"])
    assert jnp.any(grads["mid"]) and jnp.any(grads["out"])


@pytest.mark.parametrize("rule", [EProp(chunk=3), SnAp(chunk=3)], ids=["EProp", "SnAp"])
def test_layers_packed_into_one_state_learn_as_layers_apart(rule):
    def loss(packed):
        def loss_fn(w, x):
            def step(state, x):
                v, u = (state[:, :4], state[:, 4:]) if packed else state
                v = 0.9 * v + x @ w["in"] + jnp.tanh(v) @ w["back"]
                u = 0.8 * u + jnp.tanh(v) @ w["mid"] + jnp.tanh(u) @ w["again"]
                out = jnp.tanh(u) @ w["out"]
                return jnp.concatenate([v, u], 1) if packed else (v, u), out

            start = jnp.zeros((5, 4)), jnp.zeros((5, 3))
            start = jnp.concatenate(start, 1) if packed else start
            return jnp.mean((jax.lax.scan(step, start, x)[1] - 1) ** 2)

        return loss_fn

    shapes = {"in": (3, 4), "back": (4, 4), "mid": (4, 3), "again": (3, 3)}
    keys = jax.random.split(jax.random.key(2), 6)
    pairs = zip(keys, [*shapes.items(), ("out", (3, 2))], strict=False)
    w = {name: jax.random.normal(key, shape) / 2 for key, (name, shape) in pairs}
    x = jax.random.normal(keys[5], (7, 5, 3))
    found = []
    for packed in (False, True):
        learner = apical.value_and_grad(loss(packed), rule, batch_axes=1)
        state = learner.init(jax.random.key(7), w, x)
        found.append(jax.jit(learner)(w, state, x).grads)
    assert distance(*found) < 1e-12
    exact = jax.grad(loss(True))(w, x)
    assert distance(found[1]["mid"], exact["mid"]) > 0.01
