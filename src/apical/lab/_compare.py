"""Compare rules: the same model, the same start, the same data, in the same order."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from apical.lab._comparison import Comparison
from apical.lab._errors import LabError
from apical.lab._registry import COMPARED, Rules, Vary
from apical.lab.data._load import Data
from apical.lab.run._callbacks import Moment
from apical.lab.run._plan import Models, Plan, arguments, make_plan
from apical.lab.run._progress import Reporter, reporter
from apical.lab.storage._output_dir import open_folder, read_settings
from apical.lab.storage._results import Ledger


def compare(
    *,
    data: str | Path | Data = "digits",
    data_dir: str | Path | None = None,
    download: bool = False,
    models: Models | None = None,
    rules: Rules = COMPARED,
    vary: Vary | None = None,
    epochs: int | None = None,
    seeds: int = 5,
    batch_size: int = 64,
    optimizer: str = "adam",
    learning_rate: float | None = None,
    loss: str | None = None,
    sweep: int = 0,
    shuffle: bool = True,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    report: bool = True,
    console: Console | None = None,
    callback: Callable[[Moment], None] | None = None,
) -> Comparison:
    """Train the same models with every rule and measure how they fare.

    Args:
        data: the name of a data set, the path of a text or of an `.npz` file with
            `train_x`, `train_y`, `test_x` and `test_y`, or a `Data`. Labels are classes
            if they are integers; if they are floating-point numbers, it is a
            regression, scored by R².
        data_dir: the folder with the files of a named set; the digits need none.
        download: fetch what is not there.
        models: names of models, `module:factory`, or factories by name
            (default: by kind of data).
        rules: names of rules, perhaps with arguments, as
            `"feedback-alignment(removed_backward=0.9)"`, `module:Rule`, or rules by
            name; a list may hold both: `[*lab.COMPARED, {"mine": MyRule()}]` sets a
            rule of one's own beside backpropagation and the control; `"all"` for all
            of `lab.RULES` (default: `lab.COMPARED`).
        vary: a number of rules and its values, as `{"removed_backward": (0, 0.5)}` or
            `"removed_backward=0,0.5"`. Each rule that has it gets a row for each
            value, and the report a curve.
        epochs: how often to go through the training part (default: by data set).
        seeds: how many seeds, from 0 up; they are trained all at once.
        batch_size: examples in a batch.
        optimizer: the name of an optimiser of optax or `apical.optim`, perhaps with
            arguments: `"sgd(momentum=0.9)"`.
        learning_rate: its step size, the same for every rule (default: by optimiser).
        loss: `"cross-entropy"`, or `"squared-error"` (half of it) to one-hot labels, or
            to labels that are numbers (default: cross-entropy where it can be).
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
        callback: is called with a `Moment` before the training of each model by each
            rule and after every epoch: the new lines, and the trained models.

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
        vary=vary,
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
            _run(plan, ledger, progress, callback)
        journals = (ledger.records, ledger.layers, ledger.trials, ledger.costs)
        lines = (journal.lines for journal in (*journals, ledger.regimes))
        result = Comparison(*lines, settings=plan.settings)
        if folder is not None and report:
            result.save_report(folder)
    return result


def resume(
    folder: str | Path,
    console: Console | None = None,
    callback: Callable[[Moment], None] | None = None,
) -> Comparison:
    """Go on with a comparison that was cut off, with the arguments it was begun with.

    Args:
        folder: where it was writing.
        console: where to show progress. None: nothing is shown.
        callback: as of `compare`; it is not told again of epochs that had ended.

    Returns:
        The comparison, with the same numbers as if it had not been cut off.

    Raises:
        LabError: for a folder without a comparison, or if data, versions or machine are
            not those that it was begun with.
    """
    begun = arguments(read_settings(Path(folder)))
    return compare(**begun, out=folder, resume=True, console=console, callback=callback)


def _run(
    plan: Plan,
    ledger: Ledger,
    progress: Reporter,
    callback: Callable[[Moment], None] | None,
) -> None:
    ledger.require_runs(plan.settings)
    progress.begin("getting ready")
    todo = [
        (bench, name, entry, bench.seconds(name, entry))
        for bench in plan.benches(ledger, callback)
        for name, entry in plan.entries.items()
    ]
    left = [seconds for *_, seconds in todo if seconds]
    progress.expect(sum(left), len(left))
    for bench, name, entry, seconds in todo:
        bench.run(name, entry, seconds, progress)
