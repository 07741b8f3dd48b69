"""`compare` and `resume`: train the same models with every rule and measure it."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from apical.lab._comparison_result import Comparison
from apical.lab._errors import LabError
from apical.lab._registry import COMPARED
from apical.lab._rule_lookup import Rules, Vary
from apical.lab._rule_spec import SearchSpaces
from apical.lab.data._load import Data
from apical.lab.engines._driver import Driver, with_environment
from apical.lab.engines._engine import Engine
from apical.lab.engines._find import find_engine
from apical.lab.run._callbacks import Callback, closing, require_callbacks
from apical.lab.run._device import on_device
from apical.lab.run._plan import Models, Plan, arguments, make_plan
from apical.lab.run._progress import ProgressReporter, progress_bar
from apical.lab.storage._output_dir import open_folder, read_settings
from apical.lab.storage._results import ResultStore


def compare(
    *,
    data: str | Path | Data = "digits",
    data_dir: str | Path | None = None,
    download: bool = False,
    models: Models | None = None,
    rules: Rules = COMPARED,
    vary: Vary | None = None,
    search_spaces: SearchSpaces | None = None,
    epochs: int | None = None,
    seeds: int = 5,
    batch_size: int = 64,
    optimizer: str = "adam",
    learning_rate: float | None = None,
    loss: str | None = None,
    sweep: int = 0,
    shuffle: bool = True,
    device: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    report: bool = True,
    console: Console | None = None,
    callbacks: Sequence[Callback] = (),
    engine: str | Engine | None = None,
) -> Comparison:
    """Train the same models with every rule; measure alignment, accuracy and cost.

    Args:
        data: the name of a data set, the path of a text or of an `.npz` file with
            `train_x`, `train_y`, `test_x` and `test_y`, or a `Data`. Integer labels are
            classes; floating-point labels make it a regression, scored by R².
        data_dir: the folder with the files of a named data set; the digits need none.
        download: fetch files that are missing.
        models: names of models, `module:factory`, or factories by name
            (default: by kind of data).
        rules: names of rules, with arguments if wanted
            (`"feedback-alignment(removed_backward=0.9)"`), `module:Rule`, or rules by
            name; a list may hold both: `[*lab.COMPARED, {"mine": MyRule()}]` compares
            your own rule with backpropagation and the control. `"all"`: all of
            `lab.RULES` (default: `lab.COMPARED`).
        vary: a hyper-parameter and its values, as `{"removed_backward": (0, 0.5)}` or
            `"removed_backward=0,0.5"`. Each rule that has it gets one row per value,
            and the report a curve.
        search_spaces: by the name of a rule of this comparison, what a sweep draws in
            place of the rule's own `search_space`: hyper-parameters with `(low, high,
            "log" or "linear")`, as `{"kolen-pollack": {"decay": (1e-4, 1e-2, "log")}}`.
            `{}` for a rule: only its step size is drawn.
        epochs: passes through the training set (default: by data set).
        seeds: number of seeds, from 0 up; they are trained at once.
        batch_size: examples in a batch.
        optimizer: the name of an optimiser of optax or `apical.optim`, with arguments
            if wanted: `"sgd(momentum=0.9)"`.
        learning_rate: its step size, the same for every rule (default: by optimiser).
        loss: `"cross-entropy"`, or `"squared-error"`, half the squared distance to
            one-hot labels or to numbers (default: cross-entropy for classes).
        sweep: number of trials in which each rule searches its step size and
            hyper-parameters, scored on a held-out part of the training set. 0: none.
        shuffle: whether each epoch has a new random order. If not, all epochs have the
            same one, so that the same examples are in a batch together.
        device: `"cpu"`, `"gpu"`, `"tpu"`, or one of several: `"gpu:1"` (default: the
            default device of JAX).
        out: a folder for records, figures and the report. None: nothing is written.
        force: replace an earlier comparison in that folder.
        resume: continue the comparison in that folder, which was begun with the same
            arguments.
        report: draw the figures and write the report; later
            `Comparison.read(out).save_report(out)` does the same.
        console: where to show progress. None: nothing is shown.
        callbacks: each is called with an `EpochEvent` (new lines, trained models)
            before the training of each model by each rule, and after every epoch:
            `lab.TensorBoard`, `lab.WeightsAndBiases`, `lab.OrbaxCheckpoints`, or any
            function. If it has a method `close`, that is called at the end, also after
            an interruption.
        engine: where rules are trained: `"ray"`, `"ray(address='10.0.0.1:6379')"`,
            `"slurm(slurm_partition='cpu')"`, `lab.RayEngine(...)` or
            `lab.SlurmEngine(...)`. The numbers are those of a local run. None: in this
            process, one rule after the other.

    Returns:
        The comparison.

    Raises:
        LabError: for an unknown name, an invalid file or setting, a folder that is in
            use or cannot be written, data that are not finite, a device that is not
            there, or a cluster that does not answer.
        TaskError: for an error in another process, with its traceback.

    Example:
        >>> from apical import lab
        >>> result = lab.compare(models=["mlp"], rules=["backpropagation"], epochs=1)
        >>> len(result.records)  # five seeds, before training and after an epoch
        10
    """
    if resume and out is None:
        raise LabError("resume=True needs out=, the folder of the comparison")
    require_callbacks(callbacks)
    engine = find_engine(engine)
    if engine is not None and device is not None:
        raise LabError(
            f"--device {device}: an engine trains on the default device of JAX on each "
            "node; ask it for GPUs, as ray(gpus=1), or set JAX_PLATFORMS there"
        )
    folder = None if out is None else Path(out)
    with ExitStack() as stack:
        stack.enter_context(on_device(device))
        plan = make_plan(
            data=data,
            data_dir=data_dir,
            download=download,
            models=models,
            rules=rules,
            vary=vary,
            search_spaces=search_spaces,
            epochs=epochs,
            seeds=seeds,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            loss=loss,
            sweep=sweep,
            shuffle=shuffle,
            device=device,
        )
        workers = None
        if engine is not None:
            workers = stack.enter_context(engine.connected(folder))
            plan = with_environment(plan, workers)
        store = stack.enter_context(open_folder(folder, plan.settings, force, resume))
        with progress_bar(console) as reporter, closing(callbacks):
            if engine is None or workers is None:
                _run(plan, store, reporter, callbacks)
            else:
                workers.begin(plan, follow=bool(callbacks), resume=resume)
                Driver(plan, engine, workers, store, reporter, callbacks).run()
        store.sort(plan.settings)
        tables = (store.records, store.layers, store.trials, store.costs)
        lines = (table.lines for table in (*tables, store.regimes))
        result = Comparison(*lines, settings=plan.settings)
        if folder is not None and report:
            result.save_report(folder)
    return result


def resume(
    folder: str | Path,
    console: Console | None = None,
    callbacks: Sequence[Callback] = (),
    engine: str | Engine | None = None,
) -> Comparison:
    """Continue an interrupted comparison with the arguments it was begun with.

    Args:
        folder: its output folder.
        console: where to show progress. None: nothing is shown.
        callbacks: as of `compare`; not called again for epochs that had ended.
        engine: as of `compare`; it may be another than before, on machines of the same
            kind. What an engine had not brought to its end (trials, cost or training of
            a rule) starts again, and so do the calls of callbacks for it.

    Returns:
        The comparison, with the same results as if it had not been interrupted.

    Raises:
        LabError: for a folder without a comparison, or if data, versions or machine
            have changed since it was begun.
    """
    begun = arguments(read_settings(Path(folder)))
    return compare(
        **begun,
        out=folder,
        resume=True,
        console=console,
        callbacks=callbacks,
        engine=engine,
    )


def _run(
    plan: Plan,
    store: ResultStore,
    reporter: ProgressReporter,
    callbacks: Sequence[Callback],
) -> None:
    store.require_runs(plan.settings)
    reporter.describe("getting ready")
    todo = [
        (runner, name, spec, runner.seconds(name, spec))
        for runner in plan.runners(store, callbacks)
        for name, spec in plan.specs.items()
    ]
    left = [seconds for *_, seconds in todo if seconds]
    reporter.expect(sum(left), len(left))
    for runner, name, spec, seconds in todo:
        runner.run(name, spec, seconds, reporter)
