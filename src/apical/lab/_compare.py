"""Compare rules: the same model, the same start, the same data, in the same order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from apical.lab._data import Data, load
from apical.lab._errors import LabError, known
from apical.lab._figure import draw
from apical.lab._models import MODELS
from apical.lab._optimizers import find_optimizer
from apical.lab._progress import Reporter, reporter
from apical.lab._records import FIGURES, Recorder, environment, read_records
from apical.lab._registry import RULES, Entry
from apical.lab._run import run_records
from apical.lab._start import Setting, Start
from apical.lab._stopwatch import Stopwatch
from apical.lab._summary import Row, summarise
from apical.lab._table import outcome, table

_EPOCHS = {"digits": 8}
_COMPILING = 5.0


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison: its records, and what can be read off them."""

    records: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: str | Path) -> "Comparison":
        """The comparison whose records are in this folder."""
        return cls(read_records(folder))

    @property
    def rows(self) -> list[Row]:
        """One row per model and rule."""
        return summarise(self.records)

    @property
    def table(self) -> Table:
        """The rows as a table, to be printed by rich."""
        return table(self.records)

    def save_figure(self, path: str | Path) -> None:
        """Draw the figure; the ending of the path names its format."""
        draw(self.records, Path(path))


def compare(
    *,
    data: str = "digits",
    data_dir: str | Path | None = None,
    models: Iterable[str] = tuple(MODELS),
    rules: Iterable[str] = tuple(RULES),
    epochs: int | None = None,
    seeds: int = 5,
    batch_size: int = 64,
    optimizer: str = "adam",
    rate: float | None = None,
    out: str | Path | None = None,
    force: bool = False,
    console: Console | None = None,
) -> Comparison:
    """Train the same models with every rule and measure how they fare.

    Args:
        data: the name of a data set: digits, mnist, fashion-mnist or cifar10.
        data_dir: the folder with its files; the digits need none.
        models: names of models, mlp and cnn.
        rules: names of rules.
        epochs: how often to go through the training part (default: by data set).
        seeds: how many seeds, from 0 up; they are trained all at once.
        batch_size: examples in a batch.
        optimizer: the name of an optimiser.
        rate: its step size (default: by optimiser), the same for every rule.
        out: a folder for the records and the figure. None: nothing is written.
        force: replace the records of an earlier comparison in that folder.
        console: where to show progress. None: nothing is shown.

    Returns:
        The comparison.

    Example:
        >>> from apical import lab
        >>> result = lab.compare(models=["mlp"], rules=["backpropagation"], epochs=1)
        >>> len(result.records)  # five seeds, before training and after an epoch
        10
    """
    entries = {name: RULES[name] for name in known("rule", rules, RULES)}
    settings = _settings(
        load(data, data_dir), models, epochs, seeds, batch_size, optimizer, rate
    )
    shared = {"data": data, "optimizer": optimizer, **environment()}
    recorder = Recorder(out, force)
    try:
        with reporter(console) as progress:
            for record in _all_records(settings, entries, progress):
                recorder.write({**shared, **record})
    finally:
        recorder.close()
    result = Comparison(recorder.records)
    if recorder.folder is not None:
        for figure in FIGURES:
            result.save_figure(recorder.folder / figure)
    return result


def _all_records(
    settings: list[Setting], entries: dict[str, Entry], progress: Reporter
) -> Iterator[dict[str, Any]]:
    progress.begin("getting ready")
    starts = [Start(setting) for setting in settings]
    baselines = [Stopwatch(start) for start in starts]
    seconds = {
        (start.setting.model, name): _expected(start, baseline, entry)
        for start, baseline in zip(starts, baselines, strict=True)
        for name, entry in entries.items()
    }
    progress.expect(sum(seconds.values()))
    for start, baseline in zip(starts, baselines, strict=True):
        setting = start.setting
        for name, entry in entries.items():
            expected = seconds[setting.model, name]
            label = f"{setting.model} · {name}"
            progress.begin(label, expected, setting.epochs * setting.steps)
            records = []
            for record in run_records(start, name, entry, baseline, progress.steps):
                records.append(record)
                yield record
            progress.end(outcome(summarise(records)[0]))


def _expected(start: Start, baseline: Stopwatch, entry: Entry) -> float:
    """About how many seconds a run takes, compilation included."""
    steps = start.setting.epochs * start.setting.steps
    return _COMPILING + steps * entry.cost * baseline()


def _settings(
    data: Data,
    models: Iterable[str],
    epochs: int | None,
    seeds: int,
    batch_size: int,
    optimizer: str,
    rate: float | None,
) -> list[Setting]:
    found, rate = find_optimizer(optimizer, rate)
    epochs = _EPOCHS.get(data.name, 5) if epochs is None else epochs
    for option, number in (("epochs", epochs), ("seeds", seeds)):
        if number < 1:
            raise LabError(f"--{option} {number}: there must be at least one")
    if not 1 <= batch_size <= len(data.train_y):
        raise LabError(
            f"--batch-size {batch_size}: must be 1 to {len(data.train_y):,}, the "
            f"number of training examples of {data.name}"
        )
    shared = found.make, rate, epochs, batch_size, tuple(range(seeds))
    return [Setting(data, name, *shared) for name in known("model", models, MODELS)]
