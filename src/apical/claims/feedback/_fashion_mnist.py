"""Networks, sizes and tasks of the claims about signs and batch norm: Fashion-MNIST.

Fully connected with three hidden layers, with and without batch norm. A teaching signal
passes three synapses, so that errors of one add up; and an hour on two cores trains
each of about sixty settings 21 times, where it would train one convolutional net.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from apical import rules
from apical.claims._claim import Scale, Task, TaskContext
from apical.claims._data import load_vectors
from apical.claims._tasks import RECORD_FIELDS, Size, comparison_task
from apical.claims.networks import batch_norm_mlp, relu_mlp
from apical.lab._rule_spec import Entry
from apical.lab.models import own_model
from apical.lab.run._records import epoch_lines, run_line
from apical.lab.storage._jsonl import Line
from apical.lab.training._optimizers import find_optimizer
from apical.lab.training._setup import Lanes, Start, Work
from apical.lab.training._train import Run, train
from apical.lab.training._tuning import Choice

NETS: dict[str, Callable[..., Any]] = {
    "with batch norm": batch_norm_mlp,
    "plain": relu_mlp,
}
MARGIN = 0.5  # points: Fashion-MNIST is like MNIST
SOURCE = (
    "Liao, Leibo & Poggio 2016, How Important Is Weight Symmetry in Backpropagation?, "
    "AAAI"
)
SIZES: dict[Scale, Size] = {
    "full": Size("fashion-mnist", 20_000, None, 128, 4, 5, 16),
    # Their step sizes are for batch Manhattan with momentum.
    "quick": Size("digits", None, None, 32, 6, 5, 0, 0.001),
    "smoke": Size("digits", 320, 160, 16, 1, 2, 0, 0.001),
}


def batch_size(size: Size) -> int:
    """Of the examples: the digits are few."""
    return 100 if size.data != "digits" else 20


def training_task(
    name: str,
    size: Size,
    taught: dict[str, rules.Rule],
    nets: tuple[str, ...] = tuple(NETS),
    said: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Task:
    """A task that trains these nets with these rules.

    Args:
        name: of the task; every line has it as `task`.
        size: how much is run.
        taught: the rules by name.
        nets: which of `NETS`.
        said: more columns of every line.
        arguments: of `compare`, in place of those of the size.
    """

    def given() -> dict[str, Any]:
        widths = (size.width,) * 3
        return {
            "models": {net: NETS[net](*widths) for net in nets},
            "rules": taught,
            "batch_size": batch_size(size),
            **size.arguments,
            **arguments,
        }

    data = load_vectors(size.data, size.trained, size.tested)
    return comparison_task(name, given, data, **(said or {}))


def step_size_task(
    rates: tuple[float, ...],
    size: Size,
    net: str,
    taught: tuple[str, rules.Rule],
    said: Mapping[str, Any],
    shuffle: bool,
) -> Task:
    """A task that trains one net with one rule by gradient descent, at every rate.

    Args:
        rates: step sizes.
        size: how much is run.
        net: which of `NETS`.
        taught: the rule's name, and the rule.
        said: more columns of every line.
        shuffle: whether the examples are shuffled anew in every epoch.
    """
    name, rule = taught

    def run(context: TaskContext) -> Iterator[Line]:
        data = load_vectors(size.data, size.trained, size.tested)(context)
        optimizer, rate, _ = find_optimizer("sgd", rates[0], swept=False)
        work = Work(
            data,
            net,
            own_model(NETS[net](*(size.width,) * 3), data.kind),
            optimizer,
            rate,
            size.epochs,
            batch_size(size),
            shuffle=shuffle,
        )
        entry = Entry(lambda: rule)
        seeds = tuple(range(size.seeds))
        lanes = Lanes((0,) * len(rates), rates).each_with(seeds)
        training = Run(Start(work), entry, lanes)
        shared = run_line(work, name, entry, Choice(rate, {}))
        for epoch in train(training, training.begin()):
            lines = epoch_lines(epoch, lanes.seeds)
            for rate, line in zip(lanes.learning_rates, lines, strict=True):
                told = {**shared, **line, "optimizer": "sgd", "learning_rate": rate}
                yield {k: told[k] for k in RECORD_FIELDS} | dict(said)

    return Task("-".join([net, name, *map(str, said.values())]).replace(" ", "-"), run)
