"""Runs of training in one compiled loop, and the choice of step sizes by trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from apical.claims._claim import Lines
from apical.claims._effect_size import Effect, effect, final_values, lines_where
from apical.lab.storage._jsonl import Line

TUNING_SEED = 1000  # this and those that follow are not reported


class Problem(NamedTuple):
    """What is trained, and how it is measured.

    Attributes:
        init: initial parameters from a key.
        step: made by `apical.train_step`, with an optimiser whose step size is set by
            `with_rate` (`descent`, `adam`).
        draw: the arguments of the loss after the parameters, from a key and the data.
        measure: of parameters and the data, any arrays.
        watch: more arrays, of parameters, the state of the rule, and the data.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[], Any]
    draw: Callable[[jax.Array, Any], tuple[Any, ...]]
    measure: Callable[[Any, Any], Any]
    watch: Callable[[Any, Any, Any], dict[str, Any]] | None = None


def training_runs(
    problem: Problem, updates: int, parts: int, vectorised: bool = False
) -> Callable[[Sequence[int], Sequence[float], Any], Any]:
    """A compiled function of seeds, as many step sizes, and data: what was measured.

    Initial weights, batches and noise depend on the seed alone: they are the same for
    every step size and rule.

    Args:
        problem: what is trained.
        updates: their number, rounded down to a multiple of the parts.
        parts: of the training, each followed by a measurement.
        vectorised: whether the runs are done at once, which is faster for small
            networks, or one after the other.

    Returns:
        The measures, `(runs, parts, ...)` each.
    """

    def run(key: jax.Array, rate: jax.Array, data: Any) -> Any:
        for_params, for_state, for_updates = jax.random.split(key, 3)
        params, step = problem.init(for_params), problem.step()
        state = step.init(for_state, params, *problem.draw(for_state, data))
        state = with_rate(state, rate)

        def update(carry: Any, key: jax.Array) -> Any:
            params, state, _ = step(*carry, *problem.draw(key, data))
            return (params, state), None

        def part(carry: Any, keys: jax.Array) -> Any:
            carry = jax.lax.scan(update, carry, keys)[0]
            found = problem.measure(carry[0], data)
            if problem.watch is not None:
                found = {**found, **problem.watch(carry[0], carry[1].rule, data)}
            return carry, found

        keys = jax.random.split(for_updates, (parts, updates // parts))
        return jax.lax.scan(part, (params, state), keys)[1]

    def runs(keys: jax.Array, rates: jax.Array, data: Any) -> Any:
        if vectorised:
            return jax.vmap(run, (0, 0, None))(keys, rates, data)
        return jax.lax.map(lambda each: run(each[0], each[1], data), (keys, rates))

    compiled = jax.jit(runs)

    def of(seeds: Sequence[int], rates: Sequence[float], data: Any) -> Any:
        keys = jax.vmap(jax.random.key)(jnp.asarray(list(seeds)))
        return jax.device_get(
            compiled(keys, jnp.asarray(list(rates), jnp.float32), data)
        )

    return of


# ---- Step sizes that are set in the state, so that one compiled run serves all


class RateState(NamedTuple):
    """The number of updates so far, and the step size at the first."""

    done: jax.Array
    rate: jax.Array


def falling(rate: Any, updates: int) -> Callable[[Any], Any]:
    """A step size that falls to 0 as half a cosine."""
    return lambda count: rate * (1 + jnp.cos(jnp.pi * count / updates)) / 2


def descent(number: int) -> optax.GradientTransformation:
    """Plain steps whose size falls to 0; it is 1 at first, or what `with_rate` sets.

    Args:
        number: of updates.
    """

    def init(params: Any) -> RateState:
        del params
        return RateState(jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, RateState]:
        del params
        size = falling(state.rate, number)(state.done)
        moved = jax.tree.map(lambda g: (-size * g).astype(g.dtype), updates)
        return moved, RateState(state.done + 1, state.rate)

    return optax.GradientTransformation(init, update)


def adam(updates: int, **options: Any) -> optax.GradientTransformation:
    """Adam with such steps."""
    return optax.chain(optax.scale_by_adam(**options), descent(updates))


def with_rate(state: Any, rate: Any) -> Any:
    """A state in which every `descent` begins with this step size."""

    def is_rate(leaf: Any) -> bool:
        return isinstance(leaf, RateState)

    def replaced(leaf: Any) -> Any:
        return leaf._replace(rate=rate) if is_rate(leaf) else leaf

    return jax.tree.map(replaced, state, is_leaf=is_rate)


# ---- Lines of runs and trials


class Budget(NamedTuple):
    """How long is trained, how often, and what is tried before.

    Attributes:
        updates: of each run; trials have half as many.
        parts: of each run, after which it is measured.
        seeds: of the reported runs.
        rates: the step sizes of the trials.
        tuning_seeds: of each trial.
    """

    updates: int
    parts: int
    seeds: int
    rates: Sequence[float]
    tuning_seeds: int = 1


def tuned_lines(
    problem: Callable[[int], Problem],
    budget: Budget,
    data: tuple[Any, Any],
    said: Line,
    vectorised: bool = False,
    finished: Callable[[Line], Line] = dict,
) -> Iterator[Line]:
    """The lines of all trials, then those of runs at the best step size.

    Args:
        problem: what is trained, from the number of updates.
        budget: of runs and trials.
        data: of the runs, and of the trials.
        said: more fields of the lines.
        vectorised: whether runs are done at once.
        finished: makes the measures of a run from what was measured: `score`, which is
            higher where it is better, and any others, `(parts,)` each.
    """
    whole, held = data
    half = max(1, budget.updates // 2)
    run = training_runs(problem(half), half, 1, vectorised)
    rate, trials = chosen_rate(
        lambda seeds, rates: [
            finished(each)["score"][-1] for each in _each(run(seeds, rates, held))
        ],
        budget,
        said,
    )
    yield from trials
    run = training_runs(
        problem(budget.updates), budget.updates, budget.parts, vectorised
    )
    found = run(range(budget.seeds), [rate] * budget.seeds, whole)
    for seed, each in enumerate(_each(found)):
        yield from run_lines(finished(each), {**said, "learning_rate": rate}, seed)


def _each(measured: Any) -> Iterator[Any]:
    """What was measured of each run."""
    count = len(jax.tree.leaves(measured)[0])
    for i in range(count):
        yield jax.tree.map(itemgetter(i), measured)


def chosen_rate(
    scores: Callable[[Sequence[int], Sequence[float]], Sequence[float]],
    budget: Budget,
    said: Line,
) -> tuple[float, list[Line]]:
    """The step size with the highest mean score, and a line for each trial.

    Args:
        scores: of runs, from seeds and as many step sizes; not finite if one diverged.
        budget: what is tried, with how many seeds.
        said: more fields of the lines.
    """
    tried = range(TUNING_SEED, TUNING_SEED + budget.tuning_seeds)
    pairs = [(seed, rate) for rate in budget.rates for seed in tried]
    found = scores([seed for seed, _ in pairs], [rate for _, rate in pairs])
    means = np.reshape(np.asarray(found, float), (-1, len(tried))).mean(axis=1)
    best = int(np.argmax(np.where(np.isfinite(means), means, -np.inf)))
    lines = [
        {
            **said,
            **{"trial": i, "learning_rate": float(rate), "numbers": "{}"},
            **{"held_out_score": float(mean) if np.isfinite(mean) else None},
            "chosen": i == best,
        }
        for i, (rate, mean) in enumerate(zip(budget.rates, means, strict=True))
    ]
    return float(budget.rates[best]), lines


def run_lines(measured: Mapping[str, Any], said: Line, seed: int) -> Iterator[Line]:
    """A line for each part of a run; `score` is higher where the run is better.

    A run whose last score is not finite diverged.

    Args:
        measured: `score` and any other measures, `(parts,)` each.
        said: more fields of the lines.
        seed: of the run.
    """
    parts = len(measured["score"])
    status = "ok" if np.isfinite(measured["score"][-1]) else "diverged"
    for part in range(parts):
        found = {name: float(values[part]) for name, values in measured.items()}
        known = {name: v if np.isfinite(v) else None for name, v in found.items()}
        where = {"seed": seed, "epoch": part + 1, "epochs": parts, "status": status}
        yield {**said, **where, **known}


# ---- Differences of scores


def score_difference(
    what: str,
    lines: Lines,
    runs: tuple[Mapping[str, Any], Mapping[str, Any]],
    margin: float,
    compared: int = 1,
    lost: float | None = None,
) -> Effect:
    """The difference of the last scores of two runs, paired by seed.

    Args:
        what: what is compared with what.
        lines: of the claim.
        runs: the fields that select the lines of each run.
        margin: what counts as no difference.
        compared: how many comparisons are made together.
        lost: the score of a seed that diverged; None: it is left out.
    """
    mine, other = (last_scores(lines, lost, **where) for where in runs)
    return effect(what, mine, other, margin, compared, runs)


def last_scores(
    lines: Lines, lost: float | None = None, **where: Any
) -> dict[int, float]:
    """The last score of each seed; a seed that diverged has `lost`, or none."""
    here = lines_where(lines, **where)
    every = {} if lost is None else {line["seed"]: lost for line in here}
    return every | final_values(here, "score")
