"""From one training run to its records: what diverged, what was refused."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from apical.lab._records import hyper_parameters, plain
from apical.lab._registry import Entry
from apical.lab._start import Setting, Start
from apical.lab._train import Epoch, train


def run_records(
    start: Start,
    name: str,
    entry: Entry,
    baseline: Callable[[], float] | None,
    on_steps: Callable[[int], None],
) -> Iterator[dict[str, Any]]:
    """Train with one rule; one record per seed and epoch, each when it is known.

    A rule that refuses the model leaves one record per seed that says why. Once the
    loss or the logits of a seed are not finite it is called diverged to the end, and
    when that is so for every seed there is no further epoch.
    """
    setting = start.setting
    shared = _shared(setting, name, entry)
    diverged = np.zeros(len(setting.seeds), dtype=bool)
    epochs = train(start, entry, baseline, on_steps)
    try:
        first = next(epochs)  # A rule refuses before the first step or never.
    except ValueError as refusal:
        for seed in setting.seeds:
            yield {**shared, "seed": seed, **_refused(str(refusal))}
        return
    for epoch in chain([first], epochs):
        diverged |= np.isnan(epoch.accuracy)
        diverged |= (epoch.number > 0) & ~np.isfinite(epoch.loss)
        for seed, record in zip(
            setting.seeds, _epoch_records(epoch, diverged), strict=True
        ):
            yield {**shared, "seed": seed, **record}
        if diverged.all():
            return


def _shared(setting: Setting, name: str, entry: Entry) -> dict[str, Any]:
    rule = entry.make()
    return {
        "model": setting.model,
        "rule": name,
        "rule_class": type(rule).__name__,
        "hyper_parameters": hyper_parameters(rule),
        "rate": setting.rate,
        "batch_size": setting.batch_size,
        "epochs": setting.epochs,
        "seeds": len(setting.seeds),
        "training_examples": len(setting.data.train_y),
        "test_examples": len(setting.data.test_y),
        "note": setting.data.note,
    }


def _epoch_records(epoch: Epoch, diverged: np.ndarray) -> Iterator[dict[str, Any]]:
    overall, leaves = epoch.alignment.overall, epoch.alignment.leaves
    for i, lost in enumerate(diverged):
        yield {
            "epoch": epoch.number,
            "status": "diverged" if lost else "ok",
            "message": "loss or logits not finite" if lost else "",
            "training_loss": plain(epoch.loss[i]),
            "test_accuracy": plain(epoch.accuracy[i]),
            "alignment": plain(overall.cosine[i]),
            "norm_ratio": plain(overall.norm_ratio[i]),
            "sign_agreement": plain(overall.sign_agreement[i]),
            "alignment_of_leaves": {
                path: plain(leaf.cosine[i]) for path, leaf in leaves.items()
            },
            "seconds_per_step": plain(epoch.seconds_per_step),
            "seconds_per_step_of_baseline": plain(epoch.seconds_per_step_of_baseline),
            "seconds_compiling": plain(epoch.seconds_compiling),
        }


def _refused(message: str) -> dict[str, Any]:
    measured = (
        *("training_loss", "test_accuracy", "alignment", "norm_ratio"),
        *("sign_agreement", "seconds_per_step", "seconds_per_step_of_baseline"),
        "seconds_compiling",
    )
    return {
        "epoch": 0,
        "status": "refused",
        "message": message,
        **dict.fromkeys(measured),
        "alignment_of_leaves": {},
    }
