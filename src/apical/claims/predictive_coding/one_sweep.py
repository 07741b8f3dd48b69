"""With steps of 1 predictive coding is backpropagation, in one backward pass."""

from collections.abc import Iterator
from itertools import islice

import jax
import numpy as np
from matplotlib.figure import Figure

from apical.circuit import LOSS, Circuit
from apical.claims._claim import Claim, Lines, Scale, Task, TaskContext
from apical.claims._effect_size import LEAST_SEEDS
from apical.claims._plots import Curve, Panel, curve_figure
from apical.claims._verdict import Verdict
from apical.claims.networks import convolutional_net, recurrent_net
from apical.claims.predictive_coding._gradient_error import FixedPredictionInference
from apical.claims.predictive_coding._untrained_networks import (
    Problem,
    UntrainedNetwork,
    residual_network,
    transformer_network,
)
from apical.lab.storage._jsonl import Line

EXACT = 1e-9  # in double precision, whose rounding is a million times finer
SEEN = 1e-6  # an inexact gradient must be at least so far away
BACK, FRONT, MIXED = "back to front", "front to back", "mixed"
MODELS = ("convolutional", "recurrent", "residual", "transformer")
_LEVEL = (EXACT, "counts as exact")
_AT_MOST = 1000  # sweeps
_NETWORKS: dict[Scale, dict[str, UntrainedNetwork]] = {
    "full": {
        "convolutional": UntrainedNetwork(convolutional_net, (3, 32, 32), 10, 4),
        "recurrent": UntrainedNetwork(recurrent_net(64, unrolled=True), (10,), 18, 1),
        "residual": residual_network((3, 16, 16), 4),
        "transformer": transformer_network(8, 2),
    },
    "quick": {
        "convolutional": UntrainedNetwork(convolutional_net, (3, 32, 32), 10, 2),
        "recurrent": UntrainedNetwork(recurrent_net(16, unrolled=True), (6,), 18, 1),
        "residual": residual_network((3, 16, 16), 2),
        "transformer": transformer_network(4, 1),
    },
    "smoke": {
        "recurrent": UntrainedNetwork(recurrent_net(3, unrolled=True), (4,), 2, 1)
    },
}
# Seeds, mixed orders and rates.
_SIZES: dict[Scale, tuple[int, int, tuple[float, ...]]] = {
    "full": (5, 3, (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)),
    "quick": (2, 1, (0.3, 1.0)),
    "smoke": (1, 1, (0.5, 1.0)),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each network."""
    for name, network in _NETWORKS[scale].items():
        yield _task(name, network, *_SIZES[scale])


def _task(
    name: str,
    network: UntrainedNetwork,
    seeds: int,
    mixed: int,
    rates: tuple[float, ...],
) -> Task:
    def run(context: TaskContext) -> list[Line]:
        del context
        with jax.enable_x64(True):
            problems = [network.problem(seed) for seed in range(seeds)]
            inference = FixedPredictionInference(problems[0])
            return [
                {"model": name, "seed": seed, "order": kind, "visits": " ".join(order)}
                | line
                for kind, order in orders(inference.circuit, mixed)
                for seed, problem in enumerate(problems)
                for rate in rates
                for line in _swept(inference, problem, order, rate)
            ]

    return Task(name, run)


def orders(circuit: Circuit, mixed: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The order of the computation backwards and forwards, and some mixed-up orders."""
    names = [node.name for node in circuit.nodes]
    yield BACK, tuple(reversed(names))
    yield FRONT, tuple(names)
    random = np.random.default_rng(0)
    while mixed:
        order = tuple(str(name) for name in random.permutation(names))
        if waits(circuit, order) and order != tuple(names):
            mixed -= 1
            yield MIXED, order


def waits(circuit: Circuit, order: tuple[str, ...]) -> bool:
    """Whether a node is visited before one that it reaches: one sweep is not enough."""
    place = {name: i for i, name in enumerate(order)}
    return any(
        place[name] < place[other]
        for name in order
        for other, _ in circuit.reach[name]
        if other is not LOSS and other in place
    )


def _swept(
    inference: FixedPredictionInference,
    problem: Problem,
    order: tuple[str, ...],
    rate: float,
) -> Iterator[Line]:
    """The first sweep and the last: that which is exact, or the 1000th."""
    found = islice(inference.sweeps(problem, rate, order), _AT_MOST)
    for sweeps, error in enumerate(found, 1):
        exact = error.distance < EXACT
        last = exact or sweeps == _AT_MOST
        if last or sweeps == 1:
            fields = {"rate": rate, "sweeps": sweeps, **error._asdict()}
            yield fields | {"exact": exact, "last": last}
        if last:
            return


def judge(lines: Lines) -> Verdict:
    """Holds if one sweep of whole steps is exact, and all else later."""
    because = _because(lines)
    few = [name for name in MODELS if _seeds(lines, name) < LEAST_SEEDS]
    if few:
        fewer = f"fewer than {LEAST_SEEDS} seeds of: {', '.join(few)}. "
        return Verdict("not settled", fewer + because)
    first = [line for line in lines if line["sweeps"] == 1]
    if not all(line["exact"] for line in first if _is_backprop(line)):
        return Verdict("does not hold", because)
    inexact = all(ln["distance"] > SEEN for ln in first if not _is_backprop(ln))
    arrives = all(line["exact"] for line in lines if line["last"])
    if inexact and arrives:
        return Verdict("holds", because)
    return Verdict("holds within limits", f"of whole steps alone: {because}")


def _is_backprop(line: Line) -> bool:
    return line["order"] == BACK and line["rate"] == 1


def _seeds(lines: Lines, name: str) -> int:
    return len({line["seed"] for line in lines if line["model"] == name})


def _because(lines: Lines) -> str:
    first = [line for line in lines if line["sweeps"] == 1]
    whole = [line["distance"] for line in first if _is_backprop(line)]
    others = [line["distance"] for line in first if not _is_backprop(line)]
    parts = [f"one sweep back to front at rate 1: within {max(whole, default=1):.1e}"]
    if others:
        parts.append(f"any other first sweep: {min(others):.1e} to {max(others):.1e}")
    for name in (BACK, FRONT, MIXED):
        for rate in (0.1, 1.0):
            wanted = (name, rate, True)
            ends = [x for x in lines if (x["order"], x["rate"], x["last"]) == wanted]
            took = [line["sweeps"] for line in ends]
            if not all(line["exact"] for line in ends):
                parts.append(f"{name} at {rate:g}: not exact in {max(took)} sweeps")
            elif took:
                parts.append(f"{name} at {rate:g}: {min(took)} to {max(took)} sweeps")
    return "; ".join(parts)


def draw(lines: Lines) -> Figure:
    """The distance after the first sweep at each rate, and the number of sweeps."""
    first = [line for line in lines if line["sweeps"] == 1]
    exact = [line for line in lines if line["exact"]]
    names = list(dict.fromkeys(line["model"] for line in lines))
    distances = [
        Panel(name, _by_order(first, name, "distance"), "distance, first sweep", _LEVEL)
        for name in names
    ]
    sweeps = [
        Panel("", _by_order(exact, name, "sweeps"), "sweeps until exact")
        for name in names
    ]
    return curve_figure(
        [*distances, *sweeps], "rate", max(len(names), 1), xscale="linear"
    )


def _by_order(lines: Lines, model: str, field: str) -> list[Curve]:
    return [
        Curve.of(
            order,
            [ln for ln in lines if (ln["model"], ln["order"]) == (model, order)],
            *("rate", field),
        )
        for order in (BACK, FRONT, MIXED)
    ]


CLAIM = Claim(
    id="pc-one-sweep",
    sentence=(
        "With steps of size 1 predictive coding is backpropagation, in a single "
        "backward pass; smaller steps or mixed-up orders only obscure and delay it."
    ),
    source=(
        "A comment on Millidge, Tschantz & Buckley 2020, whose author adds that part "
        "of it may be wrong; the exact case is a theorem of Rosenbaum 2022, PLOS ONE "
        "17(3)"
    ),
    work=(
        "Four graphs at their initial weights, 5 seeds each, in double precision: the "
        "paper's convolutional network, a recurrent one with a node for each of 10 "
        "letters, a residual network with batch norm, a transformer of two layers. "
        "Nodes are visited one at a time, each moved by the rate towards its minimum: "
        "back to front, front to back, and in three mixed-up orders in which some node "
        "comes before one that waits for it; at six rates from 0.1 to 1. Distance to "
        "the gradient of backpropagation after the first sweep, and how many it takes "
        f"until that is exact, {_AT_MOST} at most."
    ),
    published=(),
    differences=(
        "The comment names no network: the graphs are those of pc-exact, smaller. "
        "Inputs are random. Whether an obscured gradient might teach better than an "
        "exact one is not asked here. Visits are literal: none is done by reverse-mode "
        "differentiation of the whole, as `Sweep()` does at rate 1."
    ),
    rule=(
        f"Exact is a relative distance below {EXACT:g}. Does not hold if on some graph "
        "or seed the first sweep back to front at rate 1 is not exact. Holds if it is "
        "everywhere, and every other rate and order is inexact after its first sweep "
        f"(above {SEEN:g}) and exact after some later one: delayed, but the same. "
        "Otherwise, some other rate or order being exact at once, or never, it holds "
        "within limits (of whole steps back to front alone). Not settled with fewer "
        "than "
        f"{LEAST_SEEDS} seeds."
    ),
    hours=0.1,
    tasks=tasks,
    judge=judge,
    draw=draw,
    paper="",
)
