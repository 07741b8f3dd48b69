"""Runs of training in one compiled loop, and the choice of step sizes by trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from apical.claims._claim import Lines
from apical.claims._effect_size import Effect, effect, final_values
from apical.lab.storage._jsonl import Line

TUNING_SEED = 1000  # this and those that follow are not reported
Score = dict[str, float]


class Problem(NamedTuple):
    """What is trained, and how it is measured.

    Attributes:
        init: initial parameters from a key.
        step: made by `apical.train_step`, from a step size that is traced.
        draw: the arguments of the loss after the parameters, from a key and the data.
        measure: of parameters and the data, any arrays.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[Any], Any]
    draw: Callable[[jax.Array, Any], tuple[Any, ...]]
    measure: Callable[[Any, Any], Any]


def training_run(
    problem: Problem, updates: int, parts: int
) -> Callable[[int, float, Any], Any]:
    """A compiled function of a seed, a step size and data: what was measured.

    Initial weights, batches and noise depend on the seed alone: they are the same for
    every step size and rule.

    Args:
        problem: what is trained.
        updates: their number, rounded down to a multiple of the parts.
        parts: of the training, each followed by a measurement.

    Returns:
        The measures, `(parts, ...)` each.
    """

    def run(key: jax.Array, rate: jax.Array, data: Any) -> Any:
        for_params, for_state, for_updates = jax.random.split(key, 3)
        params, step = problem.init(for_params), problem.step(rate)
        state = step.init(for_state, params, *problem.draw(for_state, data))

        def update(carry: Any, key: jax.Array) -> Any:
            params, state, _ = step(*carry, *problem.draw(key, data))
            return (params, state), None

        def part(carry: Any, keys: jax.Array) -> Any:
            carry = jax.lax.scan(update, carry, keys)[0]
            return carry, problem.measure(carry[0], data)

        keys = jax.random.split(for_updates, parts * (updates // parts))
        keys = keys.reshape(parts, -1)
        return jax.lax.scan(part, (params, state), keys)[1]

    compiled = jax.jit(run)
    return lambda seed, rate, data: jax.device_get(
        compiled(jax.random.key(seed), jnp.float32(rate), data)
    )


def falling(rate: Any, updates: int) -> Callable[[Any], Any]:
    """A step size that falls to 0 as half a cosine; `rate` may be traced."""
    return lambda count: rate * (1 + jnp.cos(jnp.pi * count / updates)) / 2


def adam(rate: Any, updates: int, **options: Any) -> optax.GradientTransformation:
    """Adam with a step size that falls to 0."""
    return optax.adam(falling(rate, updates), **options)


# ---- Lines of runs and trials


class Tuning(NamedTuple):
    """How a step size is chosen.

    Attributes:
        rates: the step sizes.
        seeds: the number of seeds of each trial.
    """

    rates: Sequence[float]
    seeds: int = 1


def chosen_rate(
    score: Callable[[int, float], float], tuning: Tuning, **said: Any
) -> tuple[float, list[Line]]:
    """The step size with the highest mean score, and a line for each trial.

    Args:
        score: of a run, from a seed and a step size; not finite if it diverged.
        tuning: what is tried.
        said: more fields of the lines.
    """
    seeds = range(TUNING_SEED, TUNING_SEED + tuning.seeds)
    means = [float(np.mean([score(s, rate) for s in seeds])) for rate in tuning.rates]
    best = int(np.argmax(np.where(np.isfinite(means), means, -np.inf)))
    lines = [
        {
            **said,
            **{"trial": i, "learning_rate": float(rate), "numbers": "{}"},
            **{"held_out_score": mean if np.isfinite(mean) else None},
            "chosen": i == best,
        }
        for i, (rate, mean) in enumerate(zip(tuning.rates, means, strict=True))
    ]
    return float(tuning.rates[best]), lines


def run_lines(measured: Mapping[str, Any], seed: int, **said: Any) -> Iterator[Line]:
    """A line for each part of a run; `score` is higher where the run is better.

    A run whose last score is not finite diverged.

    Args:
        measured: `score` and any other measures, `(parts,)` each.
        seed: of the run.
        said: more fields of the lines.
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
    here = [line for line in lines if all(line.get(k) == v for k, v in where.items())]
    every = {} if lost is None else {line["seed"]: lost for line in here}
    return every | final_values(here, "score")
