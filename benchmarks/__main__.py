"""Run the benchmarks: `python -m benchmarks [--only mlp,cnn] [--quick] [--out F]`."""

import argparse
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from apical.lab import LabError
from apical.lab.run._device import on_device

from . import (
    _accelerator,
    _closeness,
    _equilibrium,
    _lines,
    _local_objectives,
    _online,
    _online_peers,
    _peers,
    _peers_closeness,
    _scalar_feedback,
    _spike_times,
    _spiking,
    _targets,
)
from ._models import MODELS, Model
from ._records import Record, show, write

Measure = Callable[[Model, _lines.Budget], Iterator[Record]]
LINES: dict[str, Measure] = {
    "feedback": _lines.one_pass,
    "mirror": _lines.mirrored_step,
    "steps": _lines.relaxation,
    "first": _lines.first_call,
    "scalar": _scalar_feedback.one_pair,
    "targets": _targets.targets,
    "local": _local_objectives.local_objectives,
}
SEEDS_BATCH = 64


def main() -> int:
    """Measure, print the table, write the records; 1 if a line was not measured."""
    options = _parse()
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    try:
        with on_device(options.device):
            records = list(_followed(console, options))
    except LabError as error:
        console.print(error, style="red")
        return 1
    order = list(dict.fromkeys(record.section for record in records))
    records.sort(key=lambda record: order.index(record.section))
    show(console, records)
    if options.out:
        write(options.out, records)
    return int(any(record.verdict == "error" for record in records))


def _followed(console: Console, options: argparse.Namespace) -> Iterator[Record]:
    """The records in order, with a line on what is being measured."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("")
        for model, lines, measure in _plan(options):
            progress.update(task, description=f"{model.name}: {lines}")
            yield from measure(model, options.budget)


def _plan(options: argparse.Namespace) -> Iterator[tuple[Model, str, Measure]]:
    for name in options.only:
        model = MODELS[name]()
        if name == "digits":
            # The default for a data set of 1,797 examples.
            args = tuple(arg[:SEEDS_BATCH] for arg in model.args)
            if "seeds" in options.lines:
                measure = partial(_lines.seeds, limit=3.0)
                yield replace(model, args=args), "seeds", measure
            continue
        if name == "lstm" and "seeds" in options.lines:
            yield model, "seeds", _lines.seeds
        for lines, measure in LINES.items():
            if lines in options.lines:
                yield model, lines, measure
    if "settling" in options.lines:
        for model in _equilibrium.models():
            yield model, "settling", _equilibrium.settled
    if "closeness" in options.lines:
        for model in _closeness.models():
            yield model, "closeness", _closeness.measured
    if "online" in options.lines:
        for model in _online.models():
            yield model, "online", _online.measured
    if "online-peers" in options.lines:
        for model in _online_peers.models():
            yield model, "online-peers", _online_peers.measured
    if "peers" in options.lines:
        for model in _peers.models():
            if model.name in options.only:
                yield model, "peers", _peers.measured
    if "spike-times" in options.lines:
        for model in _spike_times.models():
            yield model, "spike-times", _spike_times.measured
    if "peers-closeness" in options.lines:
        for model in _peers_closeness.models():
            yield model, "peers-closeness", _peers_closeness.measured
    if "accelerator" in options.lines:
        for model in _accelerator.models(4 if options.quick else None):
            yield model, "accelerator", _accelerator.measured
    if "spiking" in options.lines:
        for model in _spiking.models():
            yield model, "spiking", _spiking.measured


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", type=_names(MODELS), default=list(MODELS), help=f"of {list(MODELS)}"
    )
    lines = [*LINES, "seeds", "settling", "closeness", "online"]
    known = [*lines, "peers", "peers-closeness", "online-peers"]
    known += ["spike-times", "spiking", "accelerator"]
    # They run only if named: the larger models are for GPUs (`make bench-gpu`), and the
    # peers create their own environments.
    parser.add_argument(
        "--lines", type=_names(known), default=lines, help=f"of {known}"
    )
    parser.add_argument("--device", help="cpu, gpu, or gpu:1 (default: that of JAX)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--out", type=Path, help="a file for the records, JSON lines")
    options = parser.parse_args()
    options.budget = _lines.Budget.quick() if options.quick else _lines.Budget()
    return options


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown} not among {list(known)}")
        return chosen

    return names


if __name__ == "__main__":
    raise SystemExit(main())
