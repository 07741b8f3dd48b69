"""`check_rule` names the law that a broken rule violates, where and by how much."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.broken_rules import (
    TRUE,
    Chunked,
    CutOff,
    Exact,
    Louder,
    broken,
    grads_changed,
    loss_fn,
    problem,
    signals_changed,
    through_time,
)
from support.check_on import check_on

from apical.circuit import is_concrete
from apical.rules import Backpropagation, Rule, rule
from apical.testing import LAWS, check_rule


def assert_broken(law: str, found: Rule, words: str, **options: Any) -> None:
    with pytest.raises(AssertionError, match=words) as error:
        check_on(found, **{**problem(), **options})
    assert f"{type(found).__name__} breaks the law {law!r}" in str(error.value)


@rule
class Vague(Rule):
    citation = Backpropagation.citation
    descends = "energy"


@dataclass(frozen=True)
class NoPytree(Backpropagation):
    pass


@rule
class Rated(Backpropagation):
    """Backpropagation times a number."""

    rate: float = 0.5

    def credit(self, circuit, params, state, args):
        found = TRUE(self, circuit, params, state, args)
        scale = self.scale()
        return found._replace(grads=jax.tree.map(lambda g: scale * g, found.grads))

    def scale(self):
        if isinstance(self.rate, float) and self.rate < 0.1:
            raise ValueError("`rate` is below 0.1")
        return self.rate

    def __post_init__(self):
        Rated.scale(self)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (broken(citation="Rumelhart 1986"), "not one BibTeX entry"),
        (broken(citation="@book{a, year={1986}}"), "has no title"),
        (broken(needs=("weight transport", "magic")), "has .'magic'."),
        (broken(search_space={"rate": (0.1, 1.0, "log")}), "names 'rate'"),
        (Vague(), "a loss of your own needs `descended`"),
    ],
)
def test_declares(found, words):
    assert_broken("declares", found, words)


def test_declares_that_it_is_a_pytree():
    with pytest.raises(AssertionError, match="'declares': the class is not a pytree"):
        check_rule(NoPytree())


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((1.0, 0.1, "log"), "with low < high"),
        ((0.0, 1.0, "log"), "above 0 for 'log'"),
        ((0.1, 1.0, "even"), "'log' or 'linear'"),
        ((0.1, 1.0), "not .low, high"),
        ((0.01, 1.0, "log"), "offers rate=0.01, which the rule refuses: `rate` is"),
    ],
)
def test_declares_a_search_space(bounds, words):
    found = rule(type("Searched", (Rated,), {"search_space": {"rate": bounds}}))()
    assert_broken("declares", found, words)


def test_untouched():
    def credit(self, circuit, params, state, args):
        params["a"] = 2 * params["a"]
        return TRUE(self, circuit, params, state, args)

    assert_broken("untouched", broken(credit=credit), "other leaves into the caller's")


def test_untouched_within_an_array():
    def credit(self, circuit, params, state, args):
        if isinstance(params["a"], np.ndarray):
            params["a"] += 1
        return TRUE(self, circuit, params, state, args)

    params = {name: np.array(leaf) for name, leaf in problem()["params"].items()}
    assert_broken("untouched", broken(credit=credit), "off by 1,", params=params)


def test_value():
    def credit(self, *args):
        found = TRUE(self, *args)
        return found._replace(value=found.value + 0.5)

    assert_broken("value", broken(credit=credit), "against the loss: .* off by 0.5,")


def test_value_and_aux():
    def credit(self, *args):
        found = TRUE(self, *args)
        return found._replace(aux={"h": found.aux["h"] + 0.5})

    def with_aux(params, x):
        return loss_fn(params, x), {"h": x @ params["a"]}

    given = {"loss_fn": with_aux, "has_aux": True}
    assert_broken("value", broken(credit=credit), r"aux.*'h'. is off by 0.5", **given)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda grads: {"a": grads["a"]}, "the structure is"),
        (lambda grads: {**grads, "b": None}, "the structure is"),
        (lambda grads: {**grads, "a": grads["a"].T}, "'a'. is float32.4, 3., not"),
        (lambda grads: {**grads, "a": grads["a"].astype(jnp.float16)}, "is float16"),
        (
            lambda grads: {**grads, "a": grads["a"].at[0].set(jnp.nan)},
            "4 of 12 numbers",
        ),
        (lambda grads: jax.tree.map(jnp.zeros_like, grads), "every gradient is zero"),
    ],
)
def test_grads(change, words):
    assert_broken("grads", broken(credit=grads_changed(change)), words)


def test_pure():
    calls = []

    def count(grads):
        calls.append(1)
        return jax.tree.map(lambda g: g * len(calls), grads)

    assert_broken(
        "pure", broken(credit=grads_changed(count)), "a second call: .* is off"
    )


class Lossy:
    """A pytree that forgets its name on the way through flatten and unflatten."""

    def __init__(self, leaf: Any, scale: float = 1.0):
        self.leaf, self.scale = leaf, scale


jax.tree_util.register_pytree_node(
    Lossy, lambda x: ((x.leaf,), None), lambda _, leaves: Lossy(*leaves)
)


def starting(state: Any) -> Any:
    return lambda self, *args: state


def grown(self, circuit, params, state, args):
    found = TRUE(self, circuit, params, state, args)
    return found._replace(state=jnp.concatenate([state, state]))


def scaled_by_state(self, circuit, params, state, args):
    found = TRUE(self, circuit, params, state, args)
    return found._replace(grads=jax.tree.map(lambda g: state.scale * g, found.grads))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"init": starting({"rate": 0.1})}, r"'rate'. is 0.1, not an array"),
        ({"init": starting(jnp.ones(2)), "credit": grown}, "is float32.4., not"),
        (
            {"init": starting(Lossy(jnp.ones(2), 3.0)), "credit": scaled_by_state},
            "with the state saved and restored",
        ),
        ({"reset": starting(jnp.ones(2))}, "the state after `reset`"),
    ],
)
def test_state(parts, words):
    assert_broken("state", broken(**parts), words)


def test_jit():
    def credit(self, circuit, params, state, args):
        found = TRUE(self, circuit, params, state, args)
        factor = 1 if is_concrete(found.grads) else 2
        return found._replace(grads=jax.tree.map(lambda g: factor * g, found.grads))

    assert_broken("jit", broken(credit=credit), r"under `jax.jit`: .*grads\['a'\]")


def test_jit_with_a_branch_that_python_takes():
    def credit(self, circuit, params, state, args):
        found = TRUE(self, circuit, params, state, args)
        return found if found.value > 0 else None

    assert_broken("jit", broken(credit=credit), "it raised TracerBoolConversionError")


def test_vmap():
    def init(self, circuit, key, params, args):
        return jnp.ones(2) if is_concrete(key) else jnp.zeros(2)

    assert_broken(
        "vmap", broken(init=init), "under `jax.vmap`, seed 11: .* is off by 1,"
    )


def test_batch():
    def credit(self, circuit, params, state, args):
        found = TRUE(self, circuit, params, state, args)
        size = circuit.batch_size
        return found._replace(grads=jax.tree.map(lambda g: size * g, found.grads))

    assert_broken("batch", broken(credit=credit), "with the batch repeated")


def traced_otherwise(self: Any) -> Any:
    return self.rate if is_concrete(self.rate) else 1.0


@jax.custom_jvp
def misled(x: jax.Array) -> jax.Array:
    return x


misled.defjvps(lambda dx, y, x: 3 * dx)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (traced_otherwise, "with its numbers traced: .* is off by"),
        (lambda self: misled(self.rate), "by the rule's .rate, `jax.grad` says"),
        (
            lambda self: 1 + jnp.sqrt(0 * self.rate),
            "derivative by the rule's .rate: it",
        ),
        (lambda self: 1 if self.rate > 0 else 2, "it raised TracerBoolConversionError"),
    ],
)
def test_numbers(scale, words):
    assert_broken("numbers", rule(type("Rate", (Rated,), {"scale": scale}))(), words)


def test_numbers_that_init_refuses_when_they_are_traced():
    def init(self, *args):
        if not is_concrete(self.rate):
            raise ValueError("`rate` must be known while tracing")
        return ()

    found = rule(type("Known", (Rated,), {"init": init}))()
    assert_broken("numbers", found, "refuses the same .* static field .* must be known")
    check_on(found, **problem(), skip=("numbers", "pull"))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"signals": lambda self, *args: {}}, "missing or unknown: .'a'."),
        (signals_changed(lambda t: t[:2]), r"teaching at 'a' has shape \(2, 4\)"),
        (signals_changed(lambda t: t / 0), "20 of 20 numbers not finite"),
        ({"signals": Rule.signals}, "it raised NotImplementedError"),
    ],
)
def test_signals(parts, words):
    assert_broken("signals", broken(**parts), words)


def test_pull():
    found = broken(**signals_changed(lambda t: 2 * t))
    assert_broken(
        "pull", found, r"at their values, against .*; .* predictions, against"
    )


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda self, *args: jnp.full(3, jnp.nan), "3 of 3 numbers not finite"),
        (
            lambda self, c, p, s, a: jnp.ones(2) * (1 + is_concrete(p)),
            "under `jax.jit`",
        ),
    ],
)
def test_predict(predict, words):
    assert_broken("predict", broken(predict=predict), words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda moved, params: {"a": moved["a"]}, "the structure is"),
        (lambda moved, params: jax.tree.map(jnp.float16, moved), "is float16"),
        (lambda moved, params: jax.tree.map(lambda p: p / 0, moved), "not finite"),
        (lambda moved, params: params, "no parameter moved"),
    ],
)
def test_train_step(change, words):
    def train(self, circuit, params, *rest):
        moved, optimizer_state, credit = Rule.train(self, circuit, params, *rest)
        return change(moved, params), optimizer_state, credit

    assert_broken("train_step", broken(train=train), words)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            through_time(),
            r"in calls of \(1, 1, 1, 1, 1, 1\) steps, joined by the state",
        ),
        (CutOff(), "those of each step without its past"),
        (Exact(), "`passes` is 'own', and the gradients are those of backprop"),
        (Louder(), "`passes` is 'everything', and against backpropagation"),
        (Chunked(), "with `chunk=1`: .* is off by"),
    ],
)
def test_through_time(found, words):
    """Backpropagation in disguise, whole or cut off, and the contrary."""
    with pytest.raises(AssertionError, match=words) as error:
        check_rule(found, skip=set(LAWS) - {"through_time"})
    broken_law = "breaks the law 'through_time' on the continued problem"
    assert broken_law in str(error.value)


def test_every_law_has_a_rule_that_breaks_it():
    tests = {name.removeprefix("test_") for name in globals()}
    assert set(LAWS) <= tests
    assert all(words.endswith(".") for words in LAWS.values())
