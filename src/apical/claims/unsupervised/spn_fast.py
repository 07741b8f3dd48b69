"""Do sum-product networks make the slow step of inference fast?"""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import apical
from apical import rules
from apical.claims._claim import Claim, Lines, Scale, Task, TaskContext
from apical.claims._effect_size import LEAST_SEEDS, effect, lines_where
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.unsupervised import _generative_coding as coding
from apical.claims.unsupervised import _sum_product_network as spn
from apical.claims.unsupervised._brightness import brightness
from apical.claims.unsupervised._rows import Rows, rows_figure
from apical.claims.unsupervised._training import (
    Budget,
    Problem,
    adam,
    last_scores,
    tuned_lines,
)
from apical.lab.storage._jsonl import Line

SUM_PRODUCT, CODING, APART = "sum-product", "predictive coding", "independent pixels"
EXACT = 1e-9  # of a probability, in double precision
SEEN = 0.01  # what evidence must at least change in a marginal
MARGINS = {"points": 0.5, "octaves": 1.0, "nats": 0.5}
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


SIZES: dict[Scale, Size] = {
    "full": Size(2000, 6, 16, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), 8),
    "quick": Size(300, 2, 4, (2, 8, 32), 8),
    "smoke": Size(5, 1, 2, (1, 2), 4),
}


class Images(NamedTuple):
    """Images to learn from, those of the score, and what is seen of these."""

    x: jax.Array
    tests: jax.Array
    seen: jax.Array


def tasks(scale: Scale) -> Iterator[Task]:
    """The exact sums, and each network on the digits."""
    size = SIZES[scale]
    yield Task("exact", partial(_exact_lines, size))
    yield Task("sum-product", partial(_sum_product_lines, size))
    yield Task("predictive-coding", partial(_coding_lines, size))


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


def _exact_lines(size: Size, context: TaskContext) -> Iterator[Line]:
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


def _sum_product_lines(size: Size, context: TaskContext) -> Iterator[Line]:
    whole, held = _images(context)

    def step(rate: Any, updates: int) -> Any:
        used = rules.Backpropagation()
        return apical.train_step(spn.loss_fn, used, adam(rate, updates))

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
            lambda rate: step(rate, updates),
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


def _coding_lines(size: Size, context: TaskContext) -> Iterator[Line]:
    whole, held = _images(context)

    def step(rate: Any, updates: int) -> Any:
        used = coding.coding(TRAIN_STEPS)
        return apical.train_step(coding.loss_fn, used, adam(rate, updates))

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
            lambda rate: step(rate, updates),
            draw,
            measure,
        ),
        Budget(size.updates, 5, size.seeds, _rates(CODING, size)),
        (whole, held),
        said | {"seconds": seconds(timed, params, whole)},
        finished=finished,
    )


# ---- The verdict


def judge(lines: Lines) -> Verdict:
    """From exact marginals, completions and the layers that they take in sequence."""
    found = last_lines(lines)
    slow = {s: np.log2(layers) for s, layers in needed_layers(lines).items()}
    fast = {
        s: np.log2(line["layers"])
        for s, line in found[SUM_PRODUCT].items()
        if s in slow
    }
    mine = {s: line["right"] for s, line in found[SUM_PRODUCT].items()}
    other = {s: settled(line) for s, line in found[CODING].items()}
    nats = last_scores(lines, part="digits", rule=SUM_PRODUCT)
    apart = lines_where(lines, part="digits", rule=APART)
    apart = {seed: line["score"] for line in apart for seed in nats}
    runs = ({"part": "digits", "rule": SUM_PRODUCT}, {"part": "digits", "rule": CODING})
    verdict = decide(
        [
            Finding(
                effect(
                    "layers in sequence to equal completions: predictive coding - "
                    "sum-product",
                    slow,
                    fast,
                    MARGINS["octaves"],
                ),
                "higher",
                inside=True,
                unit="octaves",
            ),
            Finding(
                effect(
                    "completions: sum-product - predictive coding, settled",
                    mine,
                    other,
                    MARGINS["points"],
                    runs=runs,
                ),
                "at least as high",
            ),
            Finding(
                effect(
                    "log-likelihood: sum-product - independent pixels",
                    nats,
                    apart,
                    MARGINS["nats"],
                ),
                "higher",
                inside=True,
                unit="nats",
            ),
        ]
    )
    return _if_exact(lines, verdict)


def _if_exact(lines: Lines, verdict: Verdict) -> Verdict:
    exact = lines_where(lines, part="exact")
    if len(exact) < LEAST_SEEDS:
        told = f"fewer than {LEAST_SEEDS} seeds of exact sums. {verdict.because}"
        return verdict._replace(word="not settled", because=told)
    error = max(line["error"] for line in exact)
    off = max(abs(line["total"] - 1) for line in exact)
    moved = min(line["moved"] for line in exact)
    told = f"marginals within {error:.0e} of a sum over all images; {verdict.because}"
    if not moved > SEEN:
        told = f"the evidence moved no marginal: {told}"
        return verdict._replace(word="not settled", because=told)
    if not (error < EXACT and off < EXACT):
        return verdict._replace(word="does not hold", because=told)
    return verdict._replace(because=told)


def last_lines(lines: Lines) -> dict[str, dict[int, Line]]:
    """The last line of each seed that did not diverge, by network."""
    return {
        name: {
            line["seed"]: line
            for line in lines_where(lines, part="digits", rule=name, status="ok")
            if line["epoch"] == line["epochs"]
        }
        for name in (SUM_PRODUCT, CODING)
    }


def _courses(line: Line) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {kind: {} for kind in coding.PER_STEP}
    for name, value in line.items():
        kind, _, steps = name.partition(", ")
        if kind in found:
            found[kind][int(steps)] = -np.inf if value is None else value
    return found


def settled(line: Line) -> float:
    """The completions of predictive coding after the most steps, of the better kind."""
    return max(course[max(course)] for course in _courses(line).values())


def needed_layers(lines: Lines) -> dict[int, float]:
    """The weighted layers in sequence to the completions that both networks reach.

    By seed: the fewest steps of inference, of either kind, after which predictive
    coding is within the margin of the lower of the two; times its layers per step, and
    those of the prediction after it.
    """
    found, needed = last_lines(lines), {}
    for seed, line in found[CODING].items():
        if seed not in found[SUM_PRODUCT]:
            continue
        reached = min(settled(line), found[SUM_PRODUCT][seed]["right"])
        needed[seed] = min(
            coding.PER_STEP[kind] * steps + coding.LAYERS
            for kind, course in _courses(line).items()
            for steps, right in course.items()
            if right >= reached - MARGINS["points"]
        )
    return needed


def draw(lines: Lines) -> Figure:
    """Completions and layers of both networks, and the likelihood."""
    found = last_lines(lines)
    apart = lines_where(lines, part="digits", rule=APART)
    right = {
        SUM_PRODUCT: [line["right"] for line in found[SUM_PRODUCT].values()],
        APART: [line["right"] for line in apart],
    }
    coded = list(found[CODING].values())
    for kind in coding.PER_STEP:
        for steps in _courses(coded[0])[kind] if coded else ():
            name = f"{steps} {kind}"
            right[name] = [line[f"{kind}, {steps}"] for line in coded]
    nats = last_scores(lines, part="digits", rule=SUM_PRODUCT)
    layers = {
        SUM_PRODUCT: [line["layers"] for line in found[SUM_PRODUCT].values()],
        CODING: list(needed_layers(lines).values()),
    }
    scores = {SUM_PRODUCT: list(nats.values()), APART: [x["score"] for x in apart]}
    return rows_figure(
        [
            Rows("pixels that are not seen: right (%)", right, log=False),
            Rows("weighted layers in sequence to equal completions", layers),
            Rows("log-likelihood of test images (nats)", scores, log=False),
        ]
    )


CLAIM = Claim(
    id="spn-fast",
    sentence=(
        "Inference is the slow step of predictive coding; a sum-product network makes "
        "it fast."
    ),
    source=(
        "asked on LessWrong; that one pass back gives all marginals: Darwiche 2003, "
        "Journal of the ACM 50:280, and Poon & Domingos 2011, UAI"
    ),
    work=(
        "Small networks of 8 pixels: marginals by one backward pass against a sum over "
        "all images, in double precision. 8 x 8 digits as binary pixels, half of "
        "which, drawn at random for each test image, are not seen and are to be "
        "completed: a sum-product network (8 random orders of the pixels, 5 mixtures "
        "per region, backpropagation), and a generative network of 16 causes and 64 "
        "tanh units, trained by predictive coding with free causes (20 steps) and "
        "completed by 1 to 512 steps, of values (adaptive rate) and of errors. Adam, "
        "batches of 64, 2,000 updates, 16 step sizes each, tried for half as many "
        "updates and scored on the last fifth of the training images (by likelihood; "
        "by completions after 64 steps); 6 seeds. Counted: weighted layers that wait "
        "for one another, forward and back (2 for a step of values, 4 for one of "
        "errors). Time is recorded, and decides nothing."
    ),
    published=(),
    differences=(
        "The source has no experiment. The two networks differ in more than their "
        "inference, and each is trained by its own objective."
    ),
    rule=(
        f"Holds if for every seed the marginals are within {EXACT:g} of the sums; if "
        "predictive coding takes more weighted layers in sequence (by more than m = "
        f"{MARGINS['octaves']:g} octave) to completions within "
        f"{MARGINS['points']:g} points of what both reach, with the faster of its two "
        "kinds of steps; if the sum-product network completes at least as well as "
        f"predictive coding after the most steps (m = {MARGINS['points']:g} points); "
        "and if it gives test images a higher likelihood than independent pixels "
        f"(m = {MARGINS['nats']:g} nat). Holds within limits (of speed) if all but "
        "the completions are so. Does not hold if the marginals are others, or one of "
        "these is against the claim and the limits do not hold either. Otherwise, or "
        f"with fewer than {LEAST_SEEDS} seeds, not settled; nor is it if the evidence "
        f"moves no marginal by more than {SEEN:g}."
    ),
    margin=(
        "An octave of depth is less than one doubling of the steps that are tried; 0.5 "
        "nat is a tenth of what an example gained over independent pixels."
    ),
    trials=16,
    hours=0.6,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("digits",),
)
