"""PEPITA against backprop: one hidden layer (Dellaferrera & Kreiman 2022)."""

from apical import rules
from apical.claims._claim import EarlierSetup
from apical.claims._tasks import Size
from apical.claims.networks import relu_mlp
from apical.claims.published._published_accuracy import PublishedAccuracy
from apical.lab._registry import BASELINE

PUBLISHED = PublishedAccuracy(
    net=lambda width: relu_mlp(width),
    compared={"pepita": rules.PEPITA()},
    errors={BASELINE: 1.37, "pepita": 1.99},
    sizes={
        "full": Size("mnist", None, None, 1024, 8, 16, 16),
        "quick": Size("digits", None, None, 128, 8, 5, 0, 0.05),
        "smoke": Size("digits", 320, 160, 16, 1, 2, 0, 0.05),
    },
    arguments={"optimizer": "momentum", "batch_size": 64},
    published_by="Dellaferrera & Kreiman 2022",
    read=False,
    setup="784-1024-10, ReLU, dropout of 10 %, 100 epochs",
)
CLAIM = PUBLISHED.claim(
    id="pepita-digits",
    sentence="PEPITA learns MNIST with one hidden layer nearly as well as backprop.",
    source=(
        "Dellaferrera & Kreiman 2022, Error-driven Input Modulation: Solving the "
        "Credit Assignment Problem without a Backward Pass, ICML"
    ),
    work=(
        "MNIST, 784-1024-10, ReLU, cross-entropy, batches of 64, gradient descent "
        "with momentum, 8 epochs; PEPITA, backprop and the control with an untrained "
        "hidden layer, each with 16 trials of the step size (PEPITA's also draw the "
        "size of its projection) on a held-out part; 16 seeds."
    ),
    differences=(
        "8 epochs at one rate, where the source had 100 with two steps down of the "
        "rate, and no dropout; pixels standardised, where the source has them between "
        "0 and 1. The last epoch of all seeds counts."
    ),
    remaining=(
        "PEPITA is 0.6 points below backprop after 8 epochs instead of 100, and the "
        "interval lies on both sides of the half point that counts as equal: with mean "
        "and scatter as they are about 14 seeds would settle it. That it is far above "
        "untrained hidden layers is settled: by 1.9 points. What counts as nearly as "
        "well is the margin, since the published loss of 0.6 points is from memory."
    ),
    corrected=(
        "It was held against published errors, which are from memory, with a margin of "
        "0.3 points, and not against backprop in the same runs."
    ),
    earlier_setup=EarlierSetup(
        "It had 5 seeds, whose interval lies on both sides of the margin, and 6 "
        "trials: 16 of both have been asked for since.",
        trials=6,
    ),
    hours=1.2,
    paper="dellaferrera2022",
)
