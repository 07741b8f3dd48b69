"""Compare rules: the same model, the same start, the same data, in the same order."""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from apical.lab._data import Data
from apical.lab._errors import LabError
from apical.lab._folder import open_folder, read_settings
from apical.lab._journal import read
from apical.lab._ledger import Ledger
from apical.lab._plan import Models, Plan, arguments, make_plan
from apical.lab._progress import Reporter, reporter
from apical.lab._records import Line
from apical.lab._regimes import regime_table
from apical.lab._registry import COMPARED, Rules
from apical.lab._report import write_report
from apical.lab._summary import Row, summarise
from apical.lab._table import table


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison: what was written down, and what can be read off it.

    Attributes:
        records: losses, accuracy, alignment and times, for each model, rule, seed and
            epoch. `alignment_hidden` is the mean of the hidden layers, which tables and
            figures show; `alignment`, `norm_ratio` and `sign_agreement` are of all
            parameters as one vector, most of it the read-out.
        layers: alignment, for each of these, each layer and each parameter.
        trials: the trials of a sweep.
        costs: time, FLOPs, memory and sequential depth, for each model and rule.
        regimes: of free predictive coding, before training and after the last epoch:
            residual, curvature, and what the update is nearest to.
        settings: what was asked for, and the versions.
    """

    records: list[Line]
    layers: list[Line] = field(default_factory=list)
    trials: list[Line] = field(default_factory=list)
    costs: list[Line] = field(default_factory=list)
    regimes: list[Line] = field(default_factory=list)
    settings: Line = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> "Comparison":
        """The comparison in this folder, as far as it has come."""
        folder = Path(folder)
        names = ("records", "layers", "trials", "costs", "regimes")
        files = [folder / f"{name}.jsonl" for name in names]
        if not files[0].is_file():
            raise LabError(
                f"{files[0]}: there is no such file; was another --out used?"
            )
        lines = [read(file, missing_ok=True) for file in files]
        if not all({"model", "rule", "epoch"} <= line.keys() for line in lines[0]):
            raise LabError(
                f"{files[0]} is not of `apical compare`: a line of it has no model, "
                "rule or epoch. Name the folder that was given as --out"
            )
        return cls(*lines, settings=read_settings(folder))

    @property
    def rows(self) -> list[Row]:
        """One row per model and rule."""
        return summarise(self.records, self.costs, self.trials)

    @property
    def table(self) -> Table:
        """The rows as a table, to be printed by rich."""
        return table(self.records, self.rows)

    @property
    def regime_table(self) -> Table:
        """Where predictive coding stood, as a table, to be printed by rich."""
        return regime_table(self.regimes)

    def save_report(self, folder: str | Path) -> None:
        """Draw the figures (PNG and SVG) and write the page `report.html`."""
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            write_report(self, Path(folder))
        except OSError as error:
            raise LabError(
                f"cannot write to {folder} ({error.strerror or error}): name another "
                "folder"
            ) from error


def compare(
    *,
    data: str | Path | Data = "digits",
    data_dir: str | Path | None = None,
    download: bool = False,
    models: Models | None = None,
    rules: Rules = COMPARED,
    epochs: int | None = None,
    seeds: int = 5,
    batch_size: int = 64,
    optimizer: str = "adam",
    learning_rate: float | None = None,
    loss: str = "cross-entropy",
    sweep: int = 0,
    shuffle: bool = True,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    report: bool = True,
    console: Console | None = None,
) -> Comparison:
    """Train the same models with every rule and measure how they fare.

    Args:
        data: the name of a data set, the path of a text or of an `.npz` file with
            `train_x`, `train_y`, `test_x` and `test_y`, or a `Data`.
        data_dir: the folder with the files of a named set; the digits need none.
        download: fetch what is not there.
        models: names of models, `module:factory`, or factories by name
            (default: by kind of data).
        rules: names of rules, `module:Rule`, or rules by name; `"all"` for all of
            `lab.RULES` (default: `lab.COMPARED`).
        epochs: how often to go through the training part (default: by data set).
        seeds: how many seeds, from 0 up; they are trained all at once.
        batch_size: examples in a batch.
        optimizer: the name of an optimiser of optax or `apical.optim`, perhaps with
            arguments: `"sgd(momentum=0.9)"`.
        learning_rate: its step size, the same for every rule (default: by optimiser).
        loss: `"cross-entropy"`, or `"squared-error"` to one-hot labels.
        sweep: how many trials every rule gets in which to find its own step size and
            numbers, on a held-out part of the training set. 0: no search.
        shuffle: whether every epoch has an order of its own. If not, it is the same
            random order in every epoch, so that the same examples meet in a batch.
        out: a folder for the records, the figures and the page. None: nothing is
            written.
        force: replace an earlier comparison in that folder.
        resume: go on with the comparison in that folder, begun with the same
            arguments.
        report: draw the figures and write the page; they can be had later from
            `Comparison.read(out).save_report(out)`.
        console: where to show progress. None: nothing is shown.

    Returns:
        The comparison.

    Raises:
        LabError: for a wrong name, file or setting, a folder that is in use or full,
            data that are not finite.

    Example:
        >>> from apical import lab
        >>> result = lab.compare(models=["mlp"], rules=["backpropagation"], epochs=1)
        >>> len(result.records)  # five seeds, before training and after an epoch
        10
    """
    if resume and out is None:
        raise LabError("resume=True needs out=, the folder to go on in")
    plan = make_plan(
        data=data,
        data_dir=data_dir,
        download=download,
        models=models,
        rules=rules,
        epochs=epochs,
        seeds=seeds,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        loss=loss,
        sweep=sweep,
        shuffle=shuffle,
    )
    folder = None if out is None else Path(out)
    with open_folder(folder, plan.settings, force, resume) as ledger:
        with reporter(console) as progress:
            _run(plan, ledger, progress)
        journals = (ledger.records, ledger.layers, ledger.trials, ledger.costs)
        lines = (journal.lines for journal in (*journals, ledger.regimes))
        result = Comparison(*lines, settings=plan.settings)
        if folder is not None and report:
            result.save_report(folder)
    return result


def resume(folder: str | Path, console: Console | None = None) -> Comparison:
    """Go on with a comparison that was cut off, with the arguments it was begun with.

    Args:
        folder: where it was writing.
        console: where to show progress. None: nothing is shown.

    Returns:
        The comparison, with the same numbers as if it had not been cut off.

    Raises:
        LabError: for a folder without a comparison, or if data, versions or machine are
            not those that it was begun with.
    """
    begun = arguments(read_settings(Path(folder)))
    return compare(**begun, out=folder, resume=True, console=console)


def _run(plan: Plan, ledger: Ledger, progress: Reporter) -> None:
    progress.begin("getting ready")
    todo = [
        (bench, name, entry, bench.seconds(name, entry))
        for bench in plan.benches(ledger)
        for name, entry in plan.entries.items()
    ]
    progress.expect(sum(seconds for *_, seconds in todo))
    for bench, name, entry, seconds in todo:
        bench.run(name, entry, seconds, progress)
