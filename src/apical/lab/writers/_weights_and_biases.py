"""Runs of Weights & Biases: one for each model, rule and seed."""

from typing import Any

from apical.lab._errors import require_package
from apical.lab.run._callbacks import EpochEvent
from apical.lab.writers._metrics import seeds_with_metrics, settings_of


class WeightsAndBiases:
    """Log the numbers of every epoch to Weights & Biases.

    Each seed is a run, in a group for each model and rule. Without network, set
    `mode="offline"` (or `WANDB_MODE=offline`) and upload later by `wandb sync`.

    Args:
        project: the name of the project.
        **settings: further arguments of `wandb.init`, as `entity=`, `mode=`, `dir=`,
            `tags=`.

    Raises:
        LabError: without wandb (`pip install 'apical[wandb]'`).

    Example:
        >>> from apical import lab
        >>> writer = lab.WeightsAndBiases(
        ...     "rules", mode="offline")  # doctest: +SKIP
        >>> lab.compare(callbacks=[writer])  # doctest: +SKIP
    """

    def __init__(self, project: str, **settings: Any):
        self._project, self._settings = project, settings
        self._package = require_package("wandb", "wandb", "WeightsAndBiases")
        self._runs: dict[tuple[str, str, int], Any] = {}

    def __call__(self, event: EpochEvent) -> None:
        """Log one epoch of each seed; a run ends with its last epoch."""
        for seed, metrics in seeds_with_metrics(event):
            key = event.model, event.rule, seed
            if key not in self._runs:
                self._runs[key] = self._begun(event, seed)
            self._runs[key].log(metrics, step=event.epoch)
            if event.epoch == event.epochs:
                self._runs.pop(key).finish()

    def close(self) -> None:
        """End runs that were interrupted."""
        while self._runs:
            self._runs.popitem()[1].finish(exit_code=1)

    def _begun(self, event: EpochEvent, seed: int) -> Any:
        group = f"{event.model} {event.rule}"
        given = {
            **{"project": self._project, "group": group, "name": f"{group} {seed}"},
            **{"config": settings_of(event, seed), "reinit": "create_new"},
        }
        return self._package.init(**{**given, **self._settings})
