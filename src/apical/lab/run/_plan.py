"""The plan of a comparison: its arguments, checked and resolved before any training."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apical.lab._errors import LabError, require_names, resolve_names
from apical.lab._rule_lookup import Rules, Vary, find_rules, listed, with_baselines
from apical.lab._rule_spec import RuleSpec, SearchSpaces, checked_search_spaces
from apical.lab.data._labels import Labels, labels_of
from apical.lab.data._load import Data, check, is_name, load
from apical.lab.models import Model, find_model, own_model
from apical.lab.run._records import Line, environment, hyper_parameters
from apical.lab.run._runner import Callback, ModelRunner, Sweep
from apical.lab.storage._results import ResultStore
from apical.lab.storage._source_digests import digests
from apical.lab.training._loss import LOSSES
from apical.lab.training._optimizers import find_optimizer
from apical.lab.training._setup import TrainConfig, held_out_of
from apical.rules._base import SearchSpace

Models = Iterable[str] | Mapping[str, Callable[..., Any]]
_EPOCHS, _EPOCHS_OF_FEW_EXAMPLES = 5, 8
_MODELS = {
    "pictures": ("mlp", "cnn"),
    "vectors": ("mlp",),
    "characters": ("rnn", "lstm", "transformer"),
    "sequences": ("gru", "lif", "alif"),
}


@dataclass(frozen=True)
class Plan:
    """Data, models, rules and training budget of a comparison.

    Attributes:
        train_config: the fields of `TrainConfig` other than data and model.
        settings: as written to the output folder, and compared when it is resumed.
    """

    data: Data
    models: dict[str, Model]
    specs: dict[str, RuleSpec]
    train_config: dict[str, Any]
    seeds: tuple[int, ...]
    sweep: Sweep | None
    settings: Line

    @property
    def shared(self) -> Line:
        """The fields of every line of every file."""
        return shared(self.settings)

    def trained_in(self, environment: Line) -> "Plan":
        """The same plan for processes with these versions and this device."""
        return replace(self, settings=self.settings | environment)

    def runners(
        self, store: ResultStore, callbacks: Sequence[Callback] = ()
    ) -> list[ModelRunner]:
        """One runner for each model."""
        return [
            ModelRunner(
                TrainConfig(self.data, name, model, **self.train_config),
                self.seeds,
                self.sweep,
                store,
                self.shared,
                callbacks,
            )
            for name, model in self.models.items()
        ]


def make_plan(
    *,
    data: str | Path | Data,
    data_dir: str | Path | None,
    download: bool,
    models: Models | None,
    rules: Rules,
    epochs: int | None,
    seeds: int,
    batch_size: int,
    optimizer: str,
    learning_rate: float | None,
    loss: str | None,
    sweep: int,
    shuffle: bool = True,
    vary: Vary | None = None,
    search_spaces: SearchSpaces | None = None,
    device: str | None = None,
) -> Plan:
    """Check the arguments of `compare` and resolve names."""
    _require_whole(epochs=epochs, seeds=seeds, batch_size=batch_size, sweep=sweep)
    rules = listed(rules)
    data = _named(data)
    specs = find_rules(rules, vary)
    if loss is not None:
        resolve_names("loss", [loss], LOSSES)
    make, rate, span = find_optimizer(optimizer, learning_rate, swept=sweep > 0)
    found = check(data) if isinstance(data, Data) else load(data, data_dir, download)
    labels = labels_of(found)
    loss = _find_loss(loss, labels, found.name)
    specs = with_baselines(specs, loss)
    spaces = checked_search_spaces(search_spaces, specs)
    if any(spaces.values()) and not sweep:
        raise LabError(
            "search_spaces needs a sweep: give the number of trials, sweep=8"
        )
    for name, space in spaces.items():
        specs[name] = replace(specs[name], search_space=space)
    chosen = _find_models(models, found.kind)
    if epochs is None:
        few = data in ("digits", "digits-rows", "spoken-digits")
        epochs = _EPOCHS_OF_FEW_EXAMPLES if few else _EPOCHS
    _require_counts(found, epochs, seeds, batch_size, sweep)
    settings = {
        "data": _written(data),
        "data_dir": None if data_dir is None else str(Path(data_dir).absolute()),
        "models": list(chosen),
        "rules": list(specs),
        "epochs": epochs,
        "seeds": seeds,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "loss": loss,
        "score": labels.score.field,
        "sweep": sweep,
        "shuffle": shuffle,
        "hyper_parameters": {n: hyper_parameters(e.make()) for n, e in specs.items()},
        "given_as_objects": _objects(data=data, models=models, rules=rules),
        "fingerprint_of_data": found.fingerprint,
        **_listed(spaces),
        **sources([*chosen, *specs]),
        "device_option": device,
        **environment(),
    }
    train_config = {
        "optimizer": make,
        "learning_rate": rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "loss": loss,
        "shuffle": shuffle,
    }
    trials = Sweep(sweep, span) if sweep else None
    return Plan(
        found, chosen, specs, train_config, tuple(range(seeds)), trials, settings
    )


def shared(settings: Line) -> Line:
    """The settings that every line repeats."""
    others = ("data", "data_dir", "models", "rules", "learning_rate")
    others += ("hyper_parameters", "given_as_objects", "search_spaces", "device_option")
    return {name: value for name, value in settings.items() if name not in others}


def arguments(settings: Line) -> Line:
    """The arguments of `compare` in the settings of an earlier comparison."""
    names = (
        *("data", "data_dir", "models", "rules", "epochs", "seeds", "batch_size"),
        *("optimizer", "learning_rate", "loss", "sweep", "shuffle"),
    )
    missing = [n for n in (*names, "given_as_objects") if n not in settings]
    if missing:
        raise LabError(
            f"its settings.json has no {missing[0]!r}, so `apical compare` "
            "did not write it: name the folder that was given as --out"
        )
    if objects := settings["given_as_objects"]:
        raise LabError(
            f"this comparison was begun from Python with {' and '.join(objects)} given "
            "as objects: continue it with `apical.lab.compare(..., out=folder, "
            "resume=True)` and the same arguments"
        )
    found = {name: settings[name] for name in names}
    spaces = settings.get("search_spaces", {})
    found["device"] = settings.get("device_option")
    found["search_spaces"] = {
        rule: {number: tuple(bounds) for number, *bounds in space}
        for rule, space in spaces.items()
    }
    return found


def _find_loss(name: str | None, labels: Labels, data: str) -> str:
    if name is None:
        return labels.losses[0]
    if name not in labels.losses:
        raise LabError(
            f"--loss {name}: the labels of {data} are floating-point numbers, so that "
            f"the loss is {labels.losses[0]}. If they are classes, convert them with "
            "astype('int32')"
        )
    return name


def _find_models(models: Models | None, kind: str) -> dict[str, Model]:
    if isinstance(models, Mapping):
        for name, build in models.items():
            if not callable(build):
                raise LabError(
                    f"models: {name!r} is a {type(build).__name__}, not a function of "
                    "(key, shape, classes)"
                )
        if models:
            return {name: own_model(build, kind) for name, build in models.items()}
    models = models.split(",") if isinstance(models, str) else models
    if models is not None:
        require_names("models", models, "factory")
    names = list(dict.fromkeys(_MODELS[kind] if models is None else models))
    if not names:
        raise LabError("name at least one model")
    return {name.strip(): find_model(name, kind) for name in names}


def _require_counts(
    data: Data, epochs: int, seeds: int, batch_size: int, sweep: int
) -> None:
    for option, number in (("epochs", epochs), ("seeds", seeds)):
        if number < 1:
            raise LabError(f"--{option} {number}: there must be at least one")
    if sweep < 0 or sweep == 1:
        raise LabError(
            f"--sweep {sweep}: there must be at least two trials, or none (0)"
        )
    examples = len(data.train_y)
    if not 1 <= batch_size <= examples:
        raise LabError(
            f"--batch-size {batch_size}: must be 1 to {examples:,}, the number of "
            f"training examples of {data.name}"
        )
    kept = examples - held_out_of(examples) if sweep else examples
    if batch_size > kept:
        raise LabError(
            f"--batch-size {batch_size}: with --sweep it must be at most {kept:,}, as "
            f"trials train on that many of the {examples:,} training examples of "
            f"{data.name}" + ("" if kept else ": too few to hold some out")
        )


def _written(data: str | Data) -> str:
    """The data as they are recorded: a file by its full path."""
    if isinstance(data, Data):
        return data.name
    return data if is_name(data) else str(Path(data).absolute())


def _named(data: Any) -> str | Data:
    """The data, or their name or path as a string."""
    if isinstance(data, Data):
        return data
    if not isinstance(data, str | os.PathLike):
        raise LabError(
            f"data is a {type(data).__name__}: name a data set or a file, or make a "
            "`lab.Data(name, kind, train_x, train_y, test_x, test_y, classes)`"
        )
    return os.fspath(data)


def _require_whole(**numbers: Any) -> None:
    for name, number in numbers.items():
        may_be_left_out = name == "epochs" and number is None
        if not may_be_left_out and type(number) is not int:
            raise LabError(
                f"--{name.replace('_', '-')} {number!r}: must be a whole number, not a "
                f"{type(number).__name__}"
            )


def _listed(spaces: dict[str, SearchSpace]) -> Line:
    """The given search spaces, as lists: their order decides what is drawn."""
    found = {
        rule: [[number, *bounds] for number, bounds in space.items()]
        for rule, space in spaces.items()
    }
    return {"search_spaces": found} if found else {}


def sources(named: list[str]) -> Line:
    """Digests of the user's modules among models and rules, if there are any."""
    found = digests(named)
    return {"sources": json.dumps(found)} if found else {}


def _objects(**arguments: Any) -> list[str]:
    return [name for name, value in arguments.items() if _is_object(value)]


def _is_object(value: Any) -> bool:
    if isinstance(value, Data | Mapping):
        return True
    return isinstance(value, list) and any(isinstance(n, Mapping) for n in value)
