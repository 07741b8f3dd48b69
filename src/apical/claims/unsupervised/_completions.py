"""Runs of a sum-product network and of predictive coding that complete images."""

import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import apical
from apical import rules
from apical.claims._claim import TaskContext
from apical.claims.unsupervised import _generative_coding as coding
from apical.claims.unsupervised import _sum_product_network as spn
from apical.claims.unsupervised._brightness import brightness
from apical.claims.unsupervised._training import Budget, Problem, adam, tuned_lines
from apical.lab.storage._jsonl import Line

SUM_PRODUCT, CODING, APART = "sum-product", "predictive coding", "independent pixels"
BATCH, REPEATS, DARK = 64, 8, 0.4
TRAIN_STEPS, SCORE_STEPS = 20, 64
RATES = {SUM_PRODUCT: (1e-3, 1.0), CODING: (1e-4, 0.3)}


class Size(NamedTuple):
    """The size of the runs.

    Attributes:
        updates: of each run.
        seeds: of the reported runs.
        trials: of each network.
        steps: of inference by predictive coding, in increasing order.
        pixels: of the small networks whose sums are enumerated.
    """

    updates: int
    seeds: int
    trials: int
    steps: tuple[int, ...]
    pixels: int


class Images(NamedTuple):
    """Images to learn from, those of the score, and what is seen of these."""

    x: jax.Array
    tests: jax.Array
    seen: jax.Array


def _images(context: TaskContext) -> tuple[Images, Images]:
    x, tests = (jnp.asarray(part > DARK, jnp.float32) for part in brightness(context))
    seen = jax.random.bernoulli(jax.random.key(5), 0.5, x.shape)
    cut = len(x) * 4 // 5
    whole = Images(x, tests, seen[: len(tests)])
    return whole, Images(x[:cut], x[cut:], seen[cut:])


def _right(said: jax.Array, images: Images) -> jax.Array:
    """The share of pixels that are not seen and are said right, in percent."""
    right = (said == (images.tests > 0.5)) & ~images.seen
    return 100 * jnp.sum(right) / jnp.sum(~images.seen)


# ---- Exact marginals


def exact_lines(size: Size, context: TaskContext) -> Iterator[Line]:
    """The error of the marginals of small networks, by seed."""
    del context
    with jax.enable_x64(True):
        for seed in range(size.seeds):
            yield {"part": "exact", "seed": seed, **exactness(seed, size.pixels)}


def exactness(seed: int, pixels: int) -> Line:
    """The error of the marginals of one backward pass, beside a sum over all images.

    Returns:
        `error`, `total` (the sum of all probabilities), and `moved`: how far the
        evidence moves a marginal at most.
    """
    params = spn.initial(jax.random.key(seed), pixels, 3)
    seen = np.arange(pixels) < pixels // 2
    draw = np.random.default_rng(seed)
    x = draw.integers(0, 2, (6, pixels))
    exact, total = spn.enumerated(params, x, seen)
    nothing, _ = spn.enumerated(params, x, np.zeros(pixels, bool))
    found = jax.jit(spn.marginals)(params, spn.indicators(x, jnp.asarray(seen)))
    open_pixels = ~seen
    return {
        "error": float(np.abs(found - exact)[:, open_pixels].max()),
        "total": total,
        "moved": float(np.abs(exact - nothing)[:, open_pixels].max()),
    }


# ---- A sum-product network on the digits


def sum_product_lines(size: Size, context: TaskContext) -> Iterator[Line]:
    """Trials and runs of the network, and the level of independent pixels."""
    whole, held = _images(context)

    def step(updates: int) -> Any:
        used = rules.Backpropagation()
        return apical.train_step(spn.loss_fn, used, adam(updates))

    def draw(key: jax.Array, images: Images) -> tuple[jax.Array]:
        rows = jax.random.randint(key, (BATCH,), 0, len(images.x))
        return (spn.indicators(images.x[rows]),)

    def measure(params: Any, images: Images) -> dict[str, jax.Array]:
        chance = spn.marginals(params, spn.indicators(images.tests, images.seen))
        nats = -spn.loss_fn(params, spn.indicators(images.tests))
        return {"score": nats, "right": _right(chance > 0.5, images)}

    pixels = whole.x.shape[1]
    layers = 2 * spn.depth(spn.initial(jax.random.key(0), pixels, 1))
    said = {"part": "digits", "data": "digits", "rule": SUM_PRODUCT, "layers": layers}
    yield from tuned_lines(
        lambda updates: Problem(
            lambda key: spn.initial(key, pixels, REPEATS),
            lambda: step(updates),
            draw,
            measure,
        ),
        Budget(size.updates, 5, size.seeds, _rates(SUM_PRODUCT, size)),
        (whole, held),
        said | {"seconds": _seconds_of_marginals(whole)},
    )
    share = (whole.x.sum(axis=0) + 1) / (len(whole.x) + 2)
    chance = jnp.where(whole.tests > 0.5, share, 1 - share)
    yield {
        **{"part": "digits", "data": "digits", "rule": APART},
        **{"score": float(jnp.mean(jnp.sum(jnp.log(chance), axis=1)))},
        "right": float(_right(jnp.broadcast_to(share > 0.5, chance.shape), whole)),
    }


def _rates(name: str, size: Size) -> list[float]:
    return np.geomspace(*RATES[name], size.trials).tolist()


def _seconds_of_marginals(images: Images) -> float:
    params = spn.initial(jax.random.key(0), images.x.shape[1], REPEATS)
    evidence = spn.indicators(images.tests, images.seen)
    return seconds(jax.jit(spn.marginals), params, evidence)


def seconds(compiled: Callable[..., Any], *given: Any) -> float:
    """The median time of five calls, after one."""
    jax.block_until_ready(compiled(*given))
    found = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*given))
        found.append(time.perf_counter() - start)
    return float(np.median(found))


# ---- Predictive coding on the digits


def coding_lines(size: Size, context: TaskContext) -> Iterator[Line]:
    """Trials and runs of the network, and its completions by steps of inference."""
    whole, held = _images(context)

    def step(updates: int) -> Any:
        used = coding.coding(TRAIN_STEPS)
        return apical.train_step(coding.loss_fn, used, adam(updates))

    def draw(key: jax.Array, images: Images) -> tuple[jax.Array, ...]:
        x = images.x[jax.random.randint(key, (BATCH,), 0, len(images.x))]
        return jnp.zeros((BATCH, coding.CAUSES)), x, jnp.ones_like(x)

    @cache
    def completing(steps: int, kind: str) -> Any:
        def right(params: Any, images: Images) -> jax.Array:
            seen = images.seen.astype(jnp.float32)
            x = images.tests * seen  # what is not seen is not given
            logits = coding.completed(params, x, seen, steps, kind)
            finite = jnp.all(jnp.isfinite(logits))
            return jnp.where(finite, _right(logits > 0, images), jnp.nan)

        return jax.jit(right)

    def measure(params: Any, images: Images) -> dict[str, Any]:
        score = completing(SCORE_STEPS, coding.PLAIN)(params, images)
        return {"score": score, "params": params}

    def finished(measured: Line) -> Line:
        parts = len(measured["score"])
        found = {"score": measured["score"]}
        if parts > 1:  # a run, not a trial
            params = jax.tree.map(lambda leaf: leaf[-1], measured["params"])
            for kind in coding.PER_STEP:
                for steps in size.steps:
                    right = completing(steps, kind)(params, whole)
                    found[f"{kind}, {steps}"] = np.full(parts, float(right))
        return found

    pixels = whole.x.shape[1]
    params = coding.initial(jax.random.key(0), pixels)
    timed = completing(size.steps[-1], coding.PLAIN)
    said = {"part": "digits", "data": "digits", "rule": CODING}
    yield from tuned_lines(
        lambda updates: Problem(
            lambda key: coding.initial(key, pixels),
            lambda: step(updates),
            draw,
            measure,
        ),
        Budget(size.updates, 5, size.seeds, _rates(CODING, size)),
        (whole, held),
        said | {"seconds": seconds(timed, params, whole)},
        finished=finished,
    )
