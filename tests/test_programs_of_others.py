"""What the programs of other packages do: state, their own arrays and primitives.

The constructs are imitated by hand, but for flax and diffrax, which the tests have.
"""

# Attributes of flax's modules and what JAX does not type.
# pyright: reportArgumentType=false, reportCallIssue=false

import re

import diffrax
import equinox as eqx
import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.interpreters import ad, batching, mlir
from refusals import refuses

import apical
from apical.rules import (
    Backpropagation,
    DirectFeedbackAlignment,
    EvolutionStrategy,
    FeedbackAlignment,
    LocalLosses,
    NodePerturbation,
    PredictiveCoding,
)

KEY = jax.random.key(0)
EVERY = [
    Backpropagation(),
    FeedbackAlignment(),
    DirectFeedbackAlignment(),
    PredictiveCoding(),
    LocalLosses(),
    NodePerturbation(),
]


def name_of(rule):
    return type(rule).__name__


def numbers(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


PARAMS = {"a": numbers(0, 4, 4) / 2, "b": numbers(1, 4, 4) / 2, "c": numbers(2, 4, 2)}
X, Y = numbers(3, 5, 4), numbers(4, 5, 2)


def between(middle):
    """A loss function with `middle(h, params)` between two layers."""

    def loss_fn(params, x, y):
        h = jnp.tanh(middle(jnp.tanh(x @ params["a"]), params))
        return jnp.mean((h @ params["c"] - y) ** 2)

    return loss_fn


def init(rule, loss_fn, params=PARAMS, args=(X, Y), **keywords):
    learner = apical.value_and_grad(loss_fn, rule, **keywords)
    return learner, learner.init(KEY, params, *args)


def credit(rule, loss_fn, params=PARAMS, args=(X, Y), **keywords):
    learner, state = init(rule, loss_fn, params, args, **keywords)
    return learner(params, state, *args)


def assert_equal(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------ state in modules


@jax.tree_util.register_pytree_with_keys_class
class Counter:
    """A module of the user's own, whose state changes when it is called."""

    def __init__(self, weight, calls):
        self.weight, self.calls = weight, calls

    def tree_flatten_with_keys(self):
        key = jax.tree_util.GetAttrKey
        return ((key("weight"), self.weight), (key("calls"), self.calls)), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)

    def __call__(self, x):
        self.calls = self.calls + 1
        return jnp.tanh(x @ self.weight)


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(4, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.readout = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x):
        return self.readout(self.dropout(jnp.tanh(self.norm(self.hidden(x)))))


def squared(model, x, y):
    return jnp.mean((model(x) - y) ** 2)


def fresh():
    return Network(nnx.Rngs(0))


def counting(params, x, y):
    return jnp.mean((params["module"](x) @ params["c"] - y) ** 2)


def with_module(calls=0):
    return {"module": Counter(PARAMS["a"], jnp.int32(calls)), "c": PARAMS["c"]}


@pytest.mark.parametrize("rule", EVERY, ids=name_of)
def test_state_that_changes_in_place_and_would_be_lost_is_refused(rule):
    told = "`params['module'].calls` in place", "has_aux=True", "`batch`"
    refuses((lambda: init(rule, counting, with_module()), *told))
    told = "`params.dropout.rngs.count", " and 2 more in place", "nnx.split"
    refuses((lambda: init(rule, squared, fresh()), *told))


def test_state_in_an_argument_is_watched_too():
    def loss_fn(params, module, x, y):
        return jnp.mean((jnp.tanh(module(x) @ params["b"]) @ params["c"] - y) ** 2)

    args = Counter(PARAMS["a"], jnp.int32(0)), X, Y
    told = "`args[0].calls` in place"
    keywords = {"batch": (None, 0, 0)}
    refuses((lambda: init(FeedbackAlignment(), loss_fn, args=args, **keywords), told))


@pytest.mark.parametrize("rule", EVERY, ids=name_of)
def test_state_that_is_returned_comes_back_and_the_callers_own_is_left_alone(rule):
    def loss_fn(params, x, y):
        loss = counting(params, x, y)
        return loss, params["module"].calls

    params = with_module(calls=7)
    found = credit(rule, loss_fn, params, has_aux=True)
    assert found.aux == 8
    assert params["module"].calls == 7
    assert credit(rule, loss_fn, params, has_aux=True).aux == 8


@pytest.mark.parametrize("rule", [r for r in EVERY if name_of(r) != "NodePerturbation"])
def test_a_module_taken_apart_learns_with_its_state_as_aux(rule):
    graph, params, state = nnx.split(fresh(), nnx.Param, ...)

    def loss_fn(params, state, x, y):
        model = nnx.merge(graph, params, state)
        return squared(model, x, y), nnx.state(model, nnx.Not(nnx.Param))

    keywords = {"has_aux": True, "batch": (None, 0, 0)}
    found = credit(rule, loss_fn, params, (state, X, Y), **keywords)
    assert found.aux["dropout"]["rngs"]["count"][...] == 1
    assert np.any(found.aux["norm"]["mean"][...] != 0)
    assert state["dropout"]["rngs"]["count"][...] == 0


def test_a_module_that_a_loss_function_closes_over_is_told_of():
    graph, params, state = nnx.split(fresh(), nnx.Param, ...)

    def loss_fn(params, x, y):
        return squared(nnx.merge(graph, params, state), x, y)

    with pytest.raises(Exception, match="trace level") as error:
        init(FeedbackAlignment(), loss_fn, params)
    assert any("nnx.merge" in note for note in error.value.__notes__)


def test_containers_and_modules_that_do_not_change_are_handed_over_as_they_are():
    def loss_fn(batch_params, x, y):
        batch_params["a"] = batch_params["a"] / 2  # a name of the function's own
        return between(lambda h, p: h @ p["b"])(batch_params, x, y)

    assert np.any(credit(FeedbackAlignment(), loss_fn).grads["b"])
    assert PARAMS["a"] is PARAMS["a"] and isinstance(PARAMS["a"], jax.Array)
    model = fresh()
    model.eval()
    assert np.any(credit(FeedbackAlignment(), squared, model).grads.hidden.kernel[...])


def test_equinox_state_is_carried_from_call_to_call():
    class Norm(eqx.Module):
        first: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        last: eqx.nn.Linear

        def __init__(self):
            self.first = eqx.nn.Linear(4, 6, key=KEY)
            self.norm = eqx.nn.BatchNorm(6, axis_name="batch", mode="batch")
            self.last = eqx.nn.Linear(6, 2, key=KEY)

        def __call__(self, x, state):
            h, state = self.norm(self.first(x), state)
            return self.last(jnp.tanh(h)), state

    model, state = eqx.nn.make_with_state(Norm)()

    def loss_fn(model, state, x, y):
        mapped = jax.vmap(
            model, axis_name="batch", in_axes=(0, None), out_axes=(0, None)
        )
        out, state = mapped(x, state)
        return jnp.mean((out - y) ** 2), state

    keywords = {"has_aux": True, "batch": (None, 0, 0)}
    learner, own = init(FeedbackAlignment(), loss_fn, model, (state, X, Y), **keywords)
    found = eqx.filter_jit(learner)(model, own, state, X, Y)
    before, after = jax.tree.leaves(state), jax.tree.leaves(found.aux)
    assert any(np.any(a != b) for a, b in zip(before, after, strict=True))


# ------------------------------------------------------------- arrays of other kinds


class Variable:
    """As Keras has them: an array inside, and no pytree."""

    def __init__(self, value):
        self.value = value

    def __jax_array__(self):
        return self.value


class Table:
    """As data frames and tensors of other libraries are."""

    def __array__(self):
        return np.ones((5, 4))


PLAIN = between(lambda h, p: h @ p["b"])
KINDS = {
    "variables": (PARAMS | {"b": Variable(PARAMS["b"])}, (X, Y), "`params['b']` is a"),
    "all variables": (
        {n: Variable(w) for n, w in PARAMS.items()},
        *((X, Y), "`params['a']` is a ", "Variable", "`[v.value for v in variables]`"),
    ),
    "frame": (PARAMS, (Table(), Y), "`args[0]` is a", "Table", "`jnp.asarray(x)`"),
    "text": (PARAMS, (X, Y, np.array(["a"])), "`args[2]` is an array of <U1"),
    "objects": (PARAMS, (X, Y, np.array([None])), "`args[2]` is an array of object"),
    "mutable": (
        PARAMS | {"b": jax.new_ref(PARAMS["b"])},
        *((X, Y), "`params['b']` is a mutable array", "`ref[...]`"),
    ),
    "model": (Variable, (X, Y), "no leaf to learn", "`model.stateless_call`"),
}


@pytest.mark.parametrize("what", KINDS)
def test_what_holds_numbers_and_is_no_array_is_refused_by_its_path(what):
    params, args, *words = KINDS[what]

    def loss_fn(params, x, y, *_):
        return PLAIN(jax.tree.map(jnp.asarray, params), jnp.asarray(x), y)

    refuses((lambda: init(Backpropagation(), loss_fn, params, args), *words))


def test_a_mutable_array_in_a_loss_function_is_refused_by_its_line():
    def middle(h, params):
        kept = jax.new_ref(jnp.zeros_like(h))
        kept[...] += h @ params["b"]
        return kept[...]

    with pytest.raises(ValueError, match=r"mutable array.*test_programs_of_others\.py"):
        init(Backpropagation(), between(middle))


# ------------------------------------------------------- primitives of other packages


def primitive(name, function, differentiable=True):
    """A primitive of a package's own, as equinox makes them."""
    made = jex.core.Primitive(name)
    made.def_impl(function)
    made.def_abstract_eval(
        lambda *xs: jax.core.ShapedArray(
            jax.eval_shape(function, *xs).shape, jnp.float32
        )
    )
    mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=False))
    if differentiable:
        ad.primitive_jvps[made] = lambda xs, ts: jax.jvp(
            function, xs, tuple(ad.instantiate_zeros(t) for t in ts)
        )
    batching.primitive_batchers[made] = lambda xs, axes: (
        jax.vmap(function, axes)(*xs),
        0,
    )
    return made.bind


halved = primitive("halved", lambda h: jnp.sin(h) / 2)
product = primitive("product", lambda h, w: h @ w)
numeric = primitive("numeric", lambda h: jnp.sin(h) / 2, differentiable=False)


@pytest.mark.parametrize("rule", EVERY, ids=name_of)
def test_an_unknown_operation_on_activities_has_the_derivative_that_it_has(rule):
    def ours(h, params):
        return halved(h @ params["b"]) + h

    def theirs(h, params):
        return jnp.sin(h @ params["b"]) / 2 + h

    if isinstance(rule, (DirectFeedbackAlignment, LocalLosses, NodePerturbation)):
        found, known = credit(rule, between(ours)), credit(rule, between(theirs))
        assert jax.tree.structure(found.grads) == jax.tree.structure(known.grads)
        return
    assert_equal(credit(rule, between(ours)).grads, credit(rule, between(theirs)).grads)


def test_an_unknown_operation_that_a_weight_enters_is_refused_by_name():
    loss_fn = between(lambda h, params: product(h, params["b"]))
    told = "'b'", "test_programs_of_others.py", "`product`, which is not known"
    refuses((lambda: init(FeedbackAlignment(), loss_fn), *told))
    init(Backpropagation(), loss_fn)


def test_an_unknown_operation_without_a_derivative_is_refused_by_name():
    loss_fn = between(lambda h, params: numeric(h @ params["b"]))
    told = "'a, b'", "`numeric`, which JAX cannot differentiate"
    refuses((lambda: init(FeedbackAlignment(), loss_fn), *told))


# ------------------------------------------------------------------------------ loops


def turned(body, h, steps=3):
    """A loop whose number of steps JAX does not know."""
    state = lax.while_loop(
        lambda s: s[0] < steps, lambda s: (s[0] + 1, body(s[1])), (0, h)
    )
    return state[1]


def length(u):
    return u / jnp.linalg.norm(u)


STOPPED = {
    "of activities": lambda h, p, stop: h @ p["b"] * stop(turned(jnp.cos, h)),
    "with a weight": lambda h, p, stop: (
        h @ p["b"] + stop(turned(lambda h: jnp.tanh(h @ p["b"]), h))
    ),
    "of weights alone": lambda h, p, stop: (
        h @ p["b"] @ stop(turned(lambda u: length(p["b"] @ u), jnp.eye(4)))
    ),
    "then one step": lambda h, p, stop: (
        stop(turned(lambda z: jnp.tanh(z @ p["b"] + h), h)) @ p["b"] + h
    ),
}


@pytest.mark.parametrize("loop", STOPPED)
def test_a_loop_is_allowed_where_no_gradient_comes_by(loop):
    loss_fn = between(lambda h, p: STOPPED[loop](h, p, lax.stop_gradient))
    true = jax.grad(loss_fn)(PARAMS, X, Y)
    for rule in (Backpropagation(), PredictiveCoding()):
        assert_equal(credit(rule, loss_fn).grads, true)
    found = credit(FeedbackAlignment(), loss_fn).grads
    assert_equal(found["c"], true["c"])
    assert not np.allclose(found["a"], true["a"], rtol=1e-2)


@pytest.mark.parametrize("loop", STOPPED)
def test_the_same_loop_is_refused_where_one_would(loop):
    loss_fn = between(lambda h, p: STOPPED[loop](h, p, lambda x: x))
    refuses((lambda: init(FeedbackAlignment(), loss_fn), "while_loop", "`lax.scan`"))


def test_a_rule_that_needs_no_derivative_takes_any_loop():
    loss_fn = between(lambda h, p: turned(lambda h: jnp.tanh(h @ p["b"]), h))
    found = credit(EvolutionStrategy(), loss_fn)
    assert np.all(np.isfinite(found.grads["b"])) and np.any(found.grads["b"])


# ------------------------------------------------------- differential equations


def solved(adjoint, readout=lambda h, c: h @ c):
    def loss_fn(params, x, y):
        def field(t, h, args):
            return jnp.tanh(h @ params["a"]) @ params["b"]

        found = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Euler(),
            **{"t0": 0.0, "t1": 1.0, "dt0": 0.5, "y0": x},
            max_steps=4,
            adjoint=adjoint,
        )
        assert found.ys is not None
        return jnp.mean((readout(found.ys[0], params["c"]) - y) ** 2)

    return loss_fn


@pytest.mark.parametrize("rule", EVERY[1:4], ids=name_of)
def test_a_solver_with_a_derivative_of_its_own_is_told_what_to_use(rule):
    loss_fn = solved(diffrax.RecursiveCheckpointAdjoint(), lambda h, c: h[:, :2])
    told = "'a, b'", "test_programs_of_others.py", "adjoint=diffrax.DirectAdjoint()"
    refuses((lambda: init(rule, loss_fn), *told))


def test_a_solver_that_is_differentiated_as_it_is_written_can_have_feedback():
    loss_fn = solved(diffrax.DirectAdjoint())
    true = jax.grad(loss_fn)(PARAMS, X, Y)
    found = credit(FeedbackAlignment(), loss_fn).grads
    assert_equal(found["c"], true["c"])
    assert np.any(found["a"]) and not np.allclose(found["a"], true["a"], rtol=1e-2)


# ------------------------------------------------------------------- what is looked at


@pytest.mark.parametrize("rule", EVERY, ids=name_of)
@pytest.mark.parametrize("what", ["activity", "weight"])
def test_what_is_printed_changes_nothing(rule, what, capfd):
    def middle(h, params):
        looked_at = {"activity": h, "weight": params["b"]}[what]
        jax.debug.print("seen {}", jnp.sum(looked_at))
        jax.debug.callback(lambda x: None, looked_at)
        return h @ params["b"]

    found = credit(rule, between(middle))
    jax.effects_barrier()
    assert "seen" in capfd.readouterr().out
    assert_equal(found.grads, credit(rule, PLAIN).grads)


# ------------------------------------------------------------------------------ names


@pytest.mark.parametrize("mark", ["a", "b", "a#2", "loss"])
def test_a_mark_keeps_its_name_and_other_nodes_give_way(mark):
    def loss_fn(params, x, y):
        h = jnp.sin(jnp.tanh(x @ params["a"]) @ params["a"])
        h = apical.node(jnp.tanh(h @ params["b"]), mark)
        return jnp.mean((h @ params["c"] - y) ** 2)

    names = [node.name for node in apical.trace(loss_fn)(PARAMS, X, Y).nodes]
    assert names[-1] == mark
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"a(#[23])?", name) for name in names[:-1])
