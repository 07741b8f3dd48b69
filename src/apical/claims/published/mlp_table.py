"""Five rules on one deep narrow network (Counter-Current Learning 2024, table 1)."""

import jax

from apical import rules
from apical.claims._claim import EarlierSetup
from apical.claims._tasks import Size
from apical.claims.networks import mlp
from apical.claims.published._published_accuracy import PublishedAccuracy
from apical.lab._registry import BASELINE

FIXED = "fixed-weight-target-propagation"
PUBLISHED = PublishedAccuracy(
    net=lambda width: mlp(jax.nn.tanh, *(width,) * 5),
    compared={
        "feedback-alignment": rules.FeedbackAlignment(),
        "direct-feedback-alignment": rules.DirectFeedbackAlignment(),
        FIXED: rules.DifferenceTargetPropagation(training=None),
        "direct-random-target-projection": rules.DirectRandomTargetProjection(),
    },
    errors={
        BASELINE: 1.81,
        "feedback-alignment": 3.04,
        "direct-feedback-alignment": 2.73,
        FIXED: 2.80,
        "direct-random-target-projection": 7.84,
    },
    sizes={
        "full": Size("mnist", None, None, 256, 15, 8, 16),
        "quick": Size("digits", None, None, 64, 8, 5, 0, 1e-3),
        "smoke": Size("digits", 320, 160, 16, 1, 2, 0, 1e-3),
    },
    arguments={"batch_size": 128},
    published_by="Counter-Current Learning (CCL), NeurIPS 2024, table 1",
    setup="six layers of 256, tanh",
    nearly=True,
)
CLAIM = PUBLISHED.claim(
    id="mlp-table",
    sentence=(
        "On one net of six layers four rules without weight transport learn MNIST with "
        "about 1 to 6 points less than backprop."
    ),
    source="Counter-Current Learning, NeurIPS 2024, tables 1 and 2",
    work=(
        "MNIST, 784-256-256-256-256-256-10, tanh, cross-entropy, batches of 128, Adam, "
        "15 epochs; feedback alignment, direct feedback alignment, target propagation "
        "with fixed inverses, direct random target projection, backprop and the "
        "control with untrained hidden layers, each with 16 trials of the step size "
        "(and of the numbers of the rule) on a held-out part; 8 seeds."
    ),
    differences=(
        "Adam at a rate chosen by trials, where the numbers that the source gave the "
        "rules beside its own are not noted; 15 epochs, where it says no number here. "
        "Six layers are taken to be five hidden ones and the readout. The last epoch "
        "of all seeds counts."
    ),
    remaining=(
        "The four rules have the published figures: +0.1, 0.0, -0.1 and +1.5 points. "
        "Backprop has not: 0.6 points below after 8 epochs, at the smallest step size "
        "that its six trials drew. So what the rules lose to backprop is not known. "
        "Three lose 0.3 to 0.6 points here and 0.9 to 1.2 in the source, direct random "
        "target projection 3.9 here and 6.0 there. Smaller step sizes, one that falls, "
        "and longer training are the first things to try."
    ),
    corrected=(
        "Backprop had to have its published figure too, and the four rules were held "
        "against absolute figures."
    ),
    earlier_setup=EarlierSetup(
        "It had 8 epochs, 5 seeds and 6 trials, of which the smallest step size won "
        "for backprop: more of each have been asked for since.",
        trials=6,
    ),
    hours=2.0,
)
