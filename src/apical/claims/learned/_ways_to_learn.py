"""Ways to learn within a life, each a function of numbers that are meta-learned.

Every way has a logarithmic rate and a logarithmic scale of the initial weights for each
layer. A learned rule has besides the coefficients of `apical.rules.Plasticity`:

    dw = rate (x delta + sum_abcd c[a, b, c, d] mean(x^a y^b delta^d) w^c)

so that with c = 0 it is gradient descent, if delta is that of backpropagation.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import apical
from apical import rules
from apical.claims.learned._lives import Form, Weights, loss_fn

SHAPE = (2, 3, 2, 2)  # exponents 0 and 1 of x, w and delta; 0, 1 and 2 of y
TAUGHT = np.zeros(SHAPE, np.float32)
TAUGHT[1, 0, 0, 1] = 1.0  # x delta
Numbers = dict[str, Array]


class MetaLearned(NamedTuple):
    """What meta-learning gives.

    Attributes:
        numbers: at the end.
        losses: the objective before each update.
        course: the numbers after each update.
    """

    numbers: Any
    losses: Array
    course: Any


class Way(NamedTuple):
    """A way to learn.

    Attributes:
        start: the numbers before they are meta-learned.
        learn: the weights after the batches: of numbers, a key, weights, batches.
        shown: the rule in words, of numbers.
    """

    start: Callable[[Form], Numbers]
    learn: Callable[[Numbers, Array, Weights, tuple[Array, Array]], Weights]
    shown: Callable[[Numbers, Form], str]


def _rates_and_scales(form: Form, rate: float) -> Numbers:
    count = len(form.layers)
    return {"rates": jnp.full(count, jnp.log(rate)), "scales": jnp.zeros(count)}


def _by_layer(numbers: Array, names: Iterable[str]) -> dict[str, Array]:
    return dict(zip(names, numbers, strict=True))


def _scaled(numbers: Numbers, w: Weights) -> Weights:
    scales = _by_layer(jnp.exp(numbers["scales"]), w)
    return {name: scales[name] * each for name, each in w.items()}


def _in_words(numbers: Numbers, form: Form) -> str:
    rates, scales = (jnp.exp(numbers[k]) for k in ("rates", "scales"))
    return "; ".join(
        f"{name}: rate {rate:.2g}, initial weights x {scale:.2g}"
        for name, rate, scale in zip(form.layers, rates, scales, strict=True)
    )


# ---- Optimisers


def by_optimizer(
    optimizer: optax.GradientTransformation, rate: float, trained: str = ""
) -> Way:
    """Backpropagation, with a meta-learned rate for each layer.

    Args:
        optimizer: without a rate, as `optax.scale_by_adam()`.
        rate: at the start.
        trained: the only layer that learns; empty: all do.
    """
    learner = apical.value_and_grad(loss_fn, rules.Backpropagation())

    def learn(
        numbers: Numbers, key: Array, w: Weights, batches: tuple[Array, Array]
    ) -> Weights:
        w = _scaled(numbers, w)
        rates = _by_layer(jnp.exp(numbers["rates"]), w)
        if trained:
            rates = {n: r if n == trained else 0 * r for n, r in rates.items()}
        state = learner.init(key, w, *jax.tree.map(lambda leaf: leaf[0], batches))

        def update(at: Any, batch: Any) -> tuple[Any, None]:
            w, moments = at
            grads = learner(w, state, *batch).grads
            moved, moments = optimizer.update(grads, moments)
            w = jax.tree.map(lambda w, rate, m: w - rate * m, w, rates, moved)
            return (w, moments), None

        return jax.lax.scan(update, (w, optimizer.init(w)), batches)[0][0]

    return Way(lambda form: _rates_and_scales(form, rate), learn, _in_words)


# ---- Learned rules


def coefficients_of(numbers: Numbers, layers: Iterable[str]) -> dict[str, Array]:
    """The coefficients of each layer, by its name."""
    rates = jnp.exp(numbers["rates"])[:, None, None, None, None]
    return _by_layer(rates * (TAUGHT + numbers["terms"]), layers)


def by_rule(teacher: rules.Rule, rate: float) -> Way:
    """A polynomial rule, with meta-learned coefficients for each layer.

    Args:
        teacher: what finds delta.
        rate: at the start.
    """

    def start(form: Form) -> Numbers:
        terms = jnp.zeros((len(form.layers), *SHAPE))
        return {**_rates_and_scales(form, rate), "terms": terms}

    def learn(
        numbers: Numbers, key: Array, w: Weights, batches: tuple[Array, Array]
    ) -> Weights:
        coefficients = coefficients_of(numbers, w)
        return learn_by(coefficients, teacher, key, _scaled(numbers, w), batches)

    def shown(numbers: Numbers, form: Form) -> str:
        rule = rules.Plasticity(coefficients_of(numbers, form.layers), teacher)
        said = rule.formula(2, 0.02).replace("\n", "; ")
        scales = ", ".join(f"{each:.2g}" for each in jnp.exp(numbers["scales"]))
        return f"{said}; initial weights x {scales}"

    return Way(start, learn, shown)


def learn_by(
    coefficients: Any,
    teacher: rules.Rule,
    key: Array,
    w: Weights,
    batches: tuple[Array, Array],
) -> Weights:
    """The weights after one update for each batch, by a polynomial rule."""
    rule = rules.Plasticity(coefficients, teacher)
    learner = apical.value_and_grad(loss_fn, rule)
    state = learner.init(key, w, *jax.tree.map(lambda leaf: leaf[0], batches))

    def update(at: Any, batch: Any) -> tuple[Any, None]:
        w, state = at
        credit = learner(w, state, *batch)
        return (jax.tree.map(jnp.subtract, w, credit.grads), credit.state), None

    return jax.lax.scan(update, (w, state), batches)[0][0]


# ---- Meta-learning by gradient


def meta_learned(
    objective: Callable[[Any, Array], Array],
    start: Any,
    key: Array,
    rate: Any,
    updates: int,
) -> MetaLearned:
    """Adam on the gradient through lives, clipped, with a rate that falls to 0.

    Args:
        objective: the loss after lives: of numbers and a key.
        start: the numbers at the start.
        key: of the tasks.
        rate: of Adam; it may be traced.
        updates: their number.
    """
    transform = optax.chain(
        optax.zero_nans(),  # of lives that diverged
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
    )
    falling = optax.cosine_decay_schedule(1.0, updates)

    def update(at: Any, given: Any) -> tuple[Any, Any]:
        numbers, moments = at
        number, key = given
        value, slopes = jax.value_and_grad(objective)(numbers, key)
        moved, moments = transform.update(slopes, moments)
        size = rate * falling(number)
        numbers = jax.tree.map(lambda n, m: n - size * m, numbers, moved)
        return (numbers, moments), (value, numbers)

    keys = jax.random.split(key, updates)
    begun = (start, transform.init(start))
    (numbers, _), each = jax.lax.scan(update, begun, (jnp.arange(updates), keys))
    return MetaLearned(numbers, *each)
