"""The table of rules by sign: one work, on which three claims look.

Every rule with every setting of batch Manhattan, with batch norm and without. A
comparison is done once, whichever of the claims is run first.
"""

from collections.abc import Iterable, Sequence

from apical import rules
from apical.claims._claim import Scale, Task
from apical.claims._tasks import baseline_and_control
from apical.claims.feedback._fashion_mnist import NETS, SIZES, training_task
from apical.lab._registry import BASELINE, CONTROL

NORMED, PLAIN = NETS
# Batch Manhattan's settings: is the gradient signed, is the velocity?
SETTINGS = {
    f"batch manhattan {number}": f"batch_manhattan(momentum=0.9, "
    f"sign_gradient={gradient}, sign_velocity={velocity})"
    for number, (gradient, velocity) in enumerate(
        [(False, False), (True, False), (False, True), (True, True)]
    )
}
SGD, BM, *_ = SETTINGS
MAGNITUDES = ("uniform", "fixed", "batch")
FRACTIONS = (0.75, 0.5)
DIFFERENCES = (
    "One data set in place of 15, and a fully connected net of three hidden layers in "
    "place of convolutional ones, on a third of the training part: 64 settings are "
    "trained 21 times each, in half an hour. All rules keep the signs of the readout's "
    "feedback too. Decay is left at 0. Which settings of batch Manhattan the paper "
    "numbers 0 to 3 is taken from `apical.optim.batch_manhattan`."
)


def signs(magnitude: str) -> str:
    """What sign concordance with such magnitudes is called."""
    return f"signs, {magnitude}"


def partial(fraction: float) -> str:
    """What sign concordance is called when so many signs agree."""
    return f"{fraction:.0%} of the signs"


RULES: dict[str, rules.Rule] = {
    **baseline_and_control(),
    "feedback-alignment": rules.FeedbackAlignment(),
    **{signs(name): rules.SignConcordance(name) for name in MAGNITUDES},
    **{partial(part): rules.SignConcordance(concordance=part) for part in FRACTIONS},
}
_QUICK = (BASELINE, CONTROL, signs("uniform"), signs("fixed"), partial(0.5))
# What is left out below the full scale is left out to be quick.
_PARTS: dict[Scale, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "full": (tuple(RULES), tuple(NETS)),
    "quick": (_QUICK, (NORMED,)),
    "smoke": ((BASELINE, signs("uniform")), (NORMED,)),
}


def table(scale: Scale, settings: Sequence[str]) -> Iterable[Task]:
    """One comparison for each of these settings, the same for all claims."""
    names, nets = _PARTS[scale]
    for setting in settings:
        size = SIZES[scale]
        if scale == "full":  # sixty-four settings
            size = size._replace(epochs=3)
        taught = {name: RULES[name] for name in names}
        if setting == SGD and scale != "full":
            taught = baseline_and_control()
            size = size._replace(rate=0.02)  # a gradient is smaller than its sign
        task = training_task(setting, size, taught, nets, optimizer=SETTINGS[setting])
        yield task._replace(shared=True)
