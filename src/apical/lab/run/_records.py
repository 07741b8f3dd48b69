"""What a line says: the setting, the machine, and what was measured."""

import dataclasses
import json
import math
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

import apical
from apical.lab._rule_spec import Entry, descended
from apical.lab.data._labels import ACCURACY, Score
from apical.lab.storage._jsonl import Line
from apical.lab.training._setup import Lanes, Work
from apical.lab.training._train import Epoch, Scores
from apical.lab.training._tuning import Choice

_PACKAGES = ("jax", "jaxlib", "numpy", "optax", "equinox")
_MEASURED = (
    *("training_loss", "test_loss"),
    *("alignment_hidden", "alignment", "norm_ratio", "sign_agreement"),
    *("seconds_per_step", "seconds_per_step_of_backpropagation", "seconds_compiling"),
)


def environment() -> Line:
    """The versions and the kind of machine that a line was made with."""
    return {
        "apical": apical.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "device": jax.devices()[0].device_kind,
    }


def run_line(work: Work, name: str, entry: Entry, chosen: Choice) -> Line:
    """What is the same in all lines of one model and rule."""
    made = dataclasses.replace(entry.make(), **chosen.numbers)
    return {
        "data": work.data.name,
        "model": work.model_name,
        "rule": name,
        "rule_class": type(made).__name__,
        "descends": descended(made, work.loss),
        "needs": ", ".join(entry.needs),
        "hyper_parameters": json.dumps(hyper_parameters(made)),
        "learning_rate": chosen.learning_rate,
        "batch_size": work.batch_size,
        "epochs": work.epochs,
        "training_examples": len(work.data.train_y),
        "test_examples": len(work.data.test_y),
        "note": work.data.note,
    }


def epoch_lines(
    epoch: Epoch, seeds: tuple[int, ...], score: Score = ACCURACY
) -> Iterator[Line]:
    """What was measured after an epoch, by seed."""
    overall, scores = epoch.alignment.overall, epoch.scores
    hidden = epoch.alignment.hidden
    for i, seed in enumerate(seeds):
        lost = bool(scores.diverged[i])
        yield {
            "seed": seed,
            "epoch": epoch.number,
            "status": "diverged" if lost else "ok",
            "message": "loss or outputs not finite" if lost else "",
            "training_loss": plain(epoch.loss[i]),
            "test_loss": plain(scores.loss[i]),
            f"test_{score.field}": plain(scores.accuracy[i]),
            "alignment_hidden": plain(hidden[i]),
            "alignment": plain(overall.cosine[i]),
            "norm_ratio": plain(overall.norm_ratio[i]),
            "sign_agreement": plain(overall.sign_agreement[i]),
            "seconds_per_step": plain(epoch.seconds_per_step),
            "seconds_per_step_of_backpropagation": plain(
                epoch.seconds_per_step_of_backpropagation
            ),
            "seconds_compiling": plain(epoch.seconds_compiling),
        }


def refused_lines(message: str, seeds: tuple[int, ...], score: Score) -> Iterator[Line]:
    """A rule that refuses the model: one line per seed, which says why."""
    for seed in seeds:
        said = {"seed": seed, "epoch": 0, "status": "refused", "message": message}
        yield {**said, **dict.fromkeys((*_MEASURED, f"test_{score.field}"))}


def layer_lines(epoch: Epoch, seeds: tuple[int, ...]) -> Iterator[Line]:
    """Alignment after an epoch, by seed and parameter, in the circuit's order."""
    found = epoch.alignment
    of = {path: name for name, each in found.layers.items() for path in each.parameters}
    for i, seed in enumerate(seeds):
        for place, (path, agreement) in enumerate(found.leaves.items()):
            layer = found.layers.get(of.get(path, ""))  # None: not in the loss
            yield {
                "seed": seed,
                "epoch": epoch.number,
                "place": place,
                "layer": of.get(path),
                "hidden": layer is not None and layer.hidden,
                "layer_alignment": layer and plain(layer.agreement.cosine[i]),
                "parameter": path,
                "alignment": plain(agreement.cosine[i]),
                "norm_ratio": plain(agreement.norm_ratio[i]),
                "sign_agreement": plain(agreement.sign_agreement[i]),
            }


def trial_lines(
    lanes: Lanes,
    seeds: int,
    scores: Scores,
    tested: Scores,
    chosen: int,
    score: Score = ACCURACY,
) -> Iterator[Line]:
    """The trials of a sweep: means over seeds at the end, on both parts left out."""
    for i in range(lanes.count):
        numbers = {name: values[i] for name, values in lanes.numbers.items()}
        yield {
            "trial": i,
            "seeds_of_trial": seeds,
            "learning_rate": lanes.learning_rates[i],
            "numbers": json.dumps(numbers),
            "status": "diverged" if scores.diverged[i] else "ok",
            f"held_out_{score.field}": plain(scores.accuracy[i]),
            "held_out_loss": plain(scores.loss[i]),
            f"test_{score.field}": plain(tested.accuracy[i]),
            "chosen": i == chosen,
        }


def hyper_parameters(rule: Any) -> Line:
    """Every field of a rule, as JSON can hold it."""
    return {
        field.name: plain(getattr(rule, field.name))
        for field in dataclasses.fields(rule)
    }


def plain(value: Any) -> Any:
    """A value as JSON can hold it; a number that is not finite becomes None."""
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, (float, np.number, np.ndarray, jax.Array)):
        return _plain_number(np.asarray(value).tolist())
    if dataclasses.is_dataclass(value):
        return {"name": type(value).__name__, **hyper_parameters(value)}
    return type(value).__name__


def _plain_number(number: Any) -> Any:
    if isinstance(number, list):
        return [_plain_number(item) for item in number]
    return number if math.isfinite(number) else None


def regime_lines(epoch: Any, seed: int) -> Iterator[Line]:
    """The line of an epoch, if its regime was measured."""
    found = epoch.regime
    if found is not None:
        numbers = ("residual", "stiffness", "to_backpropagation", "to_equilibrium")
        yield {
            "seed": seed,
            "epoch": epoch.number,
            **{name: _finite(getattr(found, name)) for name in numbers},
            "steps": found.steps,
            "update": found.update,
            "energy": json.dumps({n: _finite(e) for n, e in found.energy.items()}),
        }


def _finite(number: float) -> float | None:
    return number if abs(number) < float("inf") else None
