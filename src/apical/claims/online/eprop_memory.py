"""The memory of e-prop does not grow with the length of a sequence (Bellec 2020)."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import apical
from apical.claims._claim import Claim, Lines, Published, Scale, Task, TaskContext
from apical.claims._effect_size import LEAST_SEEDS, Effect, effect, lines_where
from apical.claims._plots import Curve, Panel, curve_figure
from apical.claims._published_numbers import NOT_RUN
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.online._cells import CELLS, Params, RecurrentNet, Size
from apical.lab.storage._jsonl import Line

BPTT, AGAIN = "backpropagation", "backpropagation, checkpoints"
WHOLE, WINDOWS = "e-prop, one call", "e-prop, windows"
LENGTHS = (256, 1024, 4096)
STEPS = 32  # of a window
NONE = 0.1  # an exponent below this is no growth: 16 times the length, 1.3 the memory
MOST = 0.5  # that of backpropagation with the best checkpoints
EXACT = 1e-4  # relative distance, in single precision
_SAID_EXACT = math.log10(EXACT)
_NETS = {name: RecurrentNet(cell) for name, cell in CELLS.items()}


class Work(NamedTuple):
    """The size of the networks, lengths of sequences, networks and seeds."""

    size: Size
    lengths: tuple[int, ...]
    nets: tuple[str, ...]
    seeds: int


_WORK: dict[Scale, Work] = {
    "full": Work(Size(40, 100, 2, 16), LENGTHS, tuple(_NETS), 5),
    "quick": Work(Size(20, 32, 2, 4), (64, 256), tuple(_NETS), 1),
    "smoke": Work(Size(3, 4, 2, 2), (32, 64), ("LIF",), 1),
}


def tasks(scale: Scale) -> Iterator[Task]:
    """One for each network and length."""
    work = _WORK[scale]
    for name in work.nets:
        for length in work.lengths:
            yield Task(f"{name}-{length}", partial(_measured, work, name, length))


# ---- Programs that compute a gradient

Gradient = Callable[[Params, Array, Array], Params]


def programs(net: RecurrentNet, size: Size, length: int) -> dict[str, Gradient]:
    """The gradient of the mean error of a sequence, by each rule."""
    start = net.start(size)
    parts = 2 ** round(math.log2(length) / 2)

    def whole(params: Params, x: Array, y: Array) -> Array:
        return net.window(params, start, x, y)[0]

    def again(params: Params, x: Array, y: Array) -> Array:
        return net.in_parts(params, start, x, y, parts)

    return {
        BPTT: jax.grad(whole),
        AGAIN: jax.grad(again),
        WHOLE: _in_one_call(whole, *_zeros(net, size, length)),
        WINDOWS: _in_windows(net, start, *_zeros(net, size, STEPS)),
    }


def _zeros(net: RecurrentNet, size: Size, length: int) -> tuple[Params, Array, Array]:
    x, y = (
        jnp.zeros((length, size.examples, n)) for n in (size.channels, size.outputs)
    )
    return net.params(jax.random.key(0), size), x, y


def _in_one_call(loss_fn: Callable[..., Array], *example: Any) -> Gradient:
    learner = apical.value_and_grad(loss_fn, apical.rules.EProp(), batch_axes=1)
    state = learner.init(jax.random.key(0), *example)
    return lambda params, x, y: learner(params, state, x, y).grads


def _in_windows(
    net: RecurrentNet, start: Any, params: Params, x: Array, y: Array
) -> Gradient:
    """One call for each window; the state and the traces pass from call to call."""
    learner = apical.value_and_grad(
        net.window,
        apical.rules.EProp(chunk=STEPS),
        has_aux=True,
        batch_axes=(0, 1, 1),
        carry=(0, "end"),
    )
    traces = learner.init(jax.random.key(0), params, start, x, y)

    def gradient(params: Params, x: Array, y: Array) -> Params:
        def call(carry: Any, xy: Any) -> tuple[Any, None]:
            start, traces, total = carry
            credit = learner(params, traces, start, *xy)
            total = jax.tree.map(jnp.add, total, credit.grads)
            return (credit.aux["end"], credit.state, total), None

        windows = tuple(a.reshape(-1, STEPS, *a.shape[1:]) for a in (x, y))
        carry = start, traces, jax.tree.map(jnp.zeros_like, params)
        (_, _, total), _ = jax.lax.scan(call, carry, windows)
        return jax.tree.map(lambda g: g / len(windows[0]), total)

    return gradient


# ---- What is measured


def _measured(
    work: Work, name: str, length: int, context: TaskContext
) -> Iterator[Line]:
    del context
    net, size = _NETS[name], work.size
    form = _zeros(net, size, length)
    compiled = {
        rule: jax.jit(gradient).lower(*form).compile()
        for rule, gradient in programs(net, size, length).items()
    }
    cut = net._replace(read=jax.lax.stop_gradient)
    defining = jax.jit(programs(cut, size, length)[BPTT])
    for seed in range(work.seeds):
        given = _drawn(net, size, length, seed)
        of_definition = defining(*given)
        found = {rule: call(*given) for rule, call in compiled.items()}
        for rule, grads in found.items():
            memory = compiled[rule].memory_analysis()
            assert memory is not None  # on CPUs there is one
            yield {
                **{"model": name, "rule": rule, "seed": seed, "length": length},
                "bytes": memory.temp_size_in_bytes,
                "bytes_of_inputs": _bytes(given[1:]),
                "distance": _distance(grads, of_definition),
                "distance_of_backpropagation": _distance(found[BPTT], of_definition),
                "cosine": _cosine(grads, found[BPTT]),
            }


def _drawn(
    net: RecurrentNet, size: Size, length: int, seed: int
) -> tuple[Params, Array, Array]:
    of_weights, of_inputs, of_targets = jax.random.split(jax.random.key(seed), 3)
    shape = (length, size.examples)
    x = jax.random.bernoulli(of_inputs, 0.2, (*shape, size.channels))
    y = jax.random.normal(of_targets, (*shape, size.outputs))
    return net.params(of_weights, size), x.astype(jnp.float32), y


def _bytes(arrays: tuple[Array, ...]) -> int:
    return sum(array.nbytes for array in arrays)


def _distance(mine: Params, other: Params) -> float:
    a, b = (np.asarray(ravel_pytree(tree)[0], float) for tree in (mine, other))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def _cosine(mine: Params, other: Params) -> float:
    a, b = (np.asarray(ravel_pytree(tree)[0], float) for tree in (mine, other))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


# ---- The verdict


def exponents(lines: Lines, model: str, rule: str) -> dict[int, float]:
    """The growth of memory by seed: n, where bytes are as `length ** n`.

    Between the shortest and the longest sequence.
    """
    found: dict[int, dict[int, int]] = {}
    for line in lines_where(lines, model=model, rule=rule):
        found.setdefault(line["seed"], {})[line["length"]] = line["bytes"]
    return {
        seed: math.log(of[max(of)] / of[min(of)]) / math.log(max(of) / min(of))
        for seed, of in found.items()
        if len(of) > 1
    }


def _growth(lines: Lines, model: str, rule: str, level: float, margin: float) -> Effect:
    found = exponents(lines, model, rule)
    said = f" - {level:g}" if level else ""
    what = f"{model}, {rule}: exponent of memory{said}"
    return effect(what, found, dict.fromkeys(found, level), margin)


def _worst(lines: Lines, model: str, rule: str) -> Effect:
    """The largest distance over lengths, in decades, from what counts as exact."""
    found: dict[int, float] = {}
    for line in lines_where(lines, model=model, rule=rule):
        decades = math.log10(max(line["distance"], 1e-17))
        found[line["seed"]] = max(found.get(line["seed"], -math.inf), decades)
    what = f"{model}, {rule}: distance to the gradient that defines it, from {EXACT:g}"
    return effect(what, found, dict.fromkeys(found, _SAID_EXACT), 0.0)


def judge(lines: Lines) -> Verdict:
    """From the exponents of memory, and whether the gradient is that of e-prop."""
    findings = []
    for model in _NETS:
        for rule in (WINDOWS, WHOLE):
            inside = rule == WINDOWS
            grown = _growth(lines, model, rule, 0.0, NONE)
            findings.append(Finding(grown, "equal", inside, "of the exponent"))
            exact = Finding(_worst(lines, model, rule), "lower", inside, "decades")
            findings.append(exact)
        backward = _growth(lines, model, BPTT, MOST, 0.0)
        findings.append(Finding(backward, "higher", inside=True, unit="more"))
        again = _growth(lines, model, AGAIN, 0.0, NONE)
        findings.append(Finding(again, unit="of the exponent"))
    return decide(findings).with_refusals(_unseen(lines))


def _unseen(lines: Lines) -> list[str]:
    """Networks in which another gradient would have counted as that of e-prop."""
    near = dict.fromkeys(
        line["model"]
        for line in lines
        if line["distance_of_backpropagation"] < 10 * EXACT
    )
    return [f"{name}: e-prop is not told from backpropagation" for name in near]


def _grown(rule: str) -> Callable[[Lines], str]:
    def say(lines: Lines) -> str:
        found = {
            model: sorted(
                {ln["bytes"] for ln in lines_where(lines, model=model, rule=rule)}
            )
            for model in _NETS
        }
        told = [
            f"{model} {', '.join(f'{size / 2**20:.1f}' for size in sizes)} MiB"
            for model, sizes in found.items()
            if sizes
        ]
        return "; ".join(told) or NOT_RUN

    return say


def draw(lines: Lines) -> Figure:
    """Temporary memory, and cosine to backpropagation, against the length."""
    panels = []
    for field, y, rules in (
        ("bytes", "temporary memory (bytes)", (BPTT, AGAIN, WHOLE, WINDOWS)),
        ("cosine", "cosine", (WHOLE,)),
    ):
        level = None if field == "bytes" else (1.0, BPTT)
        for model in _NETS:
            here = lines_where(lines, model=model)
            curves = [
                Curve.of(rule, lines_where(here, rule=rule), "length", field)
                for rule in rules
            ]
            panels.append(Panel(model, curves, y, level))
    return curve_figure(panels, "steps of a sequence", len(_NETS), "log")


CLAIM = Claim(
    id="eprop-memory",
    sentence=(
        "The memory that e-prop needs does not grow with the length of the sequence; "
        "that of backpropagation through time does."
    ),
    source=(
        "Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020, Nature "
        "Communications 11:3625"
    ),
    work=(
        "The gradient of the mean error at every step of sequences of 256, 1,024 and "
        "4,096 steps, 16 examples of 40 channels, on networks of 100 units: leaky "
        "integrate-and-fire units, the same with adaptive thresholds, and gated "
        "recurrent units, each with a read-out and an error at every step. Temporary "
        "memory of the compiled program, as XLA reports it, without inputs and "
        "gradients, for backpropagation "
        "through time; the same with sqrt(T) parts evaluated again; e-prop in one call "
        "for the whole sequence; and e-prop called for windows of "
        f"{STEPS} steps, to which state and traces pass on. The gradients are computed "
        "as well, for 5 seeds of weights and inputs, and compared with that of "
        "backpropagation through time where recurrent synapses read the state without "
        "a derivative: this is the gradient that defines e-prop."
    ),
    published=(
        Published(
            "eligibility traces in place of stored activities",
            "no growth with the length, by construction; no figure",
            "from memory: Bellec et al. 2020",
            _grown(WINDOWS),
        ),
        Published(
            "backpropagation through time stores the activities of all steps",
            "in proportion to the length, by construction; no figure",
            "from memory: Bellec et al. 2020",
            _grown(BPTT),
        ),
    ),
    differences=(
        "The source states it of the equations, and has no measurement. Random weights "
        "and targets: memory does not depend on them. Read-outs do not leak: with "
        "leaky ones, as there, a window keeps filtered traces for the read-out too: "
        "more memory, which does not depend on the length either."
    ),
    rule=(
        "n is the exponent of memory, bytes as T^n, between T = 256 and 4,096. Holds "
        "if, on each of the three networks, (a) n is equal to 0 (m = "
        f"{NONE:g}) for e-prop in windows, and its gradient is within {EXACT:g} "
        "(relative) of the one that defines e-prop at every length; (b) the same for "
        f"e-prop in one call; (c) n is higher than {MOST:g}, which the best "
        "checkpoints would need, for backpropagation through time. Holds within limits "
        "(of calls for windows) if (a) and (c) are as claimed and (b) is not. Does not "
        "hold if one of these is against the claim and the limits do not hold either. "
        "Refused if the gradient of backpropagation is nearer to the defining one than "
        f"{10 * EXACT:g} anywhere, as then nothing shows that e-prop was run. Not "
        f"settled with fewer than {LEAST_SEEDS} seeds, though memory is the same for "
        "all. Backpropagation with parts evaluated again is shown only."
    ),
    remaining=(
        "At 4,096 steps e-prop takes 3 to 13 MiB, with and without windows, where "
        "backpropagation takes 76 to 251. In a run before this one a single call kept "
        "a copy of inputs and targets, and grew with an exponent of 0.2 to 0.4; the "
        "library has been corrected since. Backpropagation with checkpoints takes less "
        "than e-prop at every length that was run (2.3 to 4.8 MiB at 4,096 steps), "
        "since traces take a constant of their own: units times weights for each "
        "example. It has to go back through the whole sequence, which e-prop has not."
    ),
    margin=(
        f"Of an exponent {NONE:g}: over 16 times the length it is a factor of 1.3, "
        "which a copy of the outputs may make; stored activities give 1."
    ),
    hours=0.1,
    tasks=tasks,
    judge=judge,
    draw=draw,
    paper="bellec2020",
)
