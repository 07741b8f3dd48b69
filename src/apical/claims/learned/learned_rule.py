"""Does a learning rule that was found by gradient beat gradient descent?"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES
from apical.claims._effect_size import effect, lines_where
from apical.claims._plots import draw_rows, panel_figure
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.learned._lives import (
    Form,
    Images,
    Lived,
    class_split,
    images_by_class,
    lives,
)
from apical.claims.learned._ways_to_learn import (
    Way,
    by_optimizer,
    by_rule,
    meta_learned,
)
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS

SGD, ADAM, CONTROL = "SGD", "Adam", "SGD, read-out alone"
LOCAL, EXACT = "rule, random feedback", "rule, backprop's signal"
WAYS: dict[str, Way] = {
    SGD: by_optimizer(optax.identity(), 0.1),
    ADAM: by_optimizer(optax.scale_by_adam(), 0.01),
    CONTROL: by_optimizer(optax.identity(), 0.1, trained="layer_3"),
    LOCAL: by_rule(rules.FeedbackAlignment(), 0.1),
    EXACT: by_rule(rules.Backpropagation(), 0.1),
}
FOUND, OPPONENTS = (LOCAL, EXACT), (SGD, ADAM)
SAME, NEW = "classes of meta-learning", "new classes"
PLACES = {"digits": NEW, "fashion-mnist": "another data set"}
MARGIN = 0.5
STILL = 0.02  # nats


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        ways: that are meta-learned.
        data: the data sets; rules are found on the first.
        seeds: of meta-learning.
        rates: of meta-learning, which are tried; as many as seeds, so that one compiled
            function does both.
        updates: of the numbers of a way.
        tasks: lives for each update.
        tested: lives that test a way, in each place.
        form: of a life.
    """

    ways: tuple[str, ...]
    data: tuple[str, ...]
    seeds: int
    rates: tuple[float, ...]
    updates: int
    tasks: int
    tested: int
    form: Form


_RATES = (0.001, 0.004, 0.016, 0.064, 0.256)
SIZES: dict[Scale, Size] = {
    "full": Size(tuple(WAYS), tuple(PLACES), 5, _RATES, 800, 8, 400, Form()),
    "quick": Size((SGD, EXACT), ("digits",), 5, _RATES, 60, 4, 100, Form(10)),
    "smoke": Size(
        (SGD, LOCAL), ("digits",), 1, (0.01,), 2, 2, 4, Form(2, 4, (4, 4), 5, 10)
    ),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each way."""
    for way in SIZES[scale].ways:
        yield Task(way, partial(_measured, SIZES[scale], way))


class Places(NamedTuple):
    """Where a way is tested: images and classes of each place, stacked."""

    images: Images
    among: Array


class Found(NamedTuple):
    """Numbers of a way, the losses on the way to them, and lives in each place."""

    numbers: Any
    course: Array
    lived: Lived


def _measured(size: Size, name: str, context: TaskContext) -> Iterator[Line]:
    """Each rate of meta-learning on a seed that is not shown, then the best on all."""
    way = WAYS[name]
    sets = [images_by_class(each, context) for each in size.data]
    run = jax.jit(jax.vmap(partial(found, way, size, sets[0])))

    def ran(seeds: list[int], rates: list[float]) -> Found:
        splits = [class_split(seed) for seed in seeds]
        places = [_places(sets, *split) for split in splits]
        return jax.device_get(
            run(
                jnp.stack([jax.random.key(seed) for seed in seeds]),
                jnp.asarray(rates),
                jax.tree.map(lambda *leaves: jnp.stack(leaves), *places),
            )
        )

    count = len(size.rates)
    tried = ran([SEEDS[0]] * count, list(size.rates))
    scores = tried.lived.accuracy[:, 0].mean(-1)
    best = int(np.argmax(scores))
    rate = size.rates[best]
    made = ran(list(range(size.seeds)), [rate] * size.seeds)
    fifth = max(1, size.updates // 5)
    for seed in range(size.seeds):
        numbers = jax.tree.map(lambda leaf, i=seed: jnp.asarray(leaf[i]), made.numbers)
        course = made.course[seed]
        where = [(size.data[0], SAME), *((each, PLACES[each]) for each in size.data)]
        for i, (data, place) in enumerate(where):
            lived = jax.tree.map(lambda leaf, at=(seed, i): leaf[at], made.lived)
            yield {
                **{"rule": name, "data": data, "place": place, "seed": seed},
                **{"meta_rate": rate, "tried": list(size.rates)},
                "accuracy": 100 * float(lived.accuracy.mean()),
                "loss": float(lived.loss.mean()),
                "lives": size.tested,
                "falls": float(course[-2 * fifth : -fifth].mean())
                - float(course[-fifth:].mean()),
                "found": way.shown(numbers, size.form),
            }
    for i, score in enumerate(scores):
        yield {
            **{"rule": name, "trial": i, "learning_rate": size.rates[i]},
            **{"numbers": "{}", "accuracy": 100 * float(score), "chosen": i == best},
        }


def _places(sets: list[Images], known: Array, new: Array) -> Places:
    """The classes of meta-learning, new ones, and those of other data sets."""
    images = [sets[0], *sets]
    among = [known, *(new for _ in sets)]
    return Places(jax.tree.map(lambda *x: jnp.stack(x), *images), jnp.stack(among))


def found(
    way: Way, size: Size, images: Images, key: Array, rate: Array, places: Places
) -> Found:
    """Meta-learn a way on the classes of the first place, and test it in all.

    Args:
        way: to learn.
        size: of the run.
        images: of meta-learning.
        key: of the tasks.
        rate: of meta-learning.
        places: where it is tested.
    """
    of_course, of_tests = jax.random.split(key)
    known = places.among[0]

    def objective(numbers: Any, key: Array) -> Array:
        learn = partial(way.learn, numbers)
        return jnp.mean(lives(learn, key, size.tasks, images, known, size.form).loss)

    start = way.start(size.form)
    learned = meta_learned(objective, start, of_course, rate, size.updates)

    def tested(place: Places) -> Lived:
        learn = partial(way.learn, learned.numbers)
        return lives(learn, of_tests, size.tested, *place, size.form)

    return Found(learned.numbers, learned.losses, jax.lax.map(tested, places))


# ---- The verdict


def _accuracies(lines: Lines, rule: str, data: str, place: str) -> dict[int, float]:
    here = lines_where(lines, rule=rule, data=data, place=place)
    return {line["seed"]: line["accuracy"] for line in here}


def judge(lines: Lines) -> Verdict:
    """From the accuracies after lives with new classes, and on another data set."""
    findings = []
    for rule in FOUND:
        for other in (*OPPONENTS, CONTROL):
            for data, place in PLACES.items():
                mine, theirs = (
                    _accuracies(lines, each, data, place) for each in (rule, other)
                )
                what = f"{rule} - {other}, {place} ({DATA_NAMES[data]})"
                count = len(OPPONENTS) * len(PLACES)
                found = effect(what, mine, theirs, MARGIN, compared=count)
                says = "higher" if other in OPPONENTS else None
                inside = rule == EXACT and says is not None
                findings.append(Finding(found, says, inside, "percent"))
    return decide(findings).with_refusals([*_at_an_end(lines), *_undertrained(lines)])


def _at_an_end(lines: Lines) -> Iterator[str]:
    for rule in (*FOUND, *OPPONENTS):
        chosen = {
            (line["meta_rate"], min(line["tried"]), max(line["tried"]))
            for line in lines_where(lines, rule=rule)
        }
        for rate, *ends in chosen:
            if rate in ends:
                yield f"the best rate of meta-learning of {rule} is an end ({rate:g})"


def _undertrained(lines: Lines) -> Iterator[str]:
    for rule in OPPONENTS:
        falls = [line["falls"] for line in lines_where(lines, rule=rule, place=SAME)]
        if falls and np.mean(falls) > STILL:
            yield (
                f"{rule} is not meta-learned to the end: its loss falls by "
                f"{np.mean(falls):.3f} nats in the last fifth, more than {STILL:g}"
            )


def _measured_in_words(lines: Lines) -> str:
    told = []
    for rule in WAYS:
        means = [
            f"{np.mean(list(values.values())):.1f} % ({place})"
            for data, place in (("digits", SAME), *PLACES.items())
            if (values := _accuracies(lines, rule, data, place))
        ]
        if means:
            told.append(f"{rule}: {', '.join(means)}")
    return "; ".join(told) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """The accuracy after a life in each place, by the way to learn."""
    every = [("digits", SAME), *PLACES.items()]
    ran = {(line["data"], line["place"]) for line in lines}
    places = [place for place in every if place in ran] or every
    figure, axes, _ = panel_figure(len(places), (), (), sharey=True)
    for panel, (data, place) in zip(axes, places, strict=True):
        rows = {rule: _accuracies(lines, rule, data, place) for rule in WAYS}
        draw_rows(panel, rows)
        panel.set(title=f"{DATA_NAMES[data]}: {place}", xlabel="accuracy (%)")
    return figure


CLAIM = Claim(
    id="learned-rule",
    sentence=(
        "A learning rule that is found by backpropagation through learning beats naive "
        "backpropagation."
    ),
    source=(
        'asked in discussions of brains ("use a deep net to find a biophysical '
        'learning rule"); Shervani-Tabar & Rosenbaum 2023, Nature Communications 14, '
        "found such rules with random feedback"
    ),
    work=(
        "Lives of 20 updates of 10 images, of a tanh network 64-32-32-5 without "
        "biases, on five of ten classes with new labels and pixels in a new order. "
        "For each way to learn a rate and a scale of the initial weights of each layer "
        "are meta-learned by the gradient of the loss after a life: 800 updates of "
        "Adam on 8 lives each, on five classes of the 8 x 8 digits, at the best of 5 "
        "rates of meta-learning (on tasks of these classes, with a seed that is not "
        "shown). A learned rule has besides 24 coefficients for each layer, of "
        "monomials in x, y, w and delta, that start at 0. delta is that of "
        "backpropagation, or of feedback through fixed random weights. Beside them "
        "SGD, Adam, and SGD of the read-out alone. 5 seeds of meta-learning, each with "
        "its own split of the classes; 400 lives with the other five classes, and 400 "
        "with Fashion-MNIST at 8 x 8 pixels."
    ),
    published=(
        Published(
            "a rule with two local terms and random feedback against backpropagation, "
            "on episodes of EMNIST, 5 ways and 50 examples of each",
            '"on par" (figure only)',
            "from memory: Shervani-Tabar & Rosenbaum 2023",
            _measured_in_words,
        ),
    ),
    differences=(
        "A smaller network and shorter lives in batches; coefficients of each layer; "
        "images of 8 x 8 pixels in a new order; opponents whose rates and initial "
        "weights are meta-learned like the rule's."
    ),
    rule=(
        "Accuracies after a life in percent, paired by seed of meta-learning, 95 % "
        "intervals corrected for four comparisons, m = "
        f"{MARGIN:g}. Holds if both learned rules are higher than SGD and than Adam, "
        "each meta-learned, on new classes and on another data set. Holds within "
        "limits if the rule with backpropagation's own delta is. Does not hold if one "
        "of these is against the claim and the limits do not hold either. Otherwise "
        "not settled. Refused if the best rate of meta-learning of a way is an end of "
        "those tried, or if the loss of SGD or Adam falls by more than "
        f"{STILL:g} nats in the last fifth of meta-learning. The classes of "
        "meta-learning, and the read-out alone, are shown only."
    ),
    margin=(
        "half a percent of the test images, as for other sets of digits; in a "
        "prototype accuracies differed by up to 4."
    ),
    data=("digits", "fashion-mnist"),
    trials=5,
    hours=0.8,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
