"""Rules lie on a line from one global reward to a tailored error for each unit."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apical import rules
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._data import DATA_NAMES, vector_loader
from apical.claims._effect_size import effect, lines_where
from apical.claims._plots import Curve, Panel, curve_figure
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.efficiency._falls import (
    LENGTHS,
    bias_and_variance,
    falls,
    familiar,
    gradients,
    initial_weights,
)
from apical.lab.storage._jsonl import Line

MARGIN = 0.25  # of an exponent
WEIGHTS, NODES, FORWARD = "weight perturbation", "node perturbation", "forward gradient"
FEEDBACK, DIRECT = "feedback alignment", "direct feedback"
SIGNS, BACKPROP = "sign concordance", "backprop"
RULES: dict[str, rules.Rule] = {
    WEIGHTS: rules.WeightPerturbation(),
    FORWARD: rules.ForwardGradient(),
    NODES: rules.NodePerturbation(),
    DIRECT: rules.DirectFeedbackAlignment(),
    FEEDBACK: rules.FeedbackAlignment(),
    "Kolen-Pollack": rules.KolenPollack(),
    SIGNS: rules.SignConcordance(),
    BACKPROP: rules.Backpropagation(),
}
MEASURED = ("along", "bias", "variance", "cosine")


class Size(NamedTuple):
    """The size of a run.

    Attributes:
        widths: of both hidden layers.
        seeds: of weights, examples and noise.
        steps: of training by the rule itself, before it is measured.
        draws: of an example and of the rule's noise.
        names: of the rules.
    """

    widths: tuple[int, ...]
    seeds: int
    steps: int
    draws: int
    names: tuple[str, ...]


SIZES: dict[Scale, Size] = {
    "full": Size((16, 32, 64, 128, 256), 10, 100, 1024, tuple(RULES)),
    "quick": Size((8, 32), 5, 100, 256, (WEIGHTS, NODES, FEEDBACK, BACKPROP)),
    "smoke": Size((4, 8), 2, 2, 4, (NODES, BACKPROP)),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each rule and width."""
    size = SIZES[scale]
    for rule, width in product(size.names, size.widths):
        name = f"{rule.replace(' ', '-').lower()}-{width}"
        yield Task(name, partial(_measured, size, rule, width))


def _measured(
    size: Size, rule: str, width: int, context: TaskContext
) -> Iterator[Line]:
    """The best falls of the rule and of backprop at the same weights, by seed."""
    loaded = vector_loader("digits")(context)
    x, y = jnp.asarray(loaded.train_x), jnp.asarray(loaded.train_y)

    @jax.jit
    def measure(seed: jax.Array) -> dict[str, Any]:
        keys = jax.random.split(jax.random.key(seed), 3)
        begun = initial_weights(keys[0], x.shape[1], width, loaded.classes)
        at = familiar(RULES[rule], (x, y), begun, keys[1], size.steps)
        drawn = gradients(RULES[rule], (x, y), at, keys[2], size.draws)
        answered = x[drawn.rows], y[drawn.rows]
        ours, theirs = (
            falls(at[0], grads, answered) for grads in (drawn.ours, drawn.theirs)
        )
        return bias_and_variance(drawn) | {"ours": ours, "theirs": theirs}

    for seed in range(size.seeds):
        found = jax.tree.map(np.asarray, measure(seed))
        best = int(np.argmax(found["ours"]))
        yield {
            **{"rule": rule, "data": "digits", "width": width, "seed": seed},
            "fall": _above_zero(found["ours"][best]),
            "fall_of_backprop": _above_zero(found["theirs"].max()),
            "length": LENGTHS[best],
            "at_an_end": best in (0, len(LENGTHS) - 1),
            **{name: float(found[name]) for name in MEASURED},
        }


def _above_zero(fall: Any) -> float | None:
    """None where the loss falls by no step."""
    return float(fall) if fall > 0 else None


# ---- The verdict


def exponents(lines: Lines, rule: str) -> dict[int, float]:
    """How fast backprop's advantage grows with width, as a power of it, by seed.

    fall / (fall of backprop at the same weights) ~ width^(-exponent)
    """
    by_seed: dict[int, dict[float, float]] = {}
    for line in lines_where(lines, rule=rule):
        if line["fall"] and line["fall_of_backprop"]:
            share = line["fall_of_backprop"] / line["fall"]
            at = by_seed.setdefault(line["seed"], {})
            at[float(np.log(line["width"]))] = float(np.log(share))
    return {
        seed: float(np.polyfit(list(of), list(of.values()), 1)[0])
        for seed, of in by_seed.items()
        if len(of) > 1
    }


def judge(lines: Lines) -> Verdict:
    """From the exponents, in pairs and against 1."""
    found = {rule: exponents(lines, rule) for rule in RULES}
    one = {rule: dict.fromkeys(each, 1.0) for rule, each in found.items()}
    zero = {rule: dict.fromkeys(each, 0.0) for rule, each in found.items()}

    def exponent(what: str, mine: Any, other: Any) -> Any:
        return effect(f"exponent, {what}", mine, other, MARGIN, compared=4)

    both = exponent(f"{WEIGHTS} - {NODES}", found[WEIGHTS], found[NODES])
    vector = exponent(f"{NODES} - {FEEDBACK}", found[NODES], found[FEEDBACK])
    below = exponent(f"{FEEDBACK} - 1", found[FEEDBACK], one[FEEDBACK])
    above = exponent(f"{FEEDBACK} - {BACKPROP}", found[FEEDBACK], zero[FEEDBACK])
    findings = [
        Finding(both, "higher", unit=""),
        Finding(vector, "higher", True, ""),
        Finding(below, "lower", True, ""),
        Finding(above, "at least as high", unit=""),
    ]
    for rule, each in found.items():
        if rule != BACKPROP:
            findings.append(Finding(exponent(rule, each, zero[rule]), unit=""))
    return decide(findings).with_refusals(list(_refusals(lines)))


def _refusals(lines: Lines) -> Iterator[str]:
    for rule in (WEIGHTS, NODES, FEEDBACK):
        mine = lines_where(lines, rule=rule)
        if ends := {line["width"] for line in mine if line["at_an_end"]}:
            where = ", ".join(map(str, sorted(ends)))
            yield f"the best step of {rule} is the shortest or longest (width {where})"
        lost = sum(line["fall"] is None for line in mine)
        if lost:
            yield f"the loss falls by no step of {rule} in {lost} measurements"


def _told(names: tuple[str, ...], lines: Lines) -> str:
    found = {rule: list(exponents(lines, rule).values()) for rule in names}
    told = [f"{rule} {np.mean(each):.2f}" for rule, each in found.items() if each]
    return "; ".join(told) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """The share of backprop's fall, the cosine and the variance against width."""
    shares = [
        {**line, "share": line["fall"] / line["fall_of_backprop"]}
        for line in lines
        if line["fall"] and line["fall_of_backprop"]
    ]
    panels = [
        Panel(title, _curves(shares if field == "share" else lines, field), "")
        for field, title in (
            ("share", f"{DATA_NAMES['digits']}: fall of the loss / backprop's"),
            ("variance", "variance / squared mean"),
        )
    ]
    return curve_figure(panels, "width", 1, "log")


def _curves(lines: Lines, field: str) -> list[Curve]:
    return [
        Curve.of(rule, lines_where(lines, rule=rule), "width", field) for rule in RULES
    ]


CLAIM = Claim(
    id="spectrum",
    sentence=(
        "Rules lie on a line from one global reward to a tailored error for each unit: "
        "the less tailored the signal, the worse learning scales with width; and rules "
        "without weight transport can be far from the global reward."
    ),
    source=(
        "Lillicrap, in talks of 2016 (from memory); Lillicrap, Santoro, Marris, "
        "Akerman & Hinton 2020, Backpropagation and the brain, Nature Reviews "
        "Neuroscience; Werfel, Xie & Seung 2005 for the exponents"
    ),
    work=(
        "The 8 x 8 digits; tanh networks 64-h-h-10 without biases, h from 16 to 256. "
        "Each rule first trains its own network for 100 batches of 32 (Adam at 1e-3). "
        "There, 1,024 times, one example is drawn and the rule's gradient of both "
        "hidden matrices taken; the mean fall of that example's loss is measured for "
        "19 lengths of the step, and the best one counts. Beside it that of backprop "
        "at the same weights for the same examples. The exponent of a rule is the "
        "slope of log(backprop's fall / the rule's) over log h, fitted for each of 10 "
        "seeds."
    ),
    published=(
        Published(
            "learning time against size: one reward and noise in weights, in nodes; "
            "the gradient",
            "number of weights; number of nodes; 1",
            "from memory: Werfel, Xie & Seung 2005",
            partial(_told, (WEIGHTS, FORWARD, NODES)),
        ),
        Published(
            "rules with a vector of errors and no weight transport",
            "between the two, without a figure",
            "from memory: Lillicrap et al. 2020",
            partial(_told, (DIRECT, FEEDBACK, "Kolen-Pollack", SIGNS)),
        ),
    ),
    differences=(
        "One step from a given state in place of the time to learn: its best size is "
        "searched for every rule, width and seed. The readout, whose error needs no "
        "feedback path, is left out. Each rule is measured where it has brought "
        "itself, so that feedback weights have had time to agree; perturbation has "
        "hardly moved by then, and backprop beside it has the same weights. A step "
        "answers one example, whose loss can fall to 0 and no further: training before "
        "is short, so that much loss is left."
    ),
    rule=(
        "Exponents by seed, 95 % intervals corrected for four comparisons, m = "
        f"{MARGIN:g}. Holds if (a) the exponent of weight perturbation is higher than "
        "that of node perturbation; (b) that of node perturbation is higher than that "
        "of feedback alignment; (c) that of feedback alignment is lower than 1; (d) it "
        "is at least as high as backprop's, which is 0. Holds within limits if (b) and "
        "(c) are as claimed. Does not hold if one is against the claim and the limits "
        "do not hold either. Refused if a best step of these three rules is the "
        "shortest or the longest tried, or if the loss falls by none. The other rules, "
        "bias, variance and cosine are shown only."
    ),
    margin="a quarter: exponents that theory gives are 0, 1 and 2.",
    hours=0.5,
    tasks=tasks,
    judge=judge,
    draw=draw,
    data=("digits",),
)
