"""Do chained principal components learn what gradient descent learns?"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from scipy import stats

import apical
from apical import rules
from apical.claims._claim import Claim, Lines, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES, first_examples
from apical.claims._effect_size import LEAST_SEEDS, Effect, effect
from apical.claims._plots import draw_rows
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.unsupervised._training import (
    Budget,
    Problem,
    adam,
    descent,
    falling,
    last_scores,
    tuned_lines,
)
from apical.lab._registry import BASELINE, CONTROL
from apical.lab.data._load import Data, load
from apical.lab.report.figures._style import new_figure
from apical.lab.storage._jsonl import Line

SANGER, SUBSPACE, OJA = "sanger", "subspace", "oja"
RAW, WHITENED = "as they are", "whitened"
MARGIN = 0.5  # points
SHARE = 0.95  # of the gain of backpropagation
ERRORS = 3.0  # standard errors, above the control
BATCH, CLASSES, READOUT_RATE = 100, 10, 3e-3
RATES = {
    BASELINE: (1e-5, 0.1),
    CONTROL: (1e-4, 1.0),
    **dict.fromkeys((SANGER, SUBSPACE, OJA), (1e-5, 1.0)),
}


class Size(NamedTuple):
    """The size of the runs.

    Attributes:
        updates: of a run, by the name of its data.
        widths: of the two hidden layers.
        outputs: of hidden layers: as they are, whitened.
        trained: training examples; None: all.
        seeds: of the reported runs.
        trials: of each rule.
    """

    updates: dict[str, int]
    widths: tuple[tuple[int, int], ...]
    outputs: tuple[str, ...]
    trained: int | None
    seeds: int
    trials: int


SIZES: dict[Scale, Size] = {
    "full": Size(
        {"digits": 3000, "mnist": 3000},
        ((48, 32), (128, 128)),
        (RAW, WHITENED),
        10_000,
        8,
        16,
    ),
    "quick": Size({"digits": 600}, ((48, 32),), (WHITENED,), None, 2, 5),
    "smoke": Size({"digits": 10}, ((6, 5),), (WHITENED,), 200, 1, 2),
}


class Parts(NamedTuple):
    """Training images with labels, and the images and labels of the score."""

    x: jax.Array
    y: jax.Array
    tests: jax.Array
    labels: jax.Array


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule on each network, with both kinds of outputs."""
    size = SIZES[scale]
    for data, widths, outputs, rule in product(
        size.updates, size.widths, size.outputs, RATES
    ):
        name = f"{data}-{named(widths)}-{outputs}-{rule}".replace(" ", "-")
        yield Task(name, partial(_lines, size, data, widths, outputs, rule))


def named(widths: tuple[int, int]) -> str:
    """The widths of the hidden layers as text."""
    return "-".join(map(str, widths))


# ---- The network


def network(params: Any, x: jax.Array, whitened: bool) -> jax.Array:
    """The logits: two tanh layers without biases, and a read-out.

    Whitened, each hidden unit is centred and divided by its deviation over the batch.
    """
    for name in ("first", "second"):
        drive = x @ params[name]
        x = jnp.tanh(standardised(drive, drive) if whitened else drive)
    return x @ params["readout"]["w"] + params["readout"]["b"]


def standardised(drive: jax.Array, of: jax.Array) -> jax.Array:
    """A drive less the mean and divided by the deviation that units have in `of`."""
    return (drive - jnp.mean(of, axis=0)) / (jnp.std(of, axis=0) + 1e-3)


def accuracy(params: Any, parts: Parts, whitened: bool) -> jax.Array:
    """Of the test images, in percent; units are whitened over the training images."""
    x, seen = parts.tests, parts.x
    for name in ("first", "second"):
        x, seen = x @ params[name], seen @ params[name]
        if whitened:
            x, seen = standardised(x, seen), standardised(seen, seen)
        x, seen = jnp.tanh(x), jnp.tanh(seen)
    said = jnp.argmax(x @ params["readout"]["w"] + params["readout"]["b"], axis=-1)
    finite = jnp.all(jnp.isfinite(x))
    return jnp.where(finite, 100 * jnp.mean(said == parts.labels), jnp.nan)


def problem_of(
    rule: str, pixels: int, widths: tuple[int, int], outputs: str, updates: int
) -> Problem:
    """Training by a rule: hidden layers by the rule, the read-out by its gradient."""
    whitened = outputs == WHITENED

    def loss_fn(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = network(params, x, whitened)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def init(key: jax.Array) -> Any:
        shapes = pairwise((pixels, *widths, CLASSES))
        layers = [
            jax.random.normal(k, shape) / shape[0] ** 0.5
            for k, shape in zip(jax.random.split(key, 3), shapes, strict=True)
        ]
        out = {"w": layers[2], "b": jnp.zeros(CLASSES)}
        return {"first": layers[0], "second": layers[1], "readout": out}

    def step() -> Any:
        hidden = descent(updates)
        if rule == BASELINE:
            hidden = adam(updates)
        elif rule == CONTROL:
            hidden = optax.set_to_zero()
        out = adam(updates)
        if rule != CONTROL:  # the hidden layers have the step size that is tried
            out = optax.adam(falling(READOUT_RATE, updates))
        labels = {"first": "hidden", "second": "hidden", "readout": "readout"}
        both = optax.partition({"hidden": hidden, "readout": out}, labels)
        hebbian = rule not in (BASELINE, CONTROL)
        used = rules.Hebbian(rule) if hebbian else rules.Backpropagation()
        return apical.train_step(loss_fn, used, both)

    def draw(key: jax.Array, parts: Parts) -> tuple[jax.Array, jax.Array]:
        rows = jax.random.randint(key, (BATCH,), 0, len(parts.x))
        return parts.x[rows], parts.y[rows]

    def measure(params: Any, parts: Parts) -> dict[str, jax.Array]:
        return {"score": accuracy(params, parts, whitened)}

    return Problem(init, step, draw, measure)


# ---- Runs


def _lines(
    size: Size,
    name: str,
    widths: tuple[int, int],
    outputs: str,
    rule: str,
    context: TaskContext,
) -> Iterator[Line]:
    data = load(name, context.data_dir, context.download)
    whole, held = parts_of(first_examples(data, size.trained, None))
    pixels, seeds, updates = whole.x.shape[1], size.seeds, size.updates[name]
    rates = np.geomspace(*RATES[rule], size.trials).tolist()
    yield from tuned_lines(
        lambda updates: problem_of(rule, pixels, widths, outputs, updates),
        Budget(updates, min(5, updates), seeds, rates),
        (whole, held),
        {"data": name, "net": named(widths), "outputs": outputs, "rule": rule},
    )


def parts_of(data: Data) -> tuple[Parts, Parts]:
    """The training and test images; and a split of the training images.

    Images are centred, and all are divided by one number, so that the mean variance of
    a pixel is 1.
    """
    x, tests = (np.reshape(a, (len(a), -1)) for a in (data.train_x, data.test_x))
    mean = x.mean(axis=0)
    scale = np.sqrt(np.mean((x - mean) ** 2))
    x, tests = (jnp.asarray((a - mean) / scale, jnp.float32) for a in (x, tests))
    y, labels = (jnp.asarray(a, int) for a in (data.train_y, data.test_y))
    cut = len(x) * 4 // 5
    return Parts(x, y, tests, labels), Parts(x[:cut], y[:cut], x[cut:], y[cut:])


# ---- The verdict


def judge(lines: Lines) -> Verdict:
    """From the accuracies beside those of backpropagation and of random layers."""
    size = SIZES["full"]
    cells = [
        {"data": data, "net": named(widths), "outputs": outputs}
        for data, widths, outputs in product(size.updates, size.widths, size.outputs)
    ]
    findings = []
    for cell in cells:
        for rule in (SANGER, SUBSPACE):
            findings.append(Finding(gained(lines, cell, rule), "at least as high"))
            if cell["net"] == "48-32":
                above = above_control(lines, cell, rule)
                findings.append(Finding(above, "higher", inside=True))
        findings.append(Finding(gained(lines, cell, OJA)))
        findings.append(Finding(above_control(lines, cell, BASELINE)))
    return decide(findings)


def _in_short(cell: Line) -> str:
    return f"{DATA_NAMES[cell['data']]}, {cell['net']}, outputs {cell['outputs']}"


def gained(lines: Lines, cell: Line, rule: str) -> Effect:
    """The accuracy less that of random layers and 95 % of what backprop adds to it."""
    names = (rule, BASELINE, CONTROL)
    mine, backprop, control = (last_scores(lines, 0.0, **cell, rule=n) for n in names)
    needed = {
        seed: control[seed] + SHARE * (backprop[seed] - control[seed])
        for seed in backprop
        if seed in control
    }
    what = f"{_in_short(cell)}: {rule} - {100 * SHARE:g} % of backprop's gain"
    runs = ({**cell, "rule": rule}, {**cell, "rule": BASELINE})
    return effect(what, mine, needed, MARGIN, compared=2, runs=runs)


def above_control(lines: Lines, cell: Line, rule: str) -> Effect:
    """The accuracy less that of random layers, within three standard errors."""
    mine, control = (last_scores(lines, 0.0, **cell, rule=r) for r in (rule, CONTROL))
    what = f"{_in_short(cell)}: {rule} - random layers"
    found = effect(what, mine, control, margin=0.0)
    apart = [mine[seed] - control[seed] for seed in mine if seed in control]
    if len(apart) < 2:
        return found
    half = ERRORS * float(stats.sem(apart))
    return found._replace(low=found.mean - half, high=found.mean + half)


def draw(lines: Lines) -> Figure:
    """The accuracies, a panel for each network."""
    cells = list(dict.fromkeys((ln["data"], ln["net"], ln["outputs"]) for ln in lines))
    rows = max(1, -(-len(cells) // 2))
    figure = new_figure(1.7 * rows + 0.3, layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    for axes in grid.flat[max(1, len(cells)) :]:
        axes.set_axis_off()
    for axes, cell in zip(grid.flat, cells or [None], strict=False):
        fields = ("data", "net", "outputs")
        here: Line = dict(zip(fields, cell or (None,) * 3, strict=True))
        draw_rows(axes, {rule: last_scores(lines, **here, rule=rule) for rule in RATES})
        if cell:
            axes.set_title(f"{_in_short(here)}: accuracy (%)", fontsize=8)
    return figure


CLAIM = Claim(
    id="pca-chain",
    sentence=(
        "Hebbian learning is principal component analysis; a chain of such layers "
        "learns what gradient descent learns."
    ),
    source=(
        "asked on LessWrong; that one layer finds principal components: Oja 1982, "
        "Journal of Mathematical Biology, and Sanger 1989, Neural Networks"
    ),
    work=(
        "8 x 8 digits and the first 10,000 pictures of MNIST, centred; two tanh layers "
        "without biases of 48 and 32 or of 128 and 128 units, and a read-out. Hidden "
        "layers by Sanger's rule and by the subspace rule (plain steps), by "
        "backpropagation (Adam), or random; Oja's rule, by which every unit finds the "
        "first component, is shown. Units as they are, and whitened: centred and "
        "divided by their deviation over the batch. The read-out descends the "
        "cross-entropy by Adam at 0.003. 3,000 updates in batches of 100, step sizes "
        "that fall to 0, 16 of which are tried for the hidden layers of each rule (of "
        "random layers: for the read-out) for half as many updates, scored on the last "
        "fifth of the training pictures; 8 seeds, the same initial weights and batches "
        "for all rules."
    ),
    published=(),
    differences=(
        "The source has no experiment. The read-out sees labels; the hidden layers of "
        "the chain never do."
    ),
    rule=(
        "Accuracies after the last update, paired by seed; a seed that diverged counts "
        "as 0 %. Holds if on both data sets, at both widths, whitened and not, "
        "Sanger's rule and the subspace rule both are at least as high as random "
        f"layers and {100 * SHARE:g} % of what backpropagation adds to these "
        f"(m = {MARGIN:g} points, intervals corrected for the two rules). Holds within "
        "limits (of narrow layers, and of learning something) if at 48-32 both are "
        f"above random layers by more than {ERRORS:g} standard errors, on both data "
        "sets, whitened and not. Does not hold if one of these is against the claim "
        "and the limits do not hold either. Otherwise, or with fewer than "
        f"{LEAST_SEEDS} seeds, not settled. What Oja's rule reaches, and what "
        "backpropagation adds to random layers, are shown only: where that is nothing, "
        "the network does not need what hidden layers learn."
    ),
    trials=16,
    hours=1.0,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("digits", "mnist"),
)
