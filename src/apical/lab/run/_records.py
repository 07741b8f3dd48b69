"""Lines of the result files: settings, environment and measurements."""

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
from apical.lab._rule_spec import RuleSpec, descended
from apical.lab.data._labels import ACCURACY, Score
from apical.lab.run._device import current_device
from apical.lab.storage._jsonl import Line
from apical.lab.training._setup import TrainConfig, VmappedRuns
from apical.lab.training._train import Epoch, Scores
from apical.lab.training._tuning import Choice

_PACKAGES = ("jax", "jaxlib", "numpy", "optax", "equinox")
MEASURED = (
    *("training_loss", "test_loss"),
    *("alignment_hidden", "alignment", "norm_ratio", "sign_agreement"),
    *("seconds_per_step", "seconds_per_step_of_backpropagation", "seconds_compiling"),
)


def environment() -> Line:
    """Versions of packages, operating system and device of this process."""
    return {
        "apical": apical.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "device": current_device().device_kind,
    }


def run_line(config: TrainConfig, name: str, spec: RuleSpec, chosen: Choice) -> Line:
    """The fields that all lines of one model and rule share."""
    made = dataclasses.replace(spec.make(), **chosen.numbers)
    return {
        "data": config.data.name,
        "model": config.model_name,
        "rule": name,
        "rule_class": type(made).__name__,
        "descends": descended(made, config.loss),
        "needs": ", ".join(spec.needs),
        "hyper_parameters": json.dumps(hyper_parameters(made)),
        "learning_rate": chosen.learning_rate,
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "training_examples": len(config.data.train_y),
        "test_examples": len(config.data.test_y),
        "note": config.data.note,
    }


def epoch_lines(
    epoch: Epoch, seeds: tuple[int, ...], score: Score = ACCURACY
) -> Iterator[Line]:
    """The measurements after an epoch, one line per seed."""
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
    """One line per seed for a rule that refuses the model, with its message."""
    for seed in seeds:
        known = {"seed": seed, "epoch": 0, "status": "refused", "message": message}
        yield {**known, **dict.fromkeys((*MEASURED, f"test_{score.field}"))}


def layer_lines(epoch: Epoch, seeds: tuple[int, ...]) -> Iterator[Line]:
    """Alignment after an epoch, by seed and parameter, in the order of the circuit."""
    found = epoch.alignment
    of = {path: name for name, each in found.layers.items() for path in each.parameters}
    for i, seed in enumerate(seeds):
        for place, (path, agreement) in enumerate(found.leaves.items()):
            layer = found.layers.get(of.get(path, ""))  # None: not used by the loss
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
    runs: VmappedRuns,
    seeds: int,
    scores: Scores,
    tested: Scores,
    chosen: int,
    score: Score = ACCURACY,
) -> Iterator[Line]:
    """The trials of a sweep: mean scores over seeds, held-out and test."""
    for i in range(runs.count):
        numbers = {name: values[i] for name, values in runs.numbers.items()}
        yield {
            "trial": i,
            "seeds_of_trial": seeds,
            "learning_rate": runs.learning_rates[i],
            "numbers": json.dumps(numbers),
            "status": "diverged" if scores.diverged[i] else "ok",
            f"held_out_{score.field}": plain(scores.accuracy[i]),
            "held_out_loss": plain(scores.loss[i]),
            f"test_{score.field}": plain(tested.accuracy[i]),
            "chosen": i == chosen,
        }


def hyper_parameters(rule: Any) -> Line:
    """The fields of a rule as JSON values."""
    return {
        field.name: plain(getattr(rule, field.name))
        for field in dataclasses.fields(rule)
    }


def plain(value: Any) -> Any:
    """A value as a JSON value; a number that is not finite becomes None."""
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, (float, np.generic, np.ndarray, jax.Array)):
        found = np.asarray(value)
        if found.dtype.kind == "V":  # bfloat16, whose numbers JSON does not know
            found = found.astype(np.float32)
        return _plain_number(found.tolist())
    if dataclasses.is_dataclass(value):
        return {"name": type(value).__name__, **hyper_parameters(value)}
    return type(value).__name__


def _plain_number(number: Any) -> Any:
    if isinstance(number, list):
        return [_plain_number(item) for item in number]
    return number if math.isfinite(number) else None


def regime_lines(epoch: Any, seed: int) -> Iterator[Line]:
    """The line of the regime, if it was measured after this epoch."""
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
