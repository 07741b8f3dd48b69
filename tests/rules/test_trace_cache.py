"""A cached trace is reused only if a new one would be the same."""

import dataclasses
import enum
import functools
import math
from types import SimpleNamespace

import equinox as eqx
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apical
from apical.rules import Backpropagation

W, X = jnp.eye(3), jnp.ones((2, 3))


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Frozen:
    scale: object = 1


class Plain:
    """Its hash is its identity, whatever it holds."""

    def __init__(self, scale):
        self.scale = scale


class Slots:
    __slots__ = ("scale",)

    def __init__(self, scale):
        self.scale = scale


class Module(eqx.Module):
    w: jax.Array
    scale: object = eqx.field(static=True)


@flax.struct.dataclass
class Struct:
    w: jax.Array
    scale: object = flax.struct.field(pytree_node=False)


def doubled(x):
    return 2.0 * x


def number(value) -> float:
    """A number that tells apart what equality does not."""
    if hasattr(value, "scale"):
        return number(value.scale)
    if isinstance(value, functools.partial):
        return 7.0 + number(value.args[0])
    if callable(value):
        return value(1.0)
    if isinstance(value, enum.Enum):
        return 10.0 * value.value
    if isinstance(value, str):
        return float(len(value))
    if isinstance(value, (set, frozenset)):
        return sum(map(number, value))
    sign = math.copysign(1.0, value) if isinstance(value, float) else 1.0
    return sign * (1.0 + len(type(value).__name__) + (0 if value != value else value))


def learner_of(traced):
    def loss_fn(w, x, given):
        traced.append(given)
        w = w if isinstance(w, jax.Array) else w.w * number(w)
        return jnp.mean((x @ w) ** 2) * number(given)

    return apical.value_and_grad(loss_fn, Backpropagation(), batch_axes=(0, None))


def value_of(learner, params, *args):
    """The loss by the trace: no rule is asked, as it may call the function itself."""
    return float(learner.circuit(params, *args).run(params, args).loss)


UNLIKE = {
    "one": (1, True, 1.0),
    "zero": (0.0, -0.0, 0, False),
    "nan": (math.nan, 0.0, -math.nan),
    "enum": (Colour.RED, Colour.BLUE),
    "text": ("a", "ab"),
    "frozen": (Frozen(1), Frozen(True), Frozen(0.0), Frozen(-0.0)),
    "object": (Plain(1), Plain(2.0)),
    "slots": (Slots(1), Slots(True)),
    "namespace": (SimpleNamespace(scale=1), SimpleNamespace(scale=2)),
    "function": (abs, doubled, math.exp),
    "partial": (functools.partial(doubled, 1), functools.partial(doubled, 1.0)),
    "set": (frozenset({1, 3}), frozenset({True, 3})),
    "nested": (Frozen(Plain(0.0)), Frozen(Plain(-0.0))),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_values_that_are_equal_but_not_the_same_have_traces_of_their_own(kind):
    learner, values = learner_of([]), UNLIKE[kind]
    for value in (*values, *values):
        found = value_of(learner, W, X, value)
        np.testing.assert_allclose(found, number(value), rtol=1e-6)


@pytest.mark.parametrize("kind", UNLIKE)
def test_the_same_again_is_not_traced_again(kind):
    for value in UNLIKE[kind]:
        traced = []
        learner = learner_of(traced)
        value_of(learner, W, X, value)
        first = len(traced)
        value_of(learner, W + 1, X, value)
        assert len(traced) == first


@pytest.mark.parametrize("made", [Plain, Slots, lambda s: Frozen(Plain(s))])
def test_an_object_that_changed_is_read_anew(made):
    learner, value = learner_of([]), made(1.0)
    before = value_of(learner, W, X, value)
    inner = value.scale if isinstance(value, Frozen) else value
    inner.scale = 5.0
    after = value_of(learner, W, X, value)
    np.testing.assert_allclose(after / before, number(5.0) / number(1.0), rtol=1e-6)


@pytest.mark.parametrize("tree", [Module, Struct])
@pytest.mark.parametrize("measured", [False, True])
def test_static_fields_of_parameters_count_by_type_too(tree, measured):
    traced = []
    learner = learner_of(traced)
    measure = apical.measure.alignment(learner)
    found = []
    for scale in (1, True, 1.0, 1):
        params = tree(W, scale)
        if measured:
            count = len(traced)
            measure(params, (), X, 1)
            found.append(len(traced) > count)
        else:
            found.append(value_of(learner, params, X, 1))
    expected = [number(scale) ** 2 * number(1) for scale in (1, True, 1.0, 1)]
    wanted = [True, True, True, False] if measured else pytest.approx(expected)
    assert found == wanted


class Hidden:
    """Nothing tells what is in it."""

    def __init__(self, scale):
        self.scale = scale

    def __reduce__(self):
        raise TypeError("not to be copied")


def test_what_cannot_be_told_is_traced_every_time():
    traced = []
    learner, value = learner_of(traced), Hidden(1.0)
    value_of(learner, W, X, value)
    first = len(traced)
    value_of(learner, W, X, value)
    assert len(traced) == 2 * first


SETTINGS = {
    "products": lambda: jax.default_matmul_precision("bfloat16"),
    "keys": lambda: jax.default_prng_impl("rbg"),
    "doubles": lambda: jax.enable_x64(True),
    "promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "ranks": lambda: jax.numpy_rank_promotion("raise"),
    "drawing": lambda: jax.threefry_partitionable(False),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_another_setting_of_jax_is_another_trace(name):
    def loss_fn(w, x):
        noise = jax.random.normal(jax.random.key(0), (3, 3))
        return jnp.mean((x @ (w + noise)) ** 2)

    learner = apical.value_and_grad(loss_fn, Backpropagation())
    circuits = learner.circuit

    outside, before = circuits(W, X), value_of(learner, W, X)
    with SETTINGS[name]():
        assert circuits(W, X) is not outside
        inside = value_of(learner, W, X)
        np.testing.assert_allclose(inside, loss_fn(W, X), rtol=1e-6)
    assert circuits(W, X) is outside
    assert (name in ("keys", "drawing", "doubles")) == (inside != before)


def test_an_axis_that_is_named_around_the_call_is_another_trace():
    def loss_fn(w, x):
        return jnp.mean((x @ w) ** 2)

    circuits = apical.value_and_grad(loss_fn, Backpropagation()).circuit
    outside, inside = circuits(W, X), []
    jax.vmap(lambda w: inside.append(circuits(w, X)) or w, axis_name="i")(W[None])
    assert inside[0] is not outside


# ------------------------------------------------------ numbers of Python as parameters


def scaled(params, x):
    return jnp.mean(jnp.abs(x @ params["w"] * params["inner"][1]) ** 2)


@pytest.mark.parametrize("value", [0.5, 0.5 + 0j, 0.0])
@pytest.mark.parametrize("first", ["number", "array"])
def test_a_number_of_python_is_not_learned_in_one_call_and_learned_in_another(
    value, first
):
    learner = apical.value_and_grad(scaled, Backpropagation())
    params = {"w": W, "inner": [W, value]}
    calls = [learner, jax.jit(learner)]
    calls = calls if first == "number" else calls[::-1]
    assert (calls[0](params, (), X).grads["inner"][1] is None) == (first == "number")
    with pytest.raises(ValueError, match=r"params\['inner'\]\[1\].*jnp\.asarray"):
        calls[1](params, (), X)


def test_a_number_of_python_that_stays_one_is_left_alone():
    class Net(eqx.Module):
        linear: eqx.nn.Linear
        dropout: eqx.nn.Dropout

    def loss_fn(net, x, key):
        h = jax.vmap(net.linear)(x)
        return jnp.mean(net.dropout(h, key=key) ** 2)

    key = jax.random.key(0)
    net = Net(eqx.nn.Linear(3, 2, key=key), eqx.nn.Dropout(0.5))
    learner = apical.value_and_grad(loss_fn, Backpropagation(), batch_axes=(0, None))
    state = learner.init(key, net, X, key)
    plain = learner(net, state, X, key).grads
    filtered = eqx.filter_jit(learner)(net, state, X, key).grads
    assert plain.dropout.p is filtered.dropout.p is None
    np.testing.assert_allclose(
        plain.linear.weight, filtered.linear.weight, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), jnp.asarray(0.5)])
@pytest.mark.parametrize("other", [2, True, np.int32(2)])
def test_every_other_number_is_learned_or_not_alike_under_jit(value, other):
    def loss_fn(params, x):
        return jnp.mean((x @ params["w"] * params["s"] * params["other"]) ** 2)

    learner = apical.value_and_grad(loss_fn, Backpropagation())
    params = {"w": W, "s": value, "other": other}
    plain = learner(params, (), X).grads
    jitted = jax.jit(learner)(params, (), X).grads
    assert plain["other"] is jitted["other"] is None
    np.testing.assert_allclose(plain["s"], jitted["s"], rtol=1e-6)
    assert plain["s"] != 0
