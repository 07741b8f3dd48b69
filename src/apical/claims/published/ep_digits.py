"""Equilibrium propagation against backprop: one hidden layer on MNIST."""

import jax

from apical import rules
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
        "full": Size("mnist", None, None, 512, 15, 5, 0, 5e-4),
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
        "MNIST, 784-512-10, tanh, squared error, batches of 50, Adam at 5e-4, 15 "
        "epochs, 5 seeds; a nudge of 0.1 with a random sign, 30 free steps and 10 "
        "nudged ones, rate 0.5. Beside it backprop and the control with an untrained "
        "hidden layer at the same step size."
    ),
    differences=(
        "Units are tanh and the output is linear, where that code has hard sigmoids; "
        "pixels standardised; steps are damped by half. Nothing was tuned: the step "
        "size is that of their code. 15 epochs take about half an hour."
    ),
    remaining=(
        "The two are equal at the one step size that was tried. An error of 2.3 % that "
        "stood here earlier had no source, and is dropped. What is missing is a search "
        "of the step size for each, backprop and the control among them."
    ),
    corrected="It was held against an error of 2.3 % that has no source.",
    hours=0.4,
    paper="laborieux2021",
)
