"""The numbers of an epoch by name, for libraries that plot scalars."""

from collections.abc import Iterator
from typing import Any

from apical.lab.run._callbacks import EpochEvent
from apical.lab.run._records import MEASURED


def seeds_with_metrics(event: EpochEvent) -> Iterator[tuple[int, dict[str, float]]]:
    """For each seed, what was measured: `training_loss`, `layers/w1/alignment`, ..."""
    for record in event.records:
        seed = record["seed"]
        found = {name: x for name, x in record.items() if _is_measured(name)}
        for line in event.layers:
            if line["seed"] == seed:
                found[f"layers/{line['parameter']}/alignment"] = line["alignment"]
        yield seed, {k: float(v) for k, v in found.items() if v is not None}


def settings_of(event: EpochEvent, seed: int) -> dict[str, Any]:
    """The settings of the run of one seed: everything that is not measured."""
    record = next(each for each in event.records if each["seed"] == seed)
    return {k: v for k, v in record.items() if k != "epoch" and not _is_measured(k)}


def _is_measured(name: str) -> bool:
    return name in MEASURED or name.startswith("test_")
