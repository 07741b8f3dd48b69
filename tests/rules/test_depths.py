"""Deep networks: signals reach every layer, or a warning names the others."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.laws import assert_same, normal

import apical
from apical import rules
from apical.rules import PredictiveCoding

pytestmark = pytest.mark.grid(keep=5)

KEY = jax.random.key(0)
DEEP = 26
X, Y = normal(1, 4, 3, size=0.5), normal(2, 4, 3)


def chain(params, x, y):
    for w in params:
        x = jnp.tanh(x @ w)
    return 0.5 * jnp.mean(jnp.sum((x - y) ** 2, -1))


def convolved(params, x, y):
    x, layout = x[:, None], ("NWC", "WIO", "NWC")
    for w in params:
        x = jax.lax.conv_general_dilated(x, w[None], (1,), "SAME", (1,), (1,), layout)
        x = jnp.tanh(x)
    return 0.5 * jnp.mean(jnp.sum((x[:, 0] - y) ** 2, -1))


def looped(params, x, y):
    """Three nodes at each step, and the last step is read."""

    def step(h, w):
        return jnp.tanh(jnp.tanh(jnp.tanh(h @ w) @ w) @ w), None

    h, _ = jax.lax.scan(step, x, params)
    return 0.5 * jnp.mean(jnp.sum((h - y) ** 2, -1))


def weights(depth):
    return [jnp.eye(3) + normal(i, 3, 3, size=0.1) for i in range(depth)]


def stream(params, x, y):
    """Each layer adds to a stream."""
    h = x @ params[0]
    for w in params[1:-1]:
        h = h + jnp.tanh(h) @ w / len(params)
    return 0.5 * jnp.mean(jnp.sum((h @ params[-1] - y) ** 2, -1))


def learner_of(loss_fn, rule, **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return jax.jit(learner.init), jax.jit(learner)


# ---- Signals reach every layer


UNROLLED = {
    "fixed": PredictiveCoding(),
    "whole steps": PredictiveCoding(inference=optax.sgd(1.0)),
    "free": PredictiveCoding(prediction="free"),
    "small steps": PredictiveCoding(rate=0.5),
    "errors": PredictiveCoding(prediction="free", inference=rules.ErrorRelaxation()),
    "zero divergence": PredictiveCoding(
        prediction="free", inference=rules.ZeroDivergence()
    ),
    "activities": rules.ActivationRelaxation(),
    "compartments": rules.DualPropagation(),
    "equilibrium": rules.EquilibriumPropagation(),
    "clamped": rules.ContrastiveHebbian(gain=1.0),
    "phases": rules.GeneRec(gain=1.0),
    "incremental": rules.IncrementalPredictiveCoding(),
}


# At equilibrium the difference of two states fades below rounding in so deep a net.
@pytest.mark.parametrize("name", [n for n in UNROLLED if n != "equilibrium"])
def test_by_default_the_first_of_many_layers_is_taught(name):
    rule, params = UNROLLED[name], weights(DEEP)
    if rule.coupled:
        step = apical.train_step(chain, rule, optax.sgd(1.0))
        state = step.init(KEY, params, X, Y)
        moved = jax.jit(step)(params, state, X, Y)[0]
        grads = jax.tree.map(jnp.subtract, params, moved)
    else:
        init, call = learner_of(chain, rule, target=lambda x, y: y)
        grads = call(params, init(KEY, params, X, Y), X, Y).grads
    assert all(np.any(g != 0) and np.all(np.isfinite(g)) for g in grads)


@pytest.mark.parametrize("name", ["fixed", "whole steps", "activities"])
@pytest.mark.parametrize("loss_fn", [chain, convolved, looped, stream])
def test_what_is_exact_in_shallow_nets_is_exact_in_deep_ones(name, loss_fn):
    params = weights(DEEP)
    params = jnp.stack(params[:9]) if loss_fn is looped else params
    init, call = learner_of(loss_fn, UNROLLED[name])
    credit = call(params, init(KEY, params, X, Y), X, Y)
    assert_same(credit.grads, jax.grad(loss_fn)(params, X, Y), 1e-3)
    assert bool(credit.info.settled)


# ------------------------------------------------------------ or a warning says which


# The nodes of a chain of six, from the input on: a sweep carries a signal by one.
FORWARDS = ("0", "1", "2", "3", "4")
TOO_FEW = {
    "fixed": lambda n: PredictiveCoding(n, inference=optax.sgd(1.0)),
    "closed form": lambda n: PredictiveCoding(n),
    "free": lambda n: PredictiveCoding(n, prediction="free"),
    "activities": lambda n: rules.ActivationRelaxation(n),
    "compartments": lambda n: rules.DualPropagation(steps=n),
    "equilibrium": lambda n: rules.EquilibriumPropagation(nudged_steps=n),
    "clamped": lambda n: rules.ContrastiveHebbian(clamped_steps=n),
    "coupled": lambda n: rules.CoupledLearning(clamped_steps=n),
    "phases": lambda n: rules.GeneRec(clamped_steps=n),
    "incremental": lambda n: rules.IncrementalPredictiveCoding(n),
    "forwards": lambda n: PredictiveCoding(inference=rules.Sweep(n, FORWARDS)),
}


def told(rule, loss_fn, params):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        learner = apical.value_and_grad(loss_fn, rule, target=lambda x, y: y)
        learner.init(KEY, params, X, Y)
    assert {each.filename for each in found} <= {__file__}
    return [str(each.message) for each in found]


@pytest.mark.parametrize("name", TOO_FEW)
def test_too_few_steps_are_told_with_the_first_nodes_and_how_many_it_takes(name):
    params = weights(6)
    circuit = apical.trace(chain)(params, X, Y)
    needed = max(circuit.distances.values())
    assert told(TOO_FEW[name](needed), chain, params) == []
    (message,) = told(TOO_FEW[name](needed - 2), chain, params)
    first, second, third, *_ = circuit.distances
    assert repr(first) in message and repr(second) in message
    assert repr(third) not in message
    assert f"s={needed}`" in message


def test_a_sweep_of_every_second_level_carries_a_signal_by_two():
    def swept(sweeps):
        order = rules.Sweep(sweeps, "even/odd")
        return PredictiveCoding(prediction="free", inference=order)

    assert not told(swept(4), chain, weights(8))
    (message,) = told(swept(3), chain, weights(8))
    assert "`sweeps=4`" in message and "'1'" in message and "'2'" not in message
    assert not told(PredictiveCoding(inference=rules.Sweep()), chain, weights(8))


@pytest.mark.parametrize("loss_fn", [chain, stream, looped])
def test_a_node_that_is_said_not_to_hear_does_not_and_the_others_do(loss_fn):
    params = weights(7)
    params = jnp.stack(params[:2]) if loss_fn is looped else params
    circuit = apical.trace(loss_fn)(params, X, Y)
    for steps in range(1, max(circuit.distances.values()) + 1):
        rule = PredictiveCoding(steps, inference=optax.sgd(1.0))
        found = apical.value_and_grad(loss_fn, rule).signals(params, (), X, Y)
        for name, needed in circuit.distances.items():
            signal = np.asarray(found[name].teaching)
            by_step = signal if circuit.has_loop else signal[None]
            assert all(map(np.any, by_step)) == (needed <= steps)


def test_free_predictions_are_heard_from_below_too():
    def loss_fn(params, x, y):
        h = jnp.tanh(x @ params[0])
        return chain(params[1:], h, y) + jnp.mean(h**2)

    params = weights(6)
    assert told(PredictiveCoding(3, prediction="free"), loss_fn, params) == []
    (message,) = told(PredictiveCoding(1, prediction="free"), loss_fn, params)
    assert "'2'" in message and "'0'" not in message
    rule = PredictiveCoding(3, 0.1, prediction="free")
    found = apical.value_and_grad(loss_fn, rule).signals(params, (), X, Y)
    assert all(np.any(signal.teaching) for signal in found.values())


def test_a_loop_is_as_long_as_its_steps():
    params = jnp.stack(weights(9))
    circuit = apical.trace(looped)(params, X, Y)
    assert max(circuit.distances.values()) == circuit.depth == 27
    assert told(PredictiveCoding(26), looped, params)
    assert not told(PredictiveCoding(27), looped, params)


# ------------------------------------------------- programs grow as networks are deep


def equations(jaxpr) -> int:
    """How many operations stand in a program and in all that it calls."""
    count = 0
    for equation in jaxpr.eqns:
        count += 1
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            count += equations(inner) if hasattr(inner, "eqns") else 0
    return count


@pytest.mark.parametrize("name", UNROLLED)
def test_a_program_grows_with_the_depth_and_not_with_its_square(name):
    rule, sizes = UNROLLED[name], []
    # On a CPU steps of a small network with convolutions are written out.
    loss_fn = convolved if isinstance(rule, PredictiveCoding) else chain
    for depth in (24, 48):
        params = weights(depth)
        learner = apical.value_and_grad(loss_fn, rule, target=lambda x, y: y)
        state = jax.eval_shape(learner.init, KEY, params, X, Y)
        made = jax.make_jaxpr(learner.credit)(params, state, X, Y)
        sizes.append(equations(made.jaxpr))
    assert sizes[1] < 2.2 * sizes[0]
