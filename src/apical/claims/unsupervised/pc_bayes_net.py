"""Is predictive coding inference and learning in a Gaussian Bayes net?"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import apical
from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._effect_size import LEAST_SEEDS, lines_where
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Verdict
from apical.claims.unsupervised._gaussian_tree import (
    ROOT,
    Net,
    Tree,
    belief_propagation,
    divergence,
    first_term,
    half_log_determinant,
    loss_of,
    posterior_means,
)
from apical.claims.unsupervised._rows import Rows, rows_figure
from apical.lab.storage._jsonl import Line

EXACT = 1e-9  # in double precision
SEEN = 0.01  # what the controls must at least be off by
TREES = {
    "chain": Tree({"s": 3, "u": 4, "a": 5, "x": 6}, {"u": "s", "a": "u", "x": "a"}),
    "two children": Tree(
        {"s": 3, "u": 3, "a": 5, "x": 4, "y": 2},
        {"u": "s", "a": "u", "x": "a", "y": "a"},
    ),
    "hidden branches": Tree(
        {"s": 4, "u": 6, "a": 5, "b": 4, "x": 4, "y": 3, "z": 5},
        {"u": "s", "a": "u", "b": "u", "x": "a", "y": "a", "z": "b"},
    ),
}
SETTLED, FEW, EQUAL, FORWARD = (
    "predictive coding, settled",
    "predictive coding, 20 steps",
    "predictive coding, all precisions 1",
    "backpropagation",
)
NAMES = (SETTLED, FEW, EQUAL, FORWARD)


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        trees: their names.
        examples: of the data.
        seeds: each another net, other data and other initial weights.
        updates: of learning.
    """

    trees: tuple[str, ...]
    examples: int
    seeds: int
    updates: int


SIZES: dict[Scale, Size] = {
    "full": Size(tuple(TREES), 1000, 10, 4000),
    "quick": Size(("two children",), 300, 3, 500),
    "smoke": Size(("chain",), 20, 1, 5),
}


def rules_of(net: Net) -> dict[str, rules.Rule]:
    """The rules, with the precisions of the hidden variables of the net."""
    hidden = {v: net.precision[v] for v in net.tree.hidden}
    unknowns = sum(net.tree.size[v] for v in hidden)

    def coding(steps: int, precision: Any, **inference: Any) -> rules.Rule:
        return rules.PredictiveCoding(
            steps, prediction="free", precision=precision, **inference
        )

    # The energy is quadratic: they need as many steps as there are unknowns.
    exact = {"inference": rules.ConjugateGradients()}
    return {
        SETTLED: coding(2 * unknowns, hidden, **exact),
        FEW: coding(20, hidden),
        EQUAL: coding(2 * unknowns, dict.fromkeys(hidden, 1.0), **exact),
        FORWARD: rules.Backpropagation(),
    }


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each tree."""
    for name in SIZES[scale].trees:
        yield Task(name.replace(" ", "-"), partial(_measured, SIZES[scale], name))


def _measured(size: Size, name: str, context: TaskContext) -> Iterator[Line]:
    del context
    with jax.enable_x64(True):
        for seed in range(size.seeds):
            truth = Net.drawn(TREES[name], 2 * seed)
            # Weights that are not those of the data, and the same precisions.
            net = Net.drawn(TREES[name], 2 * seed + 1)._replace(
                precision=truth.precision
            )
            data = truth.sample(seed, size.examples)
            for rule, line in compared(net, data).items():
                yield {"tree": name, "rule": rule, "seed": seed} | line
            for kind, found in learned(truth, net, data, size.updates).items():
                yield {"tree": name, "learner": kind, "seed": seed, "divergence": found}


# ---- Values and updates


def compared(
    net: Net, data: dict[str, jax.Array], names: Iterable[str] = NAMES
) -> dict[str, Line]:
    """How far values and updates of each rule are from the exact ones.

    Args:
        net: whose weights the rules have.
        data: the value of each variable.
        names: of the rules.

    Returns:
        By rule: `values`, the distance to the posterior means over that of the
        predictions to them; `likelihood`, `first_term` and `completed`, the distance of
        the update to the gradient of the likelihood, to that of its first term, and,
        with the gradient of log|S|/2 added, to that of the likelihood; each over its
        size. `messages`: how far belief propagation is from the joint Gaussian.
    """
    given = data[ROOT], {v: data[v] for v in net.tree.seen}
    exact = posterior_means(net, *given)
    messages = belief_propagation(net, *given)
    start = net.predicted(data[ROOT])
    moved = _norm({v: exact[v] - start[v] for v in exact})

    def of_weights(measure: Callable[[Net], jax.Array]) -> Any:
        return jax.grad(lambda w: measure(net._replace(weights=w)))(net.weights)

    of_first = of_weights(lambda net: first_term(net, *given))
    of_log = of_weights(half_log_determinant)
    of_both = jax.tree.map(jnp.add, of_first, of_log)

    def line(rule: rules.Rule) -> Line:
        learner = apical.value_and_grad(loss_of(net), rule)
        state = learner.init(jax.random.key(0), net.weights, *given)
        signals = jax.jit(learner.signals)(net.weights, state, *given)
        grads = jax.jit(learner)(net.weights, state, *given).grads
        missed = {v: signals[v].value - exact[v] for v in exact}
        completed = jax.tree.map(jnp.add, grads, of_log)
        return {
            "values": _norm(missed) / moved,
            "messages": _norm({v: messages[v] - exact[v] for v in exact}) / moved,
            "likelihood": _distance(grads, of_both),
            "first_term": _distance(grads, of_first),
            "completed": _distance(completed, of_both),
        }

    return {name: line(rules_of(net)[name]) for name in names}


def _norm(tree: Any) -> float:
    return float(jnp.linalg.norm(ravel_pytree(tree)[0]))


def _distance(grads: Any, others: Any) -> float:
    return _norm(jax.tree.map(jnp.subtract, grads, others)) / _norm(others)


# ---- Learning


def learned(
    truth: Net, net: Net, data: dict[str, jax.Array], updates: int
) -> dict[str, float]:
    """KL(truth || net), in nats, after learning from the data in full batches."""
    given = data[ROOT], {v: data[v] for v in net.tree.seen}
    loss, settled = loss_of(net), rules_of(net)[SETTLED]

    def likelihood(weights: Any, root: jax.Array, seen: Any) -> jax.Array:
        here = net._replace(weights=weights)
        return first_term(here, root, seen) + half_log_determinant(here)

    found = {"before learning": float(divergence(truth, net))}
    for name, function, rule in (
        (SETTLED, loss, settled),
        ("gradient of the likelihood", likelihood, None),
    ):
        adam = optax.adam(optax.cosine_decay_schedule(0.02, updates))
        after = _after(function, rule, adam, net.weights, given, updates)
        found[name] = float(divergence(truth, net._replace(weights=after)))
    return found


def _after(
    loss: Any, rule: Any, adam: Any, weights: Any, given: Any, updates: int
) -> Any:
    axes = 0 if rule else None  # the likelihood is no mean over examples
    used = rule or rules.Backpropagation()
    step = apical.train_step(loss, used, adam, batch_axes=axes)
    state = step.init(jax.random.key(0), weights, *given)

    def update(carry: Any, _: Any) -> Any:
        return step(*carry, *given)[:2], None

    def run(carry: Any) -> Any:
        return jax.lax.scan(update, carry, length=updates)[0]

    return jax.jit(run)((weights, state))[0]


# ---- The verdict


def judge(lines: Lines) -> Verdict:
    """From the largest distances over trees and seeds."""
    every = [name for name in TREES if lines_where(lines, tree=name)]
    told = "; ".join(_in_words(lines, name) for name in every) or "nothing was run"
    few = [
        name
        for name in TREES
        if len(lines_where(lines, tree=name, rule=SETTLED)) < LEAST_SEEDS
    ]
    if few:
        short = f"fewer than {LEAST_SEEDS} seeds of: {', '.join(few)}. {told}"
        return Verdict("not settled", short)
    if not _largest(lines, "messages") < EXACT:
        return Verdict("not settled", f"belief propagation is not exact: {told}")
    if not _least(lines, "values", (EQUAL, FORWARD)) > SEEN:
        return Verdict("not settled", f"nothing had to be inferred: {told}")
    if not _largest(lines, "values") < EXACT:
        return Verdict("does not hold", f"the values are others: {told}")
    if _largest(lines, "likelihood") < EXACT:
        return Verdict("holds", told)
    if all(_largest(lines, field) < EXACT for field in ("first_term", "completed")):
        lacks = "inference, and learning of the likelihood without log|S|/2"
        return Verdict("holds within limits", f"{lacks}: {told}")
    return Verdict("does not hold", f"the update is another: {told}")


def _values(lines: Lines, field: str, names: Iterable[str]) -> list[float]:
    return [line[field] for name in names for line in lines_where(lines, rule=name)]


def _largest(lines: Lines, field: str) -> float:
    return float(np.max(_values(lines, field, [SETTLED])))  # nan if one is nan


def _least(lines: Lines, field: str, names: Iterable[str]) -> float:
    return float(np.min(_values(lines, field, names)))


def _in_words(lines: Lines, tree: str) -> str:
    here = lines_where(lines, tree=tree)
    return (
        f"{tree}: values off by {_largest(here, 'values'):.0e} "
        f"(with precisions 1 by {_least(here, 'values', [EQUAL]):.2f} or more), update "
        f"off the gradient of the likelihood by {_off(here)}, of "
        f"its first term by {_largest(here, 'first_term'):.0e}, with log|S|/2 added by "
        f"{_largest(here, 'completed'):.0e}"
    )


def draw(lines: Lines) -> Figure:
    """Values, updates, and what was learned: all trees and seeds."""
    settled = lines_where(lines, rule=SETTLED)
    updates = {
        "of the likelihood": "likelihood",
        "of its first term": "first_term",
        "of the likelihood, log|S|/2 added": "completed",
    }
    learners = dict.fromkeys(line["learner"] for line in lines if "learner" in line)
    return rows_figure(
        [
            Rows(
                "values: distance to the posterior means (of that of the predictions)",
                {name: _values(lines, "values", [name]) for name in NAMES},
                EXACT,
            ),
            Rows(
                "settled update: distance to the gradient (of its size)",
                {
                    name: [line[field] for line in settled]
                    for name, field in updates.items()
                },
                EXACT,
            ),
            Rows(
                "after learning: KL to the net that made the data (nats)",
                {name: _divergences(lines, name) for name in learners},
            ),
        ]
    )


def _divergences(lines: Lines, learner: str) -> list[float]:
    return [line["divergence"] for line in lines_where(lines, learner=learner)]


def _off(lines: Lines) -> str:
    off = [100 * value for value in _values(lines, "likelihood", [SETTLED])]
    return f"{min(off):.0f} % to {max(off):.0f} %" if off else NOT_RUN


CLAIM = Claim(
    id="pc-bayes-net",
    sentence=(
        "Predictive coding is inference and learning in a Gaussian Bayes net: its "
        "equilibrium is the posterior mean, and its update the gradient of the "
        "likelihood."
    ),
    source=(
        "asked here, after Friston 2005, Philosophical Transactions of the Royal "
        "Society B 360:815, and Bogacz 2017, Journal of Mathematical Psychology 76:198"
    ),
    work=(
        "Linear Gaussian nets on three trees (a chain, a variable with two children, "
        "hidden variables with branches) of 3 to 6 numbers each, the root and the "
        "leaves seen, 1,000 examples drawn from each net, in double precision; "
        "weights other than those that made the data, the precisions the same; 10 "
        "seeds of nets, precisions, data and weights. Predictive coding with free "
        "predictions and the precisions of the net, settled by conjugate gradients, is "
        "compared with belief propagation and with the mean of the joint Gaussian; its "
        "update with the gradient of the exact likelihood of what is seen. Controls: "
        "precisions of 1, and backpropagation, which infers nothing. Then 4,000 "
        "updates by Adam from the same weights, by predictive coding and by the "
        "gradient of the likelihood, and the divergence from the net that made the "
        "data."
    ),
    published=(
        Published(
            "distance of the update to the gradient of the likelihood",
            "not stated",
            "the sources take the most probable values for the posterior",
            _off,
        ),
    ),
    differences=(
        "The sources describe the scheme, and compare no gradients. Nothing is tuned: "
        "what decides is exact. The step size of learning is that of both learners, "
        "and what they learn decides nothing."
    ),
    rule=(
        "Holds if for every tree and seed the settled values are nearer to the "
        f"posterior means than {EXACT:g} of the way from the predictions to them, and "
        "the update is the gradient of the likelihood (their distance below "
        f"{EXACT:g} of its size). Holds within limits, of inference alone, if the "
        "values are and the update is not, but is the gradient of the first term of "
        "(z - m) S⁻¹ (z - m)ᵀ / 2 + log|S| / 2, and with the gradient of log|S| / 2 "
        "added that of the likelihood. Does not hold if the values are not the means, "
        "or the update neither. Not settled with fewer than "
        f"{LEAST_SEEDS} seeds of a tree; if belief propagation and the joint Gaussian "
        f"differ; or if the values of a control are within {SEEN:g} of the posterior "
        "means (then there was nothing to infer)."
    ),
    hours=0.2,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
