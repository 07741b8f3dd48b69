"""Every rule with a problem for it: parameters, data and description."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

import apical
from apical import rules
from apical.rules import RandomFeedback
from support.by_hand import layers


class Guess:
    """A network that guesses a free argument: a matrix."""

    def init(self, key, *args):
        return jnp.zeros((args[1].shape[-1], args[0].shape[-1]))

    def apply(self, weights, *args):
        return args[1] @ weights


KEY = jax.random.key(0)
WIDTHS, EXAMPLES = (5, 7, 6, 3), 4
X = jnp.sin(jnp.arange(EXAMPLES * 5.0)).reshape(EXAMPLES, 5)
Y = jax.nn.one_hot(jnp.arange(EXAMPLES) % 3, 3)


@dataclass(frozen=True)
class Trial:
    """A rule, and what its network is made of."""

    rule: rules.Rule
    widths: tuple[int, ...] = WIDTHS
    nonlinearity: Callable[[Any], Any] = jnp.tanh
    spikes: bool = False
    warm: int = 0  # steps before it says anything
    keywords: dict[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> Any:
        return layers(*self.widths)

    @property
    def args(self) -> tuple[Any, ...]:
        return X, (Y if self.widths[-1] == 3 else X)

    def loss_of(self, nonlinearity=None, error=None):
        """The loss by another nonlinearity, or with another function of the output."""
        rho = nonlinearity or self.nonlinearity

        def loss_fn(params, x, y):
            for each in params[:-1]:
                x = rho(x @ each["w"] + each["b"])
                x = apical.bernoulli(x) if self.spikes else x
            out = x @ params[-1]["w"] + params[-1]["b"]
            given = error or (lambda out, y: 0.5 * jnp.sum((out - y) ** 2, axis=-1))
            return jnp.mean(given(out, y))

        return loss_fn

    def step(self, loss_fn=None, optimizer=None):
        told = {"target": lambda x, y: y, "input_argnums": 0, **self.keywords}
        loss_fn = loss_fn or self.loss_of()
        return apical.train_step(
            loss_fn, self.rule, optimizer or optax.sgd(0.05), **told
        )


@dataclass(frozen=True)
class RecurrentTrial(Trial):
    """The same with a first layer of leaky units in a loop, for rules through time."""

    @property
    def params(self) -> Any:
        first, *above = layers(*self.widths)
        units = first["w"].shape[1]
        return [{**first, "recurrent": layers(units, units)[0]["w"]}, *above]

    def loss_of(self, nonlinearity=None, error=None):
        """Each example is read as it is, then in reverse."""
        rho = nonlinearity or self.nonlinearity
        given = error or (lambda out, y: 0.5 * jnp.sum((out - y) ** 2, axis=-1))

        def loss_fn(params, x, y):
            first, *hidden, last = params

            def step(h, x):
                back = apical.node(rho(h), "back")
                drive = x @ first["w"] + first["b"] + back @ first["recurrent"]
                h = 0.8 * h + drive
                z = apical.node(rho(h), "first")
                for each in hidden:
                    z = rho(z @ each["w"] + each["b"])
                return h, jnp.mean(given(z @ last["w"] + last["b"], y))

            start = jnp.zeros((len(x), len(first["b"])))
            return jnp.mean(jax.lax.scan(step, start, jnp.stack([x, x[:, ::-1]]))[1])

        return loss_fn


def following(key, x, y):
    return jnp.roll(x, 1, axis=-1), y


def _spiking(rule):
    return Trial(rule, nonlinearity=jax.nn.sigmoid, spikes=True)


_LEARNING = RandomFeedback(optax.sgd(0.1))
TRIALS = {
    "Backpropagation": Trial(rules.Backpropagation()),
    "FeedbackAlignment": Trial(rules.FeedbackAlignment()),
    "FeedbackAlignment, sparse": Trial(
        rules.FeedbackAlignment(removed_forward=0.2, removed_backward=0.2)
    ),
    "FeedbackAlignment, noisy": Trial(rules.FeedbackAlignment(backward_noise=0.1)),
    "SignConcordance": Trial(rules.SignConcordance()),
    "SignConcordance, batch": Trial(rules.SignConcordance("batch", concordance=0.8)),
    "KolenPollack": Trial(rules.KolenPollack(0.01)),
    "WeightMirror": Trial(rules.WeightMirror()),
    "DirectFeedbackAlignment": Trial(rules.DirectFeedbackAlignment()),
    "DirectFeedbackAlignment, sign": Trial(rules.DirectFeedbackAlignment(error="sign")),
    "DirectRandomTargetProjection": Trial(rules.DirectRandomTargetProjection()),
    "ActivationRelaxation": Trial(rules.ActivationRelaxation()),
    "ActivationRelaxation, learned": Trial(
        rules.ActivationRelaxation(feedback=_LEARNING)
    ),
    "ContrastiveHebbian": Trial(rules.ContrastiveHebbian(gain=0.5)),
    "CoupledLearning": Trial(rules.CoupledLearning(gain=0.5)),
    "DualPropagation": Trial(rules.DualPropagation()),
    "EquilibriumPropagation": Trial(rules.EquilibriumPropagation(gain=0.5)),
    "GeneRec": Trial(rules.GeneRec(gain=0.5)),
    "Recirculation": Trial(rules.Recirculation(), widths=(5, 7, 5)),
    "CLAPP": Trial(rules.CLAPP(positive=following)),
    "PEPITA": Trial(rules.PEPITA(scale=1.0)),
    "ForwardForward": Trial(rules.ForwardForward(), nonlinearity=jax.nn.relu),
    "LocalLosses": Trial(rules.LocalLosses()),
    "LocalLosses, fixed": Trial(rules.LocalLosses(readout="fixed")),
    "IncrementalPredictiveCoding": Trial(rules.IncrementalPredictiveCoding()),
    "PredictiveCoding": Trial(rules.PredictiveCoding()),
    "PredictiveCoding, free": Trial(rules.PredictiveCoding(30, 0.3, prediction="free")),
    "PredictiveCoding, random feedback": Trial(
        rules.PredictiveCoding(feedback=RandomFeedback())
    ),
    "PredictiveCoding, learned feedback": Trial(
        rules.PredictiveCoding(feedback=_LEARNING)
    ),
    "PredictiveCoding, no derivative": Trial(
        rules.PredictiveCoding(30, 0.3, prediction="free", derivative=False)
    ),
    "PredictiveCoding, errors": Trial(
        rules.PredictiveCoding(prediction="free", inference=rules.ErrorRelaxation())
    ),
    "PredictiveCoding, amortised": Trial(
        rules.PredictiveCoding(
            30,
            0.1,
            prediction="free",
            free=(True, False),
            amortised=rules.AmortisedStart(Guess(), optax.sgd(0.1)),
        )
    ),
    "Concrete": _spiking(rules.Concrete()),
    "ScoreFunction": _spiking(rules.ScoreFunction()),
    "StraightThrough": _spiking(rules.StraightThrough()),
    "EvolutionStrategy": Trial(rules.EvolutionStrategy()),
    "ForwardGradient": Trial(rules.ForwardGradient()),
    "ForwardGradient, activities": Trial(rules.ForwardGradient("activities")),
    "NodePerturbation": Trial(rules.NodePerturbation()),
    "NodePerturbation, drive": Trial(rules.NodePerturbation(at="drive")),
    "WeightPerturbation": Trial(rules.WeightPerturbation()),
    "SyntheticGradients": Trial(rules.SyntheticGradients(), warm=3),
    "SyntheticGradients, conditioned": Trial(
        rules.SyntheticGradients(conditioned=True), warm=3
    ),
    "DifferenceTargetPropagation": Trial(rules.DifferenceTargetPropagation()),
    "TargetPropagation": Trial(rules.TargetPropagation()),
    "TargetPropagation, fixed": Trial(rules.TargetPropagation(training=None)),
}
TRIALS |= {
    "EProp": RecurrentTrial(rules.EProp()),
    "EProp, random": RecurrentTrial(rules.EProp("random")),
    "EProp, adaptive": RecurrentTrial(rules.EProp("adaptive")),
    "EProp, direct": RecurrentTrial(rules.EProp(rules.DirectFeedbackAlignment())),
    "EProp, local losses": RecurrentTrial(rules.EProp(rules.LocalLosses())),
    "EfficientTraces": RecurrentTrial(rules.EfficientTraces()),
    "RFLO": RecurrentTrial(rules.RFLO()),
    "OTTT": RecurrentTrial(rules.OTTT()),
    "SnAp": RecurrentTrial(rules.SnAp()),
    "SnAp, random": RecurrentTrial(rules.SnAp(feedback="random")),
    "RTRL": RecurrentTrial(rules.RTRL()),
    "UORO": RecurrentTrial(rules.UORO()),
}
EVERY = {
    kind
    for kind in vars(rules).values()
    if isinstance(kind, type) and issubclass(kind, rules.Rule) and kind != rules.Rule
}
