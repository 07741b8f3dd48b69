"""Contrastive Hebbian and coupled learning, GeneRec: a free state and a clamped one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.broken_rules import problem as given
from support.by_hand import assert_close, distance, loss_fn
from support.check_on import check_on
from support.refusals import refuses
from support.settled_by_hand import Network, combined, credit_of, second, weights

import apical
from apical.rules import ContrastiveHebbian, CoupledLearning, GeneRec

KEY = jax.random.key(0)
NUMBERS = {"gain": 0.6, "free_steps": 6, "clamped_steps": 4, "rate": 0.8}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def found(rule, loss_fn=loss_fn):
    params, data = weights()
    return credit_of(rule, loss_fn, params, data, target=second)


# ------------------------------------------------------------------ written by hand


def states(nudge=1.0, gain=0.6, rate=0.8, free_steps=6, clamped_steps=4):
    net = Network(gain, rate)
    free = net.settle(net.zeros(), free_steps, net.free)
    held = free.out + nudge * (net.y - free.out)
    clamped = net.settle((free.one, free.two), clamped_steps, net.clamped(held))
    return net, free, clamped._replace(out=held)


def hebbian(net, state):
    """Each unit times its inputs, weighted by 1/gain more in each lower layer."""
    signals = [state.one / net.gain**2, state.two / net.gain, state.out]
    return net.products(signals, [net.x, state.one, state.two])


def contrast_by_hand(nudge=1.0, **numbers):
    net, *both = states(nudge, **numbers)
    products = [hebbian(net, state) for state in both]
    return combined(products, [1 / nudge, -1 / nudge])


RULES = {
    "contrastive Hebbian": (ContrastiveHebbian(**NUMBERS), 1.0),
    "coupled": (CoupledLearning(0.3, **NUMBERS), 0.3),
}


@pytest.mark.parametrize("name", RULES)
def test_two_layers_by_hand(name):
    rule, nudge = RULES[name]
    credit, expected = found(rule), contrast_by_hand(nudge)
    assert_close(credit.grads, expected, 1e-8)
    net, free, _ = states(nudge)
    np.testing.assert_allclose(credit.value, np.sum((free.out - net.y) ** 2) / 8)
    params, data = weights()
    learner = apical.value_and_grad(loss_fn, rule, target=second)
    np.testing.assert_allclose(jax.jit(learner.predict)(params, (), *data), free.out)
    for other in (
        contrast_by_hand(nudge / 2),
        contrast_by_hand(nudge, gain=0.5),
        contrast_by_hand(nudge, rate=1.0),
        contrast_by_hand(nudge, free_steps=5),
        contrast_by_hand(nudge, clamped_steps=3),
    ):
        assert distance(other, expected) > 1e-3


def test_the_teaching_signal_is_the_change_of_the_units():
    net, free, clamped = states()
    params, data = weights()
    learner = ContrastiveHebbian(**NUMBERS)
    read = apical.value_and_grad(loss_fn, learner, target=second).signals
    signals = jax.jit(read)(params, (), *data)
    expected = (free.two - clamped.two) / net.gain / 4
    np.testing.assert_allclose(signals["1"].teaching, expected)


def test_coupled_learning_that_goes_all_the_way_is_contrastive_hebbian():
    whole = found(ContrastiveHebbian(**NUMBERS)).grads
    assert_close(found(CoupledLearning(1.0, **NUMBERS)).grads, whole)
    assert distance(found(CoupledLearning(0.1, **NUMBERS)).grads, whole) > 0.02


# ----------------------------------------------------------- weak feedback is backprop

WEAK = {"free_steps": 9, "clamped_steps": 9, "rate": 1.0}
FAMILY = {
    "contrastive Hebbian": lambda gain: ContrastiveHebbian(gain, **WEAK),
    "coupled": lambda gain: CoupledLearning(0.1, gain, **WEAK),
    "GeneRec": lambda gain: GeneRec(gain, **WEAK),
    "GeneRec, symmetric": lambda gain: GeneRec(gain, True, True, **WEAK),
}


@pytest.mark.grid(keep=2)
@pytest.mark.parametrize("name", FAMILY)
def test_as_the_gain_goes_to_zero_it_is_backpropagation(name):
    params, data = weights()
    truth = jax.grad(loss_fn)(params, *data)
    grads = [found(FAMILY[name](gain)).grads for gain in (1e-2, 1e-3)]
    errors = [distance(each, truth) for each in grads]
    assert errors[1] < 5e-3
    np.testing.assert_allclose(errors[0] / errors[1], 10, rtol=0.2)
    assert distance(found(FAMILY[name](0.5)).grads, truth) > 0.1


def unit_output(params, x, y):
    """The cross-entropy of sigmoid units, each of which is right or wrong."""
    for each in params[:-1]:
        x = jnp.tanh(x @ each["w"] + each["b"])
    z = x @ params[-1]["w"] + params[-1]["b"]
    out = apical.output(apical.node(jax.nn.sigmoid(z), "out"))
    return jnp.sum(-y * jnp.log(out) - (1 - y) * jnp.log1p(-out)) / len(x)


def test_an_output_that_is_a_unit_is_held_as_one():
    net = Network(0.6, 0.8, output=lambda z: 1 / (1 + np.exp(-z)))
    one, two, out = (*net.zeros(), np.zeros((4, 3)))
    ends = []
    for steps, held in ((6, None), (4, net.y)):
        out = out if held is None else held
        for _ in range(steps):
            end = net.settle((one, two), 1, lambda _, out=out: net.gain * out)
            answer = 0.2 * out + 0.8 * net.read_out(two)
            one, two, out = end.one, end.two, answer if held is None else held
        ends.append(end._replace(out=out))
    expected = combined([hebbian(net, end) for end in ends], [1.0, -1.0])
    assert_close(found(ContrastiveHebbian(**NUMBERS), unit_output).grads, expected)
    params, data = weights()
    truth = jax.grad(unit_output)(params, *data)
    weak = found(FAMILY["contrastive Hebbian"](1e-3), unit_output).grads
    assert distance(weak, truth) < 5e-3


# ------------------------------------------------------------------------- GeneRec


def generec_by_hand(midpoint=False, symmetric=False):
    net, *both = states()
    minus, plus = ([net.x, *state] for state in both)
    layers = list(zip(minus, plus, strict=True))
    change = [p - m for m, p in layers]
    before = [(m + p) / 2 if midpoint else m for m, p in layers]
    grads = []
    for i, counts in enumerate([net.gain**-2, 1 / net.gain, 1]):
        # From layer i to the next; then in the other direction of the same weight.
        w = before[i].T @ change[i + 1]
        w = w + symmetric * change[i].T @ before[i + 1]
        grads.append({"w": w, "b": change[i + 1].sum(axis=0)})
        grads[i] = jax.tree.map(lambda g, c=counts: -c * g / 4, grads[i])
    return grads


FLAGS = {
    "plain": {},
    "midpoint": {"midpoint": True},
    "symmetric": {"symmetric": True},
    "both": {"midpoint": True, "symmetric": True},
}


@pytest.mark.parametrize("name", FLAGS)
def test_generec_by_hand(name):
    grads = found(GeneRec(**FLAGS[name], **NUMBERS)).grads
    assert_close(grads, generec_by_hand(**FLAGS[name]), 1e-8)
    for other in FLAGS.keys() - {name}:
        assert distance(generec_by_hand(**FLAGS[other]), grads) > 0.02


def test_generec_is_contrastive_hebbian_with_the_midpoint_and_symmetry_only():
    expected = found(ContrastiveHebbian(**NUMBERS)).grads
    apart = {
        (midpoint, symmetric): distance(
            found(GeneRec(midpoint=midpoint, symmetric=symmetric, **NUMBERS)).grads,
            expected,
        )
        for midpoint in (False, True)
        for symmetric in (False, True)
    }
    assert apart.pop((True, True)) < 1e-10
    assert min(apart.values()) > 0.02


# ------------------------------------------------------------------ laws and refusals


def recurrent(params, x, y):
    def step(h, x):
        return jnp.tanh(h @ params["u"] + x @ params["in"]), None

    h, _ = jax.lax.scan(step, jnp.zeros((len(y), 4), x.dtype), jnp.swapaxes(x, 0, 1))
    return 0.5 * jnp.sum((h @ params["out"] - y) ** 2) / len(y)


def test_loops_and_convolutions_are_supported():
    draw = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(draw.normal(size=shape) / 3)

    params = {"u": normal(4, 4), "in": normal(2, 4), "out": normal(4, 2)}
    args = 3 * normal(3, 5, 2), 3 * normal(3, 2)
    grads = credit_of(ContrastiveHebbian(0.2), recurrent, params, args, target=second)
    leaves = jax.tree.leaves(grads.grads)
    assert all(np.any(g) and np.all(np.isfinite(g)) for g in leaves)

    def convolutional(params, x, y):
        for kernel in params["kernels"]:
            x = jnp.tanh(
                jax.lax.conv_general_dilated(
                    x, kernel, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
                )
            )
        return 0.5 * jnp.sum((x.reshape(len(x), -1) @ params["out"] - y) ** 2) / len(y)

    params = {"kernels": [normal(3, 2, 3), normal(3, 3, 2)], "out": normal(4, 2)}
    rule = GeneRec(0.2, free_steps=5, clamped_steps=5)
    args = 3 * normal(3, 8, 2), 3 * normal(3, 2)
    grads = credit_of(rule, convolutional, params, args, target=second).grads
    assert all(np.any(g) and np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))


LAWFUL = [ContrastiveHebbian(), CoupledLearning(), GeneRec()]


@pytest.mark.grid(keep=3)
@pytest.mark.parametrize("rule", LAWFUL, ids=repr)
def test_the_rules_keep_the_laws(rule):
    # The loss is that at equilibrium, and the update is taken through the drives.
    target = {"target": lambda x: jnp.ones((len(x), 2), x.dtype)}
    check_on(rule, **given(), **target, skip=("value", "pull"))


def init(rule, **keywords):
    params, data = weights()
    return apical.value_and_grad(loss_fn, rule, **keywords).init(KEY, params, *data)


REFUSED = {
    "target": (lambda: init(ContrastiveHebbian()), "ContrastiveHebbian", "`target=`"),
    "shape": (
        lambda: init(CoupledLearning(), target=lambda x, y: y[:, :2]),
        *("`target` returned shape", "one_hot"),
    ),
    "nudge": (lambda: CoupledLearning(0.0), "`nudge`"),
    "gain": (lambda: GeneRec(gain=0.0), "`gain`"),
    "steps": (lambda: ContrastiveHebbian(clamped_steps=0), "`clamped_steps`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_missing_is_named(name):
    refuses(REFUSED[name])
