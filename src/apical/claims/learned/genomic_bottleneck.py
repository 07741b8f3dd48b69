"""Can a small genome write weights that need little or no lifetime learning?"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES, data_names, vector_loader
from apical.claims._effect_size import Effect, effect, lines_where
from apical.claims._plots import draw_line, log_x_axis, panel_figure, rules_in
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide, finding_in_words
from apical.claims.learned._genome_training import (
    DIRECT,
    INNATE,
    LIFETIME,
    PARTS,
    Course,
    Images,
    training_plan,
)
from apical.claims.learned._genomes import (
    accuracies_of_a_life,
    count,
    grow,
    new_genome,
    new_weights,
    tags_of,
)
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

RANDOM_GENOME, RANDOM = "random genome", "random weights"
NAMES = (INNATE, LIFETIME, DIRECT, RANDOM_GENOME, RANDOM)
JUDGED, LITTLE = 8, 20  # hidden units of g; steps of a life
MARGIN, STILL = 5.0, 1.0


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        data: the data set.
        trained: training images.
        held_out: more of them, which score what is tried.
        tested: test images.
        width: of the hidden layer that is written.
        hidden: units of g, each a genome.
        in_loop: those of them that are also trained with a lifetime in the loop.
        loop: steps of that lifetime.
        steps: of lives after which accuracies are measured; the first is birth.
        updates: of a genome.
        rates: of Adam on a genome that are tried, on this share of the updates.
        seeds: of genomes and batches.
        lifetime_rates: of gradient descent in a life that are tried.
    """

    data: str
    trained: int
    held_out: int
    tested: int
    width: int
    hidden: tuple[int, ...]
    in_loop: tuple[int, ...]
    loop: int
    steps: tuple[int, ...]
    updates: int
    rates: tuple[float, ...]
    seeds: int
    lifetime_rates: tuple[float, ...]


_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
_LIFETIME = tuple(float(f"{rate:.2g}") for rate in np.geomspace(0.003, 3.0, 8))
SIZES: dict[Scale, Size] = {
    "full": Size(
        *("mnist", 10_000, 2000, 5000, 100, (2, 4, 8, 16, 32), (4, 8, 16)),
        *(5, (0, 5, 20, 100), 5000, _RATES, 5, _LIFETIME),
    ),
    "quick": Size(
        *("digits", 1000, 400, 360, 20, (8,), (8,)),
        *(3, (0, 5, 20), 200, (0.01,), 5, (0.03, 0.1, 0.3)),
    ),
    "smoke": Size(
        *("digits", 64, 20, 20, 4, (2,), (2,), 1, (0, 2), 10, (0.01,), 1, (0.1,))
    ),
}
_SHORTER = 0.4


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each genome and way to train it, and one for the controls."""
    size = SIZES[scale]
    for name, hidden in (
        *product((INNATE,), size.hidden),
        *product((LIFETIME,), size.in_loop),
        (DIRECT, 0),
    ):
        task = {INNATE: "innate", LIFETIME: "lifetime", DIRECT: "direct"}[name]
        yield Task(f"{task}-{hidden}", partial(_trained, size, name, hidden))
    yield Task("random", partial(_random, size))


def _images(size: Size, context: TaskContext) -> Images:
    whole = size.trained + size.held_out
    data = vector_loader(size.data, whole, size.tested)(context)
    cut = slice(size.trained), slice(size.trained, None)
    x, y = jnp.asarray(data.train_x), jnp.asarray(data.train_y)
    train, held_out = ((x[part], y[part]) for part in cut)
    return Images(train, held_out, (jnp.asarray(data.test_x), jnp.asarray(data.test_y)))


def _trained(
    size: Size, name: str, hidden: int, context: TaskContext
) -> Iterator[Line]:
    """The best rate on a seed that is not shown, then every seed with it."""
    images = _images(size, context)
    plan = training_plan(name, (images.test[0].shape[1], size.width, 10), hidden)
    loops = size.loop if name == LIFETIME else 0
    course = Course(plan, loops + 1)
    run = jax.jit(course.run, static_argnums=3)
    score, early = (_scorer(size, images, upto) for upto in (None, 2))
    shorter = PARTS * max(1, int(_SHORTER * size.updates / PARTS))
    scores = []
    for rate in size.rates if len(size.rates) > 1 else ():
        genes = run(images, jax.random.key(SEEDS[0]), jnp.asarray(rate), shorter)
        last = jax.tree.map(lambda leaf: leaf[-1], genes)
        found = early(plan.weights(last), SEEDS[0])
        scores.append(found[1 if loops else 0, :, 0].max())
    best = int(np.argmax(scores)) if scores else 0
    common = {"rule": name, "data": size.data, "hidden": hidden}
    for seed in range(size.seeds):
        genes = run(
            images, jax.random.key(seed), jnp.asarray(size.rates[best]), size.updates
        )
        last = jax.tree.map(lambda leaf: leaf[-1], genes)
        weights = plan.weights(last)
        shared = common | {"seed": seed, "learning_rate": size.rates[best]}
        shared |= {"numbers": count(last), "weights": count(weights)}
        shared["at_an_end"] = bool(scores) and best in (0, len(scores) - 1)
        for i in range(PARTS - 1):
            then = plan.weights(jax.tree.map(lambda leaf, i=i: leaf[i], genes))
            yield from _lines(shared, size, early(then, seed), (i + 1) / PARTS)
        yield from _lines(shared, size, score(weights, seed), 1.0)
    for i, found in enumerate(scores):
        yield common | {
            **{"trial": i, "learning_rate": size.rates[i], "numbers": "{}"},
            **{"held_out_accuracy": float(found), "chosen": i == best},
        }


def _random(size: Size, context: TaskContext) -> Iterator[Line]:
    """Lives of networks with random weights, and of random genomes."""
    images = _images(size, context)
    sizes = (images.test[0].shape[1], size.width, 10)
    score = _scorer(size, images)
    for seed, hidden in product(range(size.seeds), (0, *size.hidden)):
        key = jax.random.key(seed)
        genome = new_genome(key, sizes, hidden) if hidden else None
        weights = grow(genome, tags_of(sizes)) if genome else new_weights(key, sizes)
        shared = {"rule": RANDOM_GENOME if hidden else RANDOM, "data": size.data}
        shared |= {"hidden": hidden, "seed": seed, "weights": count(weights)}
        shared |= {"numbers": count(genome) if genome else 0, "at_an_end": False}
        yield from _lines(shared, size, score(weights, seed), 1.0)


def _scorer(size: Size, images: Images, upto: int | None = None) -> Any:
    """Accuracies `(steps, rates, (held out, test))` of a life, compiled."""
    steps = size.steps[:upto]
    rates, tests = jnp.asarray(size.lifetime_rates), (images.held_out, images.test)

    @jax.jit
    def scored(weights: Any, seed: Any, train: Any, tests: Any) -> Any:
        key = jax.random.key(seed)
        return accuracies_of_a_life(weights, key, rates, steps, train, tests)

    return lambda weights, seed: np.asarray(scored(weights, seed, images.train, tests))


def _lines(shared: Line, size: Size, found: np.ndarray, share: float) -> Iterator[Line]:
    """After each number of steps the test accuracy, at the best rate held out."""
    for i, steps in enumerate(size.steps[: len(found)]):
        best = int(np.argmax(found[i, :, 0]))
        yield shared | {
            **{"share": share, "steps": steps},
            "accuracy": 100 * float(found[i, best, 1]),
            "lifetime_rate": size.lifetime_rates[best] if steps else 0.0,
        }


# ---- The verdict


def accuracies(
    lines: Lines, name: str, hidden: int, steps: int, share: float = 1.0
) -> dict[int, float]:
    """The test accuracy in percent after some steps of a life, by seed."""
    where = {"rule": name, "hidden": hidden, "steps": steps, "share": share}
    return {line["seed"]: line["accuracy"] for line in lines_where(lines, **where)}


def judge(lines: Lines) -> Verdict:
    """From accuracies at birth and after little learning, at one size of the genome."""

    def of(name: str, steps: int) -> dict[int, float]:
        hidden = JUDGED if name == INNATE else 0
        return accuracies(lines, name, hidden, steps)

    def against(steps: int, name: str, later: int) -> Effect:
        said = {DIRECT: DIRECT, RANDOM: f"{RANDOM} after {LITTLE} steps"}[name]
        when = f"after {steps} steps" if steps else "at birth"
        mine, other = of(INNATE, steps), of(name, later)
        return effect(f"genome, {when} - {said}", mine, other, MARGIN, compared=4)

    findings = [
        Finding(against(0, DIRECT, 0), "at least as high", False, "percent"),
        Finding(against(0, RANDOM, LITTLE), "higher", False, "percent"),
        Finding(against(LITTLE, DIRECT, 0), "at least as high", True, "percent"),
        Finding(against(LITTLE, RANDOM, LITTLE), "higher", True, "percent"),
    ]
    baldwin = list(_with_lifetimes(lines))
    verdict = decide([*findings, *baldwin])
    because = "; ".join([verdict.because, *map(finding_in_words, baldwin)])
    return verdict._replace(because=because).with_refusals(
        list(_refusals(lines, verdict.word))
    )


def _with_lifetimes(lines: Lines) -> Iterator[Finding]:
    """What a lifetime in the loop changes, early and at the end."""
    loop = SIZES["full"].loop
    for share, steps in product((0.2, 1.0), (0, loop)):
        mine, other = (
            accuracies(lines, name, JUDGED, steps, share) for name in (LIFETIME, INNATE)
        )
        when = f"after {steps} steps" if steps else "at birth"
        what = f"learning in the loop, {when}, at {share:.0%} of the updates"
        yield Finding(effect(what, mine, other, MARGIN, 4), unit="percent")


def _refusals(lines: Lines, word: str) -> Iterator[str]:
    for name, hidden in ((INNATE, JUDGED), (DIRECT, 0)):
        here = lines_where(lines, rule=name, hidden=hidden)
        if any(line["at_an_end"] for line in here):
            yield f"the best rate of Adam of {name} is an end of those tried"
    # A genome that still improves speaks for the claim, if it holds.
    for name, hidden in (
        (DIRECT, 0),
        *(((INNATE, JUDGED),) if word != "holds" else ()),
    ):
        late, end = (accuracies(lines, name, hidden, 0, s) for s in (0.8, 1.0))
        risen = [end[seed] - late[seed] for seed in end if seed in late]
        if risen and np.mean(risen) > STILL:
            yield (
                f"undertrained ({name}): the accuracy rises by {np.mean(risen):.2f} "
                f"percent over the last fifth of training, more than {STILL:g}"
            )


def _compressions(lines: Lines) -> dict[int, float]:
    """The weights for each number of the genome, by the hidden units of g."""
    return {
        line["hidden"]: line["weights"] / line["numbers"]
        for line in lines_where(lines, rule=INNATE)
    }


def _measured(lines: Lines) -> str:
    told = []
    for hidden, ratio in sorted(_compressions(lines).items()):
        found = accuracies(lines, INNATE, hidden, 0)
        if found:
            told.append(f"{np.mean(list(found.values())):.1f} % at {ratio:.0f}x")
    return ", ".join(told) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """Accuracy at birth and after learning against the size of the genome."""
    steps = sorted({line["steps"] for line in lines}) or [0]
    shown = [0, *steps[1:][-2:]]
    ran = rules_in(lines)
    figure, axes, look = panel_figure(len(shown) + 1, NAMES, ran, sharey=True)
    for panel, after in zip(axes, shown, strict=False):
        for name in (INNATE, LIFETIME, RANDOM_GENOME):
            points: dict[float, list[float]] = {}
            for line in lines_where(lines, rule=name, steps=after, share=1.0):
                points.setdefault(line["numbers"], []).append(line["accuracy"])
            draw_line(panel, points, look[name])
        for name, when in ((DIRECT, 0), (RANDOM, after)):
            level = list(accuracies(lines, name, 0, when).values())
            if level:
                style = {"color": look[name].colour, "linestyle": look[name].dashes}
                panel.axhline(float(np.mean(level)), lw=1.0, **style)
        title = f"after {after} steps" if after else "at birth"
        panel.set(title=title, xlabel="numbers of the genome")
        log_x_axis(panel, (x["numbers"] for x in lines_where(lines, rule=INNATE)))
    hidden = (
        JUDGED
        if lines_where(lines, hidden=JUDGED)
        else min((line["hidden"] for line in lines if line["hidden"]), default=JUDGED)
    )
    for name in (INNATE, LIFETIME):
        points = {}
        for line in lines_where(lines, rule=name, hidden=hidden, steps=0):
            points.setdefault(line["share"], []).append(line["accuracy"])
        draw_line(axes[-1], points, look[name])
    axes[-1].set(title="at birth, in training", xlabel="share of the updates")
    axes[0].set_ylabel(f"{data_names(lines)}: accuracy (%)")
    return figure


CLAIM = Claim(
    id="genomic-bottleneck",
    sentence=(
        "The genome can write the connectome, so that little or no lifetime learning "
        "is needed."
    ),
    source=(
        "Shuvaev, Lachi, Koulakov & Zador 2024, Encoding innate ability through a "
        "genomic bottleneck, PNAS 121; Zador 2019, Nature Communications 10"
    ),
    work=(
        f"{DATA_NAMES['mnist']}, 10,000 training images; a network 784-100-10 without "
        "biases, whose 79,400 weights are written by two networks g with 2 to 32 units "
        "in each of two layers (about 80 to 3,100 numbers) from the binary places of "
        "the two units. The genome descends the loss at birth, by the gradient through "
        "growth: 5,000 updates of Adam on 64 images. Or, for three sizes, the loss "
        "after a life of 5 steps of gradient descent, with a rate of its own. Beside "
        "them direct weights with as many updates, random weights and random genomes. "
        "Rates of Adam: the best of 5, on 2,000 held-out images and a seed that is not "
        "shown. Then every network lives 100 steps at the best of 8 rates, by the same "
        "held-out images; 5,000 test images, 5 seeds."
    ),
    published=(
        Published(
            "MNIST, genome by loss at birth, network 784-800-10",
            "94 % at 322x, 79 % at 1038x",
            "from memory: Shuvaev et al. 2024",
            _measured,
        ),
    ),
    differences=(
        "A network an eighth as large, which can be compressed less; one gradient "
        "through growth in place of alternating loops of learning and fitting the "
        "genome to what was learned; a sixth of the images."
    ),
    rule=(
        f"Test accuracies in percent, of the genome with {JUDGED} units in each layer "
        "of g (about 200 weights for each of its numbers); by seed, 95 % intervals "
        f"corrected for four comparisons, m = {MARGIN:g}. Holds if (a) at birth it is "
        "at least as high as direct weights after training and higher than random "
        f"weights after {LITTLE} steps, and (b) after {LITTLE} steps as well. Holds "
        "within limits if (b). Does not hold if one of these is against the claim and "
        "the limits do not hold either. Otherwise not settled. Refused if the best "
        "rate of the genome or of direct weights is an end of those tried, or if "
        f"direct weights (or, unless it holds, the genome) rise by more than {STILL:g} "
        "percent over the last fifth of training. Other sizes, and "
        "what a lifetime in the loop changes (early and at the end, at birth and after "
        "5 steps), are shown only."
    ),
    margin=(
        "5 percent: the published genome at 322x is about 4 below its direct weights."
    ),
    data=("mnist",),
    trials=5,
    hours=0.7,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
