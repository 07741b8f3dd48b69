"""Networks, sizes and tasks of the claims about signs and batch norm: Fashion-MNIST.

The networks are fully connected with three hidden layers, with and without batch norm.
A teaching signal passes three synapses, so that their errors add up. Two cores train
all of about sixty settings 21 times in the time of one convolutional network.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from apical.claims._claim import EarlierSetup, Scale, Task, TaskContext
from apical.claims._data import vector_loader
from apical.claims._tasks import RECORD_FIELDS, Size, comparison_task
from apical.claims.networks import batch_norm_mlp, relu_mlp
from apical.lab._rule_spec import RuleSpec
from apical.lab.models import own_model
from apical.lab.run._records import epoch_lines, run_line
from apical.lab.storage._jsonl import Line
from apical.lab.training._optimizers import find_optimizer
from apical.lab.training._setup import TrainConfig, TrainSetup, VmappedRuns
from apical.lab.training._train import Trainer, train
from apical.lab.training._tuning import Choice
from apical.rules import Rule
from apical.rules._base import rule

NETS: dict[str, Callable[..., Any]] = {
    "with batch norm": batch_norm_mlp,
    "plain": relu_mlp,
}
NORMED, PLAIN = NETS
BATCH_MANHATTAN = "batch_manhattan(momentum=0.9)"
MARGIN = 0.5  # points, as on MNIST
SOURCE = (
    "Liao, Leibo & Poggio 2016, How Important Is Weight Symmetry in Backpropagation?, "
    "AAAI"
)
SIZES: dict[Scale, Size] = {
    "full": Size("fashion-mnist", 20_000, None, 128, 4, 5, 16),
    # The step sizes are for batch Manhattan with momentum.
    "quick": Size("digits", None, None, 32, 6, 5, 0, 0.001),
    "smoke": Size("digits", 320, 160, 16, 1, 2, 0, 0.001),
}


def batch_size(size: Size) -> int:
    """The batch size; the digits are few."""
    return 100 if size.data != "digits" else 20


EARLIER_SETUP = EarlierSetup(
    "It had 5 seeds, too few to settle half a point, and step sizes of which the "
    "smallest won for signs: more seeds and smaller steps have been asked for since.",
    trials=16,
)


def with_small_steps(made: Any) -> Any:
    """The rule, of which trials draw step sizes a tenth as large.

    Of steps by the sign alone the smallest that are usually drawn won.
    """
    kind = type(made)
    small = {"rate_scale": kind.rate_scale / 10, "__doc__": kind.__doc__}
    scaled = rule(type(kind.__name__, (kind,), small))
    return scaled(**{field.name: getattr(made, field.name) for field in fields(made)})


def training_task(
    name: str,
    size: Size,
    rules: dict[str, Rule],
    nets: tuple[str, ...] = tuple(NETS),
    **arguments: Any,
) -> Task:
    """A task that compares these rules on these networks.

    Args:
        name: of the task; every line has it as `task`.
        size: how much is run.
        rules: by name.
        nets: which of `NETS`.
        arguments: of `compare`, in place of those of the size.
    """

    def all_arguments() -> dict[str, Any]:
        widths = (size.width,) * 3
        return {
            "models": {net: NETS[net](*widths) for net in nets},
            "rules": rules,
            "batch_size": batch_size(size),
            **size.arguments,
            **arguments,
        }

    data = vector_loader(size.data, size.trained, size.tested)
    return comparison_task(name, all_arguments, data)


def batch_manhattan_task(
    scale: Scale, rules: dict[str, Rule], seeds: int | None = None
) -> Task:
    """A task that compares these rules with batch norm and batch Manhattan.

    Args:
        scale: of the run.
        rules: by name.
        seeds: at full scale, in place of those of `SIZES`.
    """
    epochs = {"full": 8, "quick": 6, "smoke": 1}[scale]
    size = SIZES[scale]._replace(epochs=epochs)
    if seeds is not None and scale == "full":
        size = size._replace(seeds=seeds)
    return training_task("train", size, rules, (NORMED,), optimizer=BATCH_MANHATTAN)


def step_size_task(
    rates: tuple[float, ...],
    size: Size,
    net: str,
    named_rule: tuple[str, Rule],
    columns: Mapping[str, Any],
    shuffle: bool,
    optimizer: str = "sgd",
) -> Task:
    """A task that trains one network with one rule at every rate.

    The runs of all rates and seeds are compiled as one.

    Args:
        rates: step sizes.
        size: how much is run.
        net: which of `NETS`.
        named_rule: the name of the rule, and the rule.
        columns: more fields of every line.
        shuffle: whether the examples are shuffled again in every epoch.
        optimizer: by name; gradient descent unless another is given.
    """
    name, rule = named_rule

    def run(context: TaskContext) -> Iterator[Line]:
        data = vector_loader(size.data, size.trained, size.tested)(context)
        make, rate, _ = find_optimizer(optimizer, rates[0], swept=False)
        work = TrainConfig(
            data,
            net,
            own_model(NETS[net](*(size.width,) * 3), data.kind),
            make,
            rate,
            size.epochs,
            batch_size(size),
            shuffle=shuffle,
        )
        entry = RuleSpec(lambda: rule)
        seeds = tuple(range(size.seeds))
        lanes = VmappedRuns((0,) * len(rates), rates).repeated_with(seeds)
        training = Trainer(TrainSetup(work), entry, lanes)
        shared = run_line(work, name, entry, Choice(rate, {}))
        for epoch in train(training, training.begin()):
            lines = epoch_lines(epoch, lanes.seeds)
            for rate, line in zip(lanes.learning_rates, lines, strict=True):
                full = {**shared, **line, "optimizer": optimizer, "learning_rate": rate}
                yield {k: full[k] for k in RECORD_FIELDS} | dict(columns)

    words = (net, name, *map(str, columns.values()))
    return Task("-".join(words).replace(" ", "-"), run)
