"""Three ways to find a polynomial rule: by gradient, by evolution, by random search.

A rule is one array of coefficients for all layers (see `apical.rules.Plasticity`),

    dw = sum_abcd A[a, b, c, d] mean(x^a y^b delta^d) w^c,

with the delta of backpropagation. Each way starts from A = 0 and is given the same
number of evaluations: an evaluation is a life, which ends with one loss. A life that is
differentiated counts as three, by the operations of a backward pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from apical import rules
from apical.claims.learned._lives import Form, Images, Lived, Weights, lives
from apical.claims.learned._ways_to_learn import (
    SHAPE,
    TAUGHT,
    learn_by,
    meta_learned,
)
from apical.lab._errors import LabError

POPULATION = 32  # rules that are tried on the same tasks
DIFFERENTIATED = 3  # evaluations in a life that is differentiated
_SPAN = 2.5  # powers of ten of random coefficients


class Search(NamedTuple):
    """What every way is given.

    Attributes:
        images: of the tasks.
        among: the classes of the tasks.
        form: of a life.
        tasks: lives of each rule that is tried.
        evaluations: in all.
        looks: after how many equal parts of them the rule is kept.
    """

    images: Images
    among: Array
    form: Form
    tasks: int
    evaluations: int
    looks: int

    def last_of_parts(self, course: Array) -> Array:
        """Of a rule after every step the ones at the ends of the parts."""
        every = len(course) // self.looks
        return course[every - 1 :: every][: self.looks]


def lived_by(search: Search, rule: Array, key: Array, number: int) -> Lived:
    """Lives by a rule."""

    def learn(key: Array, w: Weights, batches: tuple[Array, Array]) -> Weights:
        return learn_by(rule, rules.Backpropagation(), key, w, batches)

    return lives(learn, key, number, search.images, search.among, search.form)


def mean_loss(search: Search, rule: Array, key: Array) -> Array:
    """The loss after a life, its mean over tasks."""
    return jnp.mean(lived_by(search, rule, key, search.tasks).loss)


# ---- The ways: rules `(looks, ...)` of a search, a key, and numbers (maybe traced)

Numbers = dict[str, Any]
Find = Callable[[Search, Array, Numbers], Array]


def by_gradient(search: Search, key: Array, numbers: Numbers) -> Array:
    """Adam on the gradient through lives, at a `rate` that falls to 0."""
    updates = search.evaluations // (DIFFERENTIATED * search.tasks)
    objective, start = partial(mean_loss, search), jnp.zeros(SHAPE)
    found = meta_learned(objective, start, key, numbers["rate"], updates)
    return search.last_of_parts(found.course)


def by_evolution(search: Search, key: Array, numbers: Numbers) -> Array:
    """`Open_ES` of evosax: all rules of a generation live the same tasks.

    Its numbers are the `rate` of Adam, which falls to 0, and the `noise`.

    Raises:
        LabError: evosax is not installed.
    """
    generations = search.evaluations // (POPULATION * search.tasks)
    falling = optax.cosine_decay_schedule(1.0, generations)
    strategy = _open_es()(
        population_size=POPULATION,
        solution=jnp.zeros(SHAPE),
        optimizer=optax.adam(lambda step: numbers["rate"] * falling(step)),
        std_schedule=lambda step: numbers["noise"],
    )
    settings = strategy.default_params
    of_start, of_course = jax.random.split(key)

    def generation(state: Any, key: Array) -> tuple[Any, Array]:
        keys = jax.random.split(key, 3)
        tried, state = strategy.ask(keys[0], state, settings)
        lived = jax.vmap(lambda rule: mean_loss(search, rule, keys[1]))(tried)
        state, _ = strategy.tell(keys[2], tried, lived, state, settings)
        return state, strategy.get_mean(state)

    state = strategy.init(of_start, jnp.zeros(SHAPE), settings)
    _, course = jax.lax.scan(
        generation, state, jax.random.split(of_course, generations)
    )
    return search.last_of_parts(course)


def _open_es() -> Any:
    try:
        from evosax.algorithms import Open_ES
    except ImportError as error:
        raise LabError(
            "the evolution of rules needs evosax: pip install evosax"
        ) from error
    return Open_ES


def by_random_search(search: Search, key: Array, numbers: Numbers) -> Array:
    """Rules of a few random terms, all on the same tasks; the best is kept.

    Its numbers are how many `terms` a rule has, and the `largest` of its coefficients.
    """
    of_tasks, of_rules = jax.random.split(key)
    start = (jnp.zeros(SHAPE), jnp.asarray(jnp.inf))

    def part(best: tuple[Array, Array], key: Array) -> tuple[Any, Array]:
        keys = jax.random.split(key, POPULATION)
        tried = jax.vmap(lambda key: random_rule(key, **numbers))(keys)
        lived = jax.vmap(lambda rule: mean_loss(search, rule, of_tasks))(tried)
        first = jnp.argmin(lived)
        lower = lived[first] < best[1]
        rule = jnp.where(lower, tried[first], best[0])
        return (rule, jnp.minimum(lived[first], best[1])), rule

    parts = search.evaluations // (POPULATION * search.tasks)
    _, course = jax.lax.scan(part, start, jax.random.split(of_rules, parts))
    return search.last_of_parts(course)


def random_rule(key: Array, terms: Any, largest: Any) -> Array:
    """Some coefficients of either sign, of sizes drawn on a logarithmic scale.

    Args:
        key: of the rule.
        terms: how many are not 0.
        largest: of their sizes; the smallest is 2.5 powers of ten below.
    """
    order, size, sign = jax.random.uniform(key, (3, TAUGHT.size))
    values = largest * 10 ** (_SPAN * (size - 1)) * jnp.sign(sign - 0.5)
    rank = jnp.argsort(jnp.argsort(order))
    return jnp.where(rank < terms, values, 0.0).reshape(SHAPE)


def by_one_rate(search: Search, key: Array, numbers: Numbers) -> Array:
    """Gradient descent at a `rate`: nothing is searched for."""
    del key
    rule = numbers["rate"] * TAUGHT
    return jnp.broadcast_to(rule, (search.looks, *SHAPE))
