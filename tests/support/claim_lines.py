"""Made-up lines of the claims about feedback and signs, by verdict."""

import numpy as np

from apical.claims.feedback import bn_rates, fa_sparse, sign_frozen_top, sign_sparse
from apical.claims.predictive_coding import trains as pc_trains
from apical.lab._registry import BASELINE, CONTROL

NOISE = np.array([-0.0015, 0.001, 0.0, 0.0012, -0.0007])  # of five seeds


def run(rule, accuracy, *, spread=1.0, seeds=5, **said):
    """Lines of one run: before training, after one epoch and after two."""
    given = {"model": "with batch norm", "status": "ok", "learning_rate": 0.1} | said
    noise = spread * np.random.default_rng(len(rule)).permutation(NOISE)
    return [
        {"rule": rule, "seed": seed, "epoch": epoch, "epochs": 2, "alignment": 0.5}
        | {"test_accuracy": found, "training_loss": 1 - found}
        | given
        for seed in range(seeds)
        for epoch, found in enumerate((0.1, accuracy - 0.1, accuracy + noise[seed]))
    ]


def runs(accuracies, **said):
    """Lines of several runs, by their last accuracies."""
    return [line for r, a in accuracies.items() for line in run(r, a, **said)]


def digits(accuracies, angles=(80.0, 30.0), spread=1.0):
    """Lines of the net of sigmoids, whose hidden weights turn from angle to angle."""
    lines = runs(accuracies, part="digits", spread=spread)
    for line in lines:
        at = angles[0] if line["epoch"] == 0 else angles[1] + line["seed"]
        cosines = {".hidden.weight": float(np.cos(np.radians(at)))}
        line["alignment_by_layer"] = cosines | {".readout.weight": 1.0}
    return lines


def linear(errors, angles=(80.0, 30.0)):
    return [
        {"part": "linear", "rule": rule, "seed": seed, "epoch": epoch, "epochs": 2}
        | {"status": "ok", "error": found, "angle": angle + seed, "learning_rate": 0.01}
        for rule, error in errors.items()
        for seed in range(5)
        for epoch, found, angle in zip(
            (1, 2), (0.9, error + NOISE[seed]), angles, strict=True
        )
    ]


def matches(ours=0.975, angles=(80.0, 30.0), error=0.01, spread=1.0):
    both = {BASELINE: 0.976, "feedback-alignment": ours, CONTROL: 0.93}
    mapped = {BASELINE: 0.01, "feedback-alignment": error, CONTROL: 0.9}
    return digits(both, angles, spread) + linear(mapped)


def sparse(ours, control=0.93, whole=0.975, spread=1.0):
    names = {BASELINE: 0.976, CONTROL: control, "feedback-alignment": whole}
    return digits(names | {fa_sparse.SPARSE: ours}, spread=spread)


def signs(uniform=0.87, fixed=0.87, batch=0.87, most=0.84, half=0.6, spread=1.0):
    """With batch Manhattan, and backprop by gradient descent."""
    names = {"signs, uniform": uniform, "signs, fixed": fixed, "signs, batch": batch}
    names |= {"75% of the signs": most, "50% of the signs": half}
    names |= {CONTROL: 0.5}
    with_signs = runs(names, task="batch manhattan 1", spread=spread)
    return with_signs + run(BASELINE, 0.869, task="batch manhattan 0")


def frozen(feedback, concordance):
    usual = {BASELINE: 0.87, "feedback-alignment": 0.86, "sign-concordance": 0.87}
    still = (0.868, feedback, concordance)
    names = zip(usual, still, strict=True)
    stays = {sign_frozen_top.frozen(name): at for name, at in names}
    return runs(usual | stays | {CONTROL: 0.8})


def sparsely(*accuracies, dense=0.85, spread=1.0):
    levels = zip(sign_sparse.REMOVED, (0.87, *accuracies), strict=True)
    found = {sign_sparse.without("signs", part): at for part, at in levels}
    every = {
        sign_sparse.without("feedback alignment", p): dense for p in sign_sparse.REMOVED
    }
    return runs(found | every | {BASELINE: 0.87, CONTROL: 0.8}, spread=spread)


def rates(highest_with=3.2, highest_plain=0.4, early=0.75, shuffled=0.87, fixed=0.86):
    """Every rate up to the highest works, and the middle one has the lowest loss."""
    lines = []
    for rule in bn_rates.RULES:
        for net, order, top, best in (
            ("with batch norm", "shuffled", highest_with, shuffled),
            ("with batch norm", "fixed order", highest_with, fixed),
            ("plain", "shuffled", highest_plain, 0.85),
            ("plain", "fixed order", highest_plain, 0.85),
        ):
            for rate in bn_rates.RATES:
                at = best if rate <= top else 0.1
                here = run(rule, at, model=net, order=order, learning_rate=rate)
                for line in here:
                    if line["epoch"] == 1:
                        line["test_accuracy"] = early if net != "plain" else 0.7
                        line["test_accuracy"] += NOISE[line["seed"]]
                    line["training_loss"] += abs(rate - 0.2)
                lines += here
    return lines


def trains(pictures=0.6, text=0.4, control=0.3, spread=1.0):
    lines = []
    for part, ours, backprop in (("pictures", pictures, 0.6), ("text", text, 0.4)):
        names = {BASELINE: backprop, CONTROL: control, pc_trains.CODING: ours}
        lines += runs(names, part=part, spread=spread)
    return lines


CASES = {
    "fa-matches": {
        "holds": [matches()],
        "holds within limits": [matches(angles=(40.0, 70.0))],
        "does not hold": [matches(ours=0.95), matches(error=0.3)],
        # As it was measured: an interval on both sides of the margin.
        "not settled": [matches(spread=9), matches()[:12], matches(0.9715, spread=2)],
    },
    "fa-sparse": {
        "holds": [sparse(0.974)],
        "holds within limits": [sparse(part, whole=part) for part in (0.9715, 0.95)],
        "does not hold": [sparse(0.95), sparse(0.974, control=0.98)],
        "not settled": [sparse(0.975, spread=9), []],
    },
    "sign-enough": {
        "holds": [signs()],
        "holds within limits": [signs(batch=0.8), signs(batch=0.865)],
        "does not hold": [
            signs(fixed=0.8),
            signs(uniform=0.8, fixed=0.8, batch=0.8),
        ],
        "not settled": [signs(fixed=0.864, spread=3), []],
    },
    "sign-magnitudes": {
        "holds": [signs()],
        "holds within limits": [signs(batch=0.8), signs(batch=0.865)],
        "does not hold": [signs(fixed=0.8), signs(fixed=0.9)],
        "not settled": [signs(fixed=0.864, spread=3), []],
    },
    "sign-fraction": {
        "holds": [signs()],
        "does not hold": [signs(most=0.87), signs(half=0.9)],
        "not settled": [signs(half=0.865, spread=3), []],
    },
    "sign-frozen-top": {
        "holds": [frozen(0.6, 0.86)],
        "does not hold": [frozen(0.85, 0.86), frozen(0.6, 0.5)],
        "not settled": [frozen(0.76, 0.86), []],
    },
    "sign-sparse": {
        "holds": [sparsely(0.87, 0.86, 0.855, 0.85)],
        "holds within limits": [sparsely(0.87, 0.86, 0.8, 0.7)],
        "does not hold": [sparsely(0.8, 0.7, 0.6, 0.5)],
        "not settled": [sparsely(0.85, 0.85, 0.85, 0.85, spread=9), []],
    },
    "bn-rates": {
        "holds": [rates()],
        "holds within limits": [rates(fixed=0.88)],
        "does not hold": [rates(highest_with=0.2), rates(early=0.6)],
        "not settled": [[]],
    },
    "pc-trains": {
        "holds": [trains()],
        "holds within limits": [trains(text=0.35)],
        "does not hold": [trains(pictures=0.55), trains(control=0.7)],
        "not settled": [trains(spread=15), []],
    },
}
