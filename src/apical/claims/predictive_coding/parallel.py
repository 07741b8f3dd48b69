"""Predictive coding settles in the time of a forward pass, without separate phases."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from apical.circuit import trace_program
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._effect_size import Effect, effect, lines_where
from apical.claims._plots import draw_line, log_x_axis, panel_figure
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.networks import tanh_net
from apical.claims.predictive_coding._free_inference import (
    FreePredictionInference,
    Rest,
)
from apical.claims.predictive_coding._gradient_error import FixedPredictionInference
from apical.claims.predictive_coding._untrained_networks import (
    Problem,
    UntrainedNetwork,
)
from apical.lab.report.figures._style import write_in_panel
from apical.lab.storage._jsonl import Line
from apical.lab.training._tuning import SEEDS
from apical.measure import sequential_depth
from apical.rules._numerics import NodeArrays

CLOSE = 0.99  # the cosine at which a gradient counts as reached
SETTLED = 1e-3  # of dE/dv, relative to the first
BACKPROP, WHOLE, SMALL = "backprop", "fixed, whole steps", "fixed, steps of 0.1"
AFTER_PASS, ONE_PHASE = "free, after a forward pass", "free, one phase"
PHASES = {BACKPROP: 2, WHOLE: 2, SMALL: 2, AFTER_PASS: 2, ONE_PHASE: 1}
_FIXED_RATES = {WHOLE: 1.0, SMALL: 0.1}
TRIED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)  # rates of free predictions
_REST_RATE = 0.2
TWICE = 1.0  # octaves: twice a forward pass
SHORTER = math.log2(1.25)  # octaves


class Size(NamedTuple):
    """Layers, width, examples, seeds, ticks that are watched, and ticks to rest."""

    depths: tuple[int, ...]
    width: int
    examples: int
    seeds: int
    watched: int
    ticks: int


DEPTHS = (2, 4, 8, 16, 32)
SIZES: dict[Scale, Size] = {
    "full": Size(DEPTHS, 64, 32, 5, 10_000, 40_000),
    "quick": Size((2, 4, 8), 32, 8, 3, 300, 2_000),
    "smoke": Size((2,), 4, 4, 1, 50, 200),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each depth."""
    for layers in SIZES[scale].depths:
        yield Task(f"layers-{layers}", partial(_measured, SIZES[scale], layers))


def _measured(size: Size, layers: int, context: TaskContext) -> Iterator[Line]:
    """The steps of every schedule on each seed; rates by seeds that are not shown."""
    del context
    net = UntrainedNetwork(tanh_net(layers, size.width), (1, 8, 8), 10, size.examples)
    fixed = FixedPredictionInference(net.problem(0))
    free = FreePredictionInference(net.problem(0))
    unseen = [Settling.of(size, net, free, seed) for seed in SEEDS]
    rates = {}
    for name in (AFTER_PASS, ONE_PHASE):
        took = [
            max(each.steps(free, name, rate, size.watched) for each in unseen)
            for rate in TRIED
        ]
        rates[name] = TRIED[int(np.argmin(took))]
    paths = _paths(net.problem(0), fixed, free)
    for seed in range(size.seeds):
        problem = net.problem(seed)
        common = {"layers": layers, "seed": seed}
        yield {
            **common,
            **{"schedule": BACKPROP, "phases": PHASES[BACKPROP], "rate": 1.0},
            **{"steps": layers, "reached": True, "path": paths.backprop},
            **{"forward": paths.forward, "cosine": 1.0, "residual": 0.0},
        }
        for name, rate in _FIXED_RATES.items():
            steps, cosine = _fixed_steps(fixed, problem, rate, size.watched)
            yield {
                **common,
                **{"schedule": name, "phases": PHASES[name], "rate": rate},
                **{"steps": steps, "reached": cosine >= CLOSE, "cosine": cosine},
                **{"path": paths.forward + steps * paths.linear + paths.pull},
                **{"forward": paths.forward, "residual": 0.0},
            }
        settling = Settling.of(size, net, free, seed)
        for name, rate in rates.items():
            steps = settling.steps(free, name, rate, size.watched)
            passed = paths.forward if PHASES[name] == 2 else 0
            yield {
                **common,
                **{"schedule": name, "phases": PHASES[name], "rate": rate},
                **{"steps": steps, "reached": steps <= size.watched},
                **{"path": passed + steps * paths.tick + paths.pull},
                **{"cosine": settling.to_backprop(free), "forward": paths.forward},
                "residual": float(settling.rest.residual),
            }


# ---- Operations that must follow one another


class Paths(NamedTuple):
    """Matrix products that follow one another.

    Attributes:
        forward: in the forward pass.
        backprop: in the forward and the backward pass, with the gradient.
        linear: in a step with fixed predictions.
        tick: in a step with free predictions.
        pull: from settled values to the gradient.
    """

    forward: int
    backprop: int
    linear: int
    tick: int
    pull: int


def _paths(
    problem: Problem, fixed: FixedPredictionInference, free: FreePredictionInference
) -> Paths:
    def loss(params: Any) -> Any:
        return problem.loss_fn(params, *problem.args)[0]

    programs = (loss, jax.grad(loss))
    counted = [sequential_depth(trace_program(f, problem.params)[0]) for f in programs]
    counted += [fixed.operations(problem), *free.operations(problem)]
    return Paths(*(number or 0 for number in counted))


# ---- Steps until the gradient is close


def _fixed_steps(
    inference: FixedPredictionInference, problem: Problem, rate: float, most: int
) -> tuple[int, float]:
    """The first step at which the gradient is close to backprop's, and the cosine."""
    found = 0, 0.0
    for steps, error in inference.steps(problem, rate, range(most + 1)):
        found = steps, error.cosine
        if error.cosine >= CLOSE:
            break
    return found


class Settling(NamedTuple):
    """Where free predictions begin on a seed, and where they settle.

    One phase begins at the settled values of the batch before, with another input and
    another target: nothing is reset, and no forward pass is made.
    """

    problem: Problem
    begin: dict[str, NodeArrays]
    rest: Rest

    @classmethod
    def of(
        cls,
        size: Size,
        net: UntrainedNetwork,
        inference: FreePredictionInference,
        seed: int,
    ) -> "Settling":
        """The settling of the network of a seed."""
        problem = net.problem(seed)
        before = problem._replace(args=net.problem(seed + SEEDS[-1]).args)
        passed, earlier = (
            inference.rest(each, inference.start(each), _REST_RATE, size.ticks)
            for each in (problem, before)
        )
        begin = {AFTER_PASS: inference.start(problem), ONE_PHASE: earlier.values}
        return cls(problem, begin, passed)

    def steps(
        self, inference: FreePredictionInference, name: str, rate: float, most: int
    ) -> int:
        """The tick from which on the gradient stays close to that at rest."""
        begin = self.begin[name]
        found = inference.cosines(self.problem, begin, self.rest.grads, rate, most)
        return ticks_until(np.asarray(found))

    def to_backprop(self, inference: FreePredictionInference) -> float:
        """The cosine of the gradient at rest to that of backpropagation."""
        loss_fn, params, args, _ = self.problem
        exact = jax.tree.leaves(jax.grad(loss_fn, has_aux=True)(params, *args)[0])
        found = inference.cosines(self.problem, self.rest.values, exact, _REST_RATE, 1)
        return float(found[0])


def ticks_until(cosines: np.ndarray) -> int:
    """The ticks after which every later cosine is close; their number if none is.

    Example:
        >>> ticks_until(np.array([0.5, 0.995, 0.9, 0.992, 1.0]))
        3
        >>> ticks_until(np.array([0.5, 0.6]))
        2
    """
    away = np.flatnonzero(~(cosines >= CLOSE))  # what diverged is away
    return int(away[-1]) + 1 if len(away) else 0


# ---- The verdict


def _octaves(
    lines: Lines, layers: int, schedule: str, measure: str, over: Mapping[int, float]
) -> dict[int, float]:
    here = lines_where(lines, layers=layers, schedule=schedule)
    return {
        line["seed"]: math.log2(max(line[measure], 0.5) / over[line["seed"]])
        for line in here
        if line["seed"] in over
    }


def _compared(
    lines: Lines, layers: int, schedule: str, measure: str, margin: float
) -> Effect:
    """Of steps beside a forward pass; of paths beside backprop's."""
    base = lines_where(lines, layers=layers, schedule=BACKPROP)
    wanted, name = (
        ("forward", "a forward pass")
        if measure == "steps"
        else (
            "path",
            "backprop",
        )
    )
    over = {line["seed"]: line[wanted] for line in base}
    mine = _octaves(lines, layers, schedule, measure, over)
    said = "steps" if measure == "steps" else "critical path"
    what = f"{layers} layers, {said}: {schedule} - {name}"
    return effect(what, mine, dict.fromkeys(mine, 0.0), margin, len(DEPTHS))


def judge(lines: Lines) -> Verdict:
    """From steps and critical paths at every depth, in octaves."""
    findings = []
    for layers in DEPTHS:

        def octaves(
            schedule: str, measure: str, margin: float, layers: int = layers
        ) -> Finding:
            found = _compared(lines, layers, schedule, measure, margin)
            return Finding(found, unit="octaves")

        whole = octaves(WHOLE, "steps", TWICE)
        findings += [
            octaves(ONE_PHASE, "steps", TWICE)._replace(says="at most as high"),
            octaves(ONE_PHASE, "path", SHORTER)._replace(says="lower"),
            whole._replace(says="at most as high", inside=True),
            octaves(WHOLE, "path", SHORTER),
            octaves(AFTER_PASS, "steps", TWICE),
            octaves(SMALL, "steps", TWICE),
        ]
    return decide(findings).with_refusals(_not_counted(lines))


def _not_counted(lines: Lines) -> list[str]:
    """Reasons to refuse: values that did not settle, so that rest is not known."""
    residual = max((line["residual"] for line in lines), default=0.0)
    settled = residual <= SETTLED
    return [] if settled else [f"values did not settle (residual {residual:.1e})"]


def growth(lines: Lines, schedule: str) -> float | None:
    """The exponent with which the steps grow with depth; None: at one depth alone.

    Example:
        >>> at = [{"schedule": "a", "layers": n, "steps": n * n} for n in (2, 4, 8)]
        >>> round(growth(at, "a"), 3)
        2.0
    """
    found: dict[int, list[float]] = {}
    for line in lines_where(lines, schedule=schedule):
        found.setdefault(line["layers"], []).append(max(line["steps"], 0.5))
    if len(found) < 2:
        return None
    x = [math.log(layers) for layers in found]
    y = [float(np.mean(np.log(steps))) for steps in found.values()]
    return float(np.polyfit(x, y, 1)[0])


def _grown(lines: Lines) -> str:
    found = {
        name: growth(lines, name) for name in (WHOLE, SMALL, AFTER_PASS, ONE_PHASE)
    }
    known = [f"{name}: depth^{g:.2f}" for name, g in found.items() if g is not None]
    return "; ".join(known) or NOT_RUN


def draw(lines: Lines) -> Figure:
    """Steps, critical path and the cosine of the settled gradient, against depth."""
    ran = {line["schedule"] for line in lines}
    figure, axes, look = panel_figure(3, PHASES, ran)
    titles = {
        "steps": "steps until the cosine is 0.99",
        "path": "products one after the other",
        "cosine": "cosine to backprop at the end",
    }
    for panel, (field, title) in zip(axes, titles.items(), strict=True):
        for name, style in look.items():
            points: dict[float, list[float]] = {}
            for line in lines_where(lines, schedule=name):
                points.setdefault(line["layers"], []).append(line[field])
            draw_line(panel, points, style)
        panel.set(title=title, xlabel="layers of weights")
        log_x_axis(panel, (line["layers"] for line in lines))
        if not lines:
            write_in_panel(panel, "nothing measured")
        elif field != "cosine":
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes[-1].set_ylim(0, 1.05)
    return figure


CLAIM = Claim(
    id="pc-parallel",
    sentence=(
        "Predictive coding parallelises better than backprop: it settles on the time "
        "scale of the forward pass, and needs no separate phases."
    ),
    source="Comments on Millidge, Tschantz & Buckley 2020",
    work=(
        "Networks of tanh, 64 wide, 2 to 32 layers, initial weights, 32 random inputs, "
        "squared error, 5 seeds. Steps, in which all nodes move at once, until the "
        f"cosine of the gradient of the weights is {CLOSE:g}; and the critical path, "
        "the matrix products that must follow one another, counted on the traced "
        "programs. Schedules: backprop; fixed predictions from a forward pass, in "
        "whole steps and in steps of 0.1, both beside backprop's gradient; free "
        "predictions, beside the gradient at which they settle (after 40,000 steps), "
        "from a forward pass, and in one phase: from the settled values of the batch "
        "before, when input and target change, with no forward pass and no reset. The "
        f"rate of free predictions is the best of {len(TRIED)} on three seeds that are "
        "not shown: that whose slowest takes the fewest steps. Backprop has two phases."
    ),
    published=(
        Published(
            "steps against depth",
            "not stated: the time scale of the forward pass",
            "the comments",
            _grown,
        ),
    ),
    differences=(
        "The comments name no network. Hardware in which every synapse works at once "
        "is counted, not timed. Free predictions do not settle at backprop's gradient, "
        "so that they are asked only when they have settled; the cosine to backprop's "
        "is shown beside it."
    ),
    rule=(
        "In octaves (logarithm to base 2 of a ratio), at each of the five depths. "
        "Holds if in one phase the steps are at most as many as the products of a "
        "forward pass (m = 1 octave: twice as many), and the critical path is lower "
        "than backprop's (m = 0.32 octaves: by a fifth). Holds within limits (of fixed "
        "predictions, which need a forward pass before) if whole steps are at most as "
        "many as the products of a forward pass (m = 1 octave). Does not hold if one "
        "of these is against the claim and the limits do not hold either. A schedule "
        "that does not get there in 10,000 steps counts as 10,001. Intervals are "
        "corrected for five depths. Refused if dE/dv at rest is above "
        f"{SETTLED:g} of the first. Other schedules, and the critical path of whole "
        "steps, are shown only."
    ),
    margin=(
        "Of steps one octave, as the time scale of a pass is within a factor of two; "
        "of paths 0.32 octaves, a fifth shorter: the comments give no figure."
    ),
    hours=0.3,
    tasks=tasks,
    judge=judge,
    draw=draw,
)
