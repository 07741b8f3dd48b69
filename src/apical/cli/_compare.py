"""`apical compare`."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console

from apical.cli._app import app, lab, stop, stops
from apical.lab.report._terminal import print_text


@app.command()
def compare(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help="digits, mnist, fashion-mnist, cifar10 (with -rows: the sequence of "
            "their rows), shakespeare, spoken-digits; tasks, with arguments if wanted: "
            "yin-yang, yin-yang-spikes, copy, adding, store-recall, "
            "evidence-accumulation, 'copy(delay=50)'; or the path of a text, or of an "
            ".npz file with train_x, train_y, test_x and test_y."
        ),
    ] = "digits",
    data_dir: Annotated[
        Path | None, typer.Option(help="The folder with the files of the data set.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download files that are missing.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="mlp, mlp-tanh, cnn, lenet, resnet (images); rnn, lstm, gru (text, "
            "sequences); transformer (text); lif, alif (spiking: sequences); or "
            "your_module:factory. Repeat it for several models. Default: by kind of "
            "data."
        ),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            help="Names separated by commas (see `apical rules`), or your_module:Rule; "
            "with arguments: 'kolen-pollack(decay=0.2)'; all: every rule. Default: "
            "twelve of them."
        ),
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER=VALUES",
            help="A hyper-parameter and values: 'removed_backward=0,0.5,0.9'. Each "
            "rule that has it gets a row per value, and the report a curve.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Default: 8 on digits, digits-rows and spoken-digits, otherwise 5."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds, trained together.")] = 5,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 64,
    optimizer: Annotated[
        str,
        typer.Option(
            help="An optimiser of optax, momentum, or batch_manhattan; with arguments: "
            "'sgd(momentum=0.9)'."
        ),
    ] = "adam",
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--rate",
            help="Step size, the same for all rules. Default: by optimiser.",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="cross-entropy, or squared-error (half the squared distance to "
            "one-hot labels). Default: cross-entropy; squared-error for a regression."
        ),
    ] = None,
    sweep: Annotated[
        int,
        typer.Option(
            help="Trials in which each rule searches its step size and "
            "hyper-parameters, scored on held-out examples (at least 2; 0: no tuning)."
        ),
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, gpu, or one of several: gpu:1. Default: that of JAX."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for records, figures and report. Default: apical-compare."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the comparison in that folder.")
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Train on other machines: ray or slurm, with arguments if wanted: "
            "'ray(cpus=8, gpus=1)', 'slurm(slurm_partition=\"gpu\", gpus_per_node=1)'. "
            "Default: in this process."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The head of a Ray cluster, or auto: the cluster of this machine. "
            "Default: RAY_ADDRESS, or Ray on this machine alone.",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write every epoch there, for TensorBoard, too."
        ),
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT",
            help="Log every epoch to Weights & Biases too (WANDB_MODE=offline: without "
            "network).",
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Save every trained model there by orbax, too."
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write a trace of jax.profiler there (large)."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Resume the comparison in this folder, with its own settings.",
        ),
    ] = None,
) -> None:
    """Train the same model with each rule; write records, figures and a report."""
    if resume is not None:
        _require_alone(context, resume)
    console = Console()
    folder = resume or out or lab().free_folder()
    hint = f"To resume: apical compare --resume {folder}"
    with stops(hint), _profiled(profile):
        beside: dict[str, Any] = {
            "callbacks": _writers(tensorboard, wandb, checkpoints),
            "engine": lab().find_engine(engine, address),
            "console": console,
        }
        if resume is not None:
            result = lab().resume(resume, **beside)
        else:
            result = lab().compare(
                data=data,
                data_dir=data_dir,
                download=download,
                models=model or None,
                rules=lab().COMPARED if rules is None else rules,
                vary=vary,
                epochs=epochs,
                seeds=seeds,
                batch_size=batch_size,
                optimizer=optimizer,
                learning_rate=learning_rate,
                loss=loss,
                sweep=sweep,
                device=device,
                out=folder,
                force=force,
                **beside,
            )
    console.print(result.table)
    if result.regimes:
        console.print(result.regime_table)
    print_text(console, f"Report: {folder / 'report.html'} (with records and figures)")


def _writers(
    tensorboard: Path | None, wandb: str | None, checkpoints: Path | None
) -> list[Any]:
    """What is called after every epoch."""
    given = {
        "TensorBoard": tensorboard,
        "WeightsAndBiases": wandb,
        "OrbaxCheckpoints": checkpoints,
    }
    return [getattr(lab(), n)(x) for n, x in given.items() if x is not None]


def _profiled(folder: Path | None) -> AbstractContextManager[Any]:
    """The context that writes a trace into a folder, or none."""
    return nullcontext() if folder is None else jax.profiler.trace(str(folder))


# They change no result.
_BESIDE = frozenset(
    {"resume", "tensorboard", "wandb", "checkpoints", "profile", "engine", "address"}
)


def _require_alone(context: typer.Context, folder: Path) -> None:
    """Refuse other options beside `--resume`, which would have no effect."""
    others = [
        f"--{name.replace('_', '-')}"
        for name in context.params
        if name not in _BESIDE and _is_given(context, name)
    ]
    if others:
        stop(
            f"--resume uses the settings of the comparison in {folder}, so "
            f"{', '.join(others)} would change nothing: leave it out, or start a new "
            "comparison in another folder with --out"
        )


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
