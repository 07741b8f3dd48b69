"""Models of other packages: modules with state, and their own arrays.

The constructs are imitated by hand, but for flax and equinox, which the tests have.
"""

# Wrong types are what some of these tests are about.
# pyright: reportArgumentType=false, reportCallIssue=false

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.refusals import refuses
from support.small_network import (
    EVERY,
    KEY,
    PARAMS,
    X,
    Y,
    between,
    credit,
    init,
    name_of,
)

from apical.rules import Backpropagation, FeedbackAlignment

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
    told = "`params['module'].calls` in place", "has_aux=True", "`batch_axes`"
    refuses((lambda: init(rule, counting, with_module()), *told))
    told = "`params.dropout.rngs.count", " and 2 more in place", "nnx.split"
    refuses((lambda: init(rule, squared, fresh()), *told))


def test_state_in_an_argument_is_watched_too():
    def loss_fn(params, module, x, y):
        return jnp.mean((jnp.tanh(module(x) @ params["b"]) @ params["c"] - y) ** 2)

    args = Counter(PARAMS["a"], jnp.int32(0)), X, Y
    told = "`args[0].calls` in place"
    keywords = {"batch_axes": (None, 0, 0)}
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

    keywords = {"has_aux": True, "batch_axes": (None, 0, 0)}
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

    keywords = {"has_aux": True, "batch_axes": (None, 0, 0)}
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

    with pytest.raises(ValueError, match=r"mutable array.*test_states_of_others\.py"):
        init(Backpropagation(), between(middle))
