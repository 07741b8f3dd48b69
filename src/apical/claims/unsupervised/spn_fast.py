"""Do sum-product networks make the slow step of inference fast?"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Scale, Task
from apical.claims._effect_size import LEAST_SEEDS, effect, lines_where
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.unsupervised import _generative_coding as coding
from apical.claims.unsupervised._completions import (
    APART,
    CODING,
    SUM_PRODUCT,
    Size,
    coding_lines,
    exact_lines,
    sum_product_lines,
)
from apical.claims.unsupervised._rows import Rows, rows_figure
from apical.claims.unsupervised._training import last_scores
from apical.lab.storage._jsonl import Line

EXACT = 1e-9  # of a probability, in double precision
SEEN = 0.01  # what evidence must at least change in a marginal
MARGINS = {"points": 0.5, "octaves": 1.0, "nats": 0.5}
SIZES: dict[Scale, Size] = {
    "full": Size(2000, 6, 16, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), 8),
    "quick": Size(300, 2, 4, (2, 8, 32), 8),
    "smoke": Size(5, 1, 2, (1, 2), 4),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """The exact sums, and each network on the digits."""
    size = SIZES[scale]
    yield Task("exact", partial(exact_lines, size))
    yield Task("sum-product", partial(sum_product_lines, size))
    yield Task("predictive-coding", partial(coding_lines, size))


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
    told += _time_in_words(lines)
    if not moved > SEEN:
        told = f"the evidence moved no marginal: {told}"
        return verdict._replace(word="not settled", because=told)
    if not (error < EXACT and off < EXACT):
        return verdict._replace(word="does not hold", because=told)
    return verdict._replace(because=told)


def _time_in_words(lines: Lines) -> str:
    """How long the completions of all test images took, at whatever load there was."""
    found = last_lines(lines)
    took = {
        name: float(np.median([line["seconds"] for line in found[name].values()]))
        for name in found
        if found[name]
    }
    if len(took) < len(found):
        return ""
    most = max(max(c) for c in _courses(next(iter(found[CODING].values()))).values())
    return (
        f"; all test images took {took[SUM_PRODUCT]:.2g} s, and {took[CODING]:.2g} s "
        f"with {most} steps of predictive coding"
    )


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
