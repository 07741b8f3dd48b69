"""Scalars of every epoch for TensorBoard."""

from pathlib import Path
from typing import Any

from apical.lab._errors import require_package
from apical.lab.run._callbacks import EpochEvent
from apical.lab.writers._metrics import seeds_with_metrics


class TensorBoard:
    """Write the numbers of every epoch as event files, one folder per run.

    A run is `model/rule/seed`. Look at them with `tensorboard --logdir FOLDER`, also
    while the comparison runs.

    Args:
        folder: where to write. A comparison that is resumed adds to the same folder.

    Raises:
        LabError: without tensorboardX (`pip install 'apical[tensorboard]'`).

    Example:
        >>> import tempfile
        >>> from apical import lab
        >>> folder = tempfile.mkdtemp()
        >>> found = lab.compare(models=["mlp"], rules=["backpropagation"], epochs=1,
        ...                     seeds=1, callbacks=[lab.TensorBoard(folder)])
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)
        self._package = require_package("tensorboardX", "tensorboard", "TensorBoard")
        self._writers: dict[Path, Any] = {}

    def __call__(self, event: EpochEvent) -> None:
        """Write one epoch of each seed; a run ends with its last epoch."""
        for seed, metrics in seeds_with_metrics(event):
            folder = self._folder / event.model / event.rule / f"seed-{seed}"
            if folder not in self._writers:
                self._writers[folder] = self._package.SummaryWriter(str(folder))
            writer = self._writers[folder]
            for name, value in metrics.items():
                writer.add_scalar(name, value, event.epoch)
            writer.flush()
            if event.epoch == event.epochs:
                self._writers.pop(folder).close()

    def close(self) -> None:
        """Close the files of runs that were interrupted."""
        while self._writers:
            self._writers.popitem()[1].close()
