"""Equilibrium propagation against backprop: one hidden layer on MNIST."""

import jax

from apical import rules
from apical.claims._claim import EarlierSetup
from apical.claims._tasks import Size
from apical.claims.networks import mlp
from apical.claims.published._published_accuracy import PublishedAccuracy

PUBLISHED = PublishedAccuracy(
    net=lambda width: mlp(jax.nn.tanh, width),
    compared={
        "equilibrium-propagation": rules.EquilibriumPropagation(
            0.1, free_steps=30, nudged_steps=10, estimate="random sign"
        )
    },
    errors={},
    sizes={
        "full": Size("mnist", None, None, 512, 10, 5, 16),
        "quick": Size("digits", None, None, 128, 8, 5, 0, 1e-3),
        "smoke": Size("digits", 320, 160, 16, 1, 2, 0, 1e-3),
    },
    arguments={"loss": "squared-error", "batch_size": 50},
)
CLAIM = PUBLISHED.claim(
    id="ep-digits",
    sentence=(
        "Equilibrium propagation learns MNIST with one hidden layer as well as "
        "backprop."
    ),
    source=(
        "Laborieux, Ernoult, Scellier, Bengio, Grollier & Querlioz 2021, Scaling "
        "Equilibrium Propagation to Deep ConvNets, Frontiers in Neuroscience "
        "15:633674, and the set-up of a check in their code; no accuracy of it was "
        "found in a source"
    ),
    work=(
        "MNIST, 784-512-10, tanh, squared error, batches of 50, Adam, 10 "
        "epochs, 5 seeds; a nudge with a random sign, 30 free steps and 10 nudged, "
        "rate 0.5. Beside it backprop and the control with an untrained hidden layer; "
        "16 trials of each on a held-out part (step size, and the nudge and gain of "
        "the rule)."
    ),
    differences=(
        "Units are tanh and the output is linear, where that code has hard sigmoids; "
        "pixels standardised; steps are damped by half. The step "
        "size and the nudge are tuned, where their code has 5e-4 and 0.1."
    ),
    remaining=(
        "The two are equal at the one step size that was tried. An error of 2.3 % that "
        "stood here earlier had no source, and is dropped. What is missing is a search "
        "of the step size for each, backprop and the control among them."
    ),
    corrected="It was held against an error of 2.3 % that has no source.",
    earlier_setup=EarlierSetup(
        "It had 15 epochs and nothing was tuned, so that its verdict is refused: "
        "trials have been asked for since.",
        trials=0,
    ),
    hours=1.1,
    paper="laborieux2021",
)
