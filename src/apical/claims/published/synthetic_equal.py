"""Synthetic gradients are as effective as true ones (Jaderberg et al. 2017)."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from apical import Credit, rules
from apical.circuit import Circuit
from apical.claims._claim import Lines
from apical.claims._effect_size import Effect, paired_difference
from apical.claims._tasks import Size
from apical.claims._verdict import Finding, Verdict, decide
from apical.claims.networks import batch_norm_mlp
from apical.claims.published._published_accuracy import PublishedAccuracy
from apical.lab._registry import BASELINE, CONTROL
from apical.rules import Rule, rule
from apical.rules._base import local_signals
from apical.rules._numerics import fold_in_name

MARGIN = 0.5  # points
PLAIN, CONDITIONED = "synthetic-gradients", "synthetic-gradients-conditioned"
RANDOM = "random-directions"


@rule
class RandomDirections(Rule):
    """A control: signals of the true size at every node, in random directions."""

    needs: ClassVar[tuple[str, ...]] = ("signed error units",)

    def init(self, circuit: Circuit, key: jax.Array, params: Any, args: Any) -> Any:
        """The key of the random directions."""
        del params, args
        circuit.require_nodes()
        return fold_in_name(key, "apical.RandomDirections")

    def credit(self, circuit: Circuit, params: Any, state: Any, args: Any) -> Credit:
        """The local products of random signals."""
        now, later = jax.random.split(state)
        true = local_signals(circuit, params, args)
        keys = jax.random.split(now, len(true))
        delta = {
            name: _as_long(jax.random.normal(key, each.teaching.shape), each.teaching)
            for key, (name, each) in zip(keys, true.items(), strict=True)
        }
        run = circuit.run(params, args)
        grads = circuit.pull(params, args, run.sites, delta, loss=1.0)
        return Credit(run.loss, run.aux, grads, later, ())


def _as_long(direction: jax.Array, other: jax.Array) -> jax.Array:
    size = jnp.linalg.norm(other) / jnp.linalg.norm(direction)
    return (size * direction).astype(other.dtype)


PUBLISHED = PublishedAccuracy(
    net=lambda width: batch_norm_mlp(*(width,) * 2),
    compared={
        PLAIN: rules.SyntheticGradients(),
        CONDITIONED: rules.SyntheticGradients(conditioned=True),
        RANDOM: RandomDirections(),
    },
    errors={BASELINE: 2.0, PLAIN: 1.9, CONDITIONED: 2.2},
    sizes={
        "full": Size("mnist", None, None, 256, 8, 5, 6),
        "quick": Size("digits", None, None, 64, 8, 5, 0, 3e-3),
        "smoke": Size("digits", 320, 160, 16, 1, 2, 0, 3e-3),
    },
    arguments={"batch_size": 256},
    published_by="Jaderberg et al. 2017",
    read=False,
    setup="three layers of 256, batch norm, ReLU, Adam at 3e-5, 500 thousand steps",
)


def judge(lines: Lines) -> Verdict:
    """Against backprop, and against random directions of the same size."""

    def against(name: str, rule: str, what: str) -> Effect:
        runs = ({"rule": name}, {"rule": rule})
        return paired_difference(f"{name} - {what}", lines, runs, MARGIN, compared=2)

    findings = []
    for name in (PLAIN, CONDITIONED):
        beside = against(name, BASELINE, "backprop")
        chance = against(name, RANDOM, "random directions")
        control = against(name, CONTROL, "untrained hidden layers")
        inside = name == CONDITIONED
        findings += [
            Finding(beside, "at least as high", inside),
            Finding(chance, "higher", inside),
            Finding(control),
        ]
    return decide(findings)


CLAIM = PUBLISHED.claim(
    id="synthetic-equal",
    sentence="Synthetic gradients are equally effective, and unlock the layers.",
    source=(
        "Jaderberg, Czarnecki, Osindero, Vinyals, Graves, Silver & Kavukcuoglu 2017, "
        "Decoupled Neural Interfaces using Synthetic Gradients, ICML; 'any incremental "
        "update works': a comment, 2017"
    ),
    work=(
        "MNIST, 784-256-256-10, batch norm and ReLU, cross-entropy, batches of 256, "
        "Adam, 8 epochs; a linear critic at each hidden layer, given the label or not; "
        "random directions as long as the true signals, drawn anew for every batch; "
        "backprop and the control with untrained hidden layers; each with 6 trials of "
        "the step size (critics also of theirs) on a held-out part; 5 seeds."
    ),
    differences=(
        "8 epochs at a rate chosen by trials (1,880 steps of 256), where the source "
        "took 500 thousand at 3e-5. Its three layers are taken to be two hidden ones "
        "and the readout. The control with random directions is not in the source. "
        "That layers update before those above have run is shown by a test of the "
        "rule, not here."
    ),
    rule=(
        "Holds if, paired by seed, the test accuracy after the last epoch with critics "
        "that are given the label and with critics that are not is at least as high as "
        "backprop's (m = 0.5 points), and higher than that with random directions of "
        "the same size. Holds within limits if that is so of critics that are told the "
        "label alone. Does not hold if one of these is against the claim and the "
        "limits do not hold either. Intervals are corrected for two kinds of critics. "
        "The control with untrained hidden layers: shown only."
    ),
    remaining=(
        "Critics that are not given the label end 3 points below backprop, and the "
        "source's do not: it trains 270 times as long, and a critic that knows only "
        "the activities has to guess the label. Random directions as long as the true "
        "signals do worse than untrained hidden layers (88.9 against 90.4 %), so "
        "that not any incremental update works."
    ),
    hours=0.4,
    judge=judge,
    corrected=(
        "Different and better were said of intervals that exclude 0, not of those that "
        "lie beyond the margin."
    ),
    paper="jaderberg2017",
)
