"""A comparison as a task of a claim, and what claims read off its records."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from apical import rules
from apical.claims._claim import Desk, Lines, Scale, Task
from apical.claims._networks import normed, plain
from apical.claims._verdict import Effect, Where, effect
from apical.lab._compare import compare
from apical.lab._comparison import Comparison
from apical.lab._controls import UntrainedHiddenLayers
from apical.lab._registry import BASELINE, CONTROL
from apical.lab._rule_spec import RuleSpec
from apical.lab.data._load import Data, load
from apical.lab.models import own_model
from apical.lab.report._summary import final_by_seed
from apical.lab.run._records import epoch_lines, run_line
from apical.lab.storage._jsonl import Line
from apical.lab.storage._output_dir import SETTINGS
from apical.lab.training._optimizers import find_optimizer
from apical.lab.training._setup import TrainConfig, TrainSetup, VmappedRuns
from apical.lab.training._train import Trainer, train
from apical.lab.training._tuning import Choice

# ---- How much a claim runs at a scale.


class Size(NamedTuple):
    """How much is run.

    Attributes:
        data: the name of the set.
        trained: training examples; None: all.
        tested: test examples; None: all.
        width: of each hidden layer.
        epochs: through the training part.
        seeds: of reported runs.
        sweep: trials of each rule; 0: the step size below.
        rate: the step size where there is no sweep.
    """

    data: str
    trained: int | None
    tested: int | None
    width: int
    epochs: int
    seeds: int
    sweep: int
    rate: float | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `compare` is told of it."""
        return {
            "epochs": self.epochs,
            "seeds": self.seeds,
            "sweep": self.sweep,
            "learning_rate": self.rate,
        }


# ---- The data of a claim, as vectors, cut to the size that its scale has time for.


def vectors(
    name: str, trained: int | None = None, tested: int | None = None
) -> Callable[[Desk], Data]:
    """What gives a set of pictures as vectors, which nets without convolutions read.

    As pictures they would be trained one seed after another: a model of one's own is
    taken to convolve.

    Args:
        name: of the set.
        trained: how many of the first training examples are used; None: all.
        tested: how many of the first test examples; None: all.
    """

    def give(desk: Desk) -> Data:
        data = load(name, desk.data_dir, desk.download)
        return _flat(first(data, trained, tested))

    return give


def first(data: Data, trained: int | None, tested: int | None) -> Data:
    """The first examples of both parts of a set."""
    note = data.note
    if trained is not None and trained < len(data.train_y):
        cut = f"the first {trained:,} of {len(data.train_y):,} training examples"
        note = f"{note}; {cut}" if note else cut
    return data._replace(
        train_x=data.train_x[:trained],
        train_y=data.train_y[:trained],
        test_x=data.test_x[:tested],
        test_y=data.test_y[:tested],
        note=note,
    )


def _flat(data: Data) -> Data:
    return data._replace(
        kind="vectors",
        train_x=data.train_x.reshape(len(data.train_x), -1),
        test_x=data.test_x.reshape(len(data.test_x), -1),
    )


KEPT = (
    *("data", "model", "rule", "hyper_parameters", "optimizer", "learning_rate"),
    *("batch_size", "epochs", "seed", "epoch", "status", "message"),
    *("training_loss", "test_loss", "test_accuracy", "alignment"),
    *("seconds_per_step", "seconds_per_step_of_backpropagation"),
)
KEPT_OF_TRIALS = (
    *("data", "model", "rule", "trial", "seeds_of_trial", "learning_rate", "numbers"),
    *("status", "held_out_accuracy", "held_out_loss", "chosen"),
)


def comparison(
    name: str,
    arguments: Callable[[], dict[str, Any]],
    data: Callable[[Desk], Data] | None = None,
    by_layer: bool = False,
    **said: Any,
) -> Task:
    """A task that runs `apical.lab.compare`, and goes on where it was cut off.

    Its lines are followed by those of the trials, which have a `trial`.

    Args:
        name: of the task.
        arguments: gives the arguments of `compare`, when they are needed.
        data: gives the data where they are not named among the arguments.
        by_layer: whether lines have the alignment of each parameter as well.
        said: more columns, the same in every line.
    """

    def run(desk: Desk) -> list[Line]:
        made = {} if data is None else {"data": data(desk)}
        where = {"data_dir": desk.data_dir, "download": desk.download}
        result = compare(
            **{**where, **arguments(), **made},
            out=desk.folder,
            resume=(desk.folder / SETTINGS).exists(),
            report=False,
            console=desk.console,
        )
        more = _by_layer(result) if by_layer else {}
        lines = [
            {k: r[k] for k in KEPT} | said | more.get(_key(r), {})
            for r in result.records
        ]
        return lines + [{k: t[k] for k in KEPT_OF_TRIALS} | said for t in result.trials]

    return Task(name, run)


def _by_layer(result: Comparison) -> dict[tuple, Line]:
    found: dict[tuple, Line] = {}
    for line in result.layers:
        here = found.setdefault(_key(line), {"alignment_by_layer": {}})
        here["alignment_by_layer"][line["parameter"]] = line["alignment"]
    return found


def _key(line: Line) -> tuple:
    return line["model"], line["rule"], line["seed"], line["epoch"]


def last(lines: Lines, field: str = "test_accuracy", **where: Any) -> dict[int, float]:
    """A measure after the last epoch by seed, of the lines where these fields agree.

    A seed that diverged or was refused has none.
    """
    return final_by_seed(
        [ln for ln in lines if all(ln.get(k) == v for k, v in where.items())], field
    )


def paired(
    what: str,
    lines: Lines,
    runs: tuple[Where, Where],
    margin: float,
    compared: int = 1,
    lost: float | None = None,
) -> Effect:
    """The difference of two runs' last accuracies (points), paired by seed.

    Args:
        what: what is compared with what.
        lines: of the claim.
        runs: the fields by which the lines of each run are known.
        margin: what counts as no difference, in points.
        compared: how many comparisons are made together.
        lost: the accuracy of a seed that diverged; None: it is left out.
    """
    mine, other = (_ended(lines, where, lost) for where in runs)
    return effect(what, mine, other, margin, compared, runs)


def _ended(lines: Lines, where: Where, lost: float | None) -> dict[int, float]:
    here = [ln for ln in lines if all(ln.get(k) == v for k, v in where.items())]
    every = {} if lost is None else {line["seed"]: lost for line in here}
    return every | percent(final_by_seed(here, "test_accuracy"))


def percent(values: dict[int, float]) -> dict[int, float]:
    """Fractions as points."""
    return {seed: 100 * value for seed, value in values.items()}


# ---- A net trained at many step sizes side by side: one compiled call for all of them.


def trained_at(
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

    def run(desk: Desk) -> Iterator[Line]:
        data = vectors(size.data, size.trained, size.tested)(desk)
        optimizer, rate, _ = find_optimizer("sgd", rates[0], swept=False)
        work = TrainConfig(
            data,
            net,
            own_model(NETS[net](*(size.width,) * 3), data.kind),
            optimizer,
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
                told = {**shared, **line, "optimizer": "sgd", "learning_rate": rate}
                yield {k: told[k] for k in KEPT} | dict(said)

    return Task("-".join([net, name, *map(str, said.values())]).replace(" ", "-"), run)


# ---- What the claims about signs have in common: data, nets, budget.
#
# Three hidden layers, so that a teaching signal passes three synapses: what is wrong
# with
# one of them adds up. Fully connected, because an hour on two cores trains each of some
# sixty settings 21 times that way, and a convolutional net one of them.

NETS: dict[str, Callable[..., Any]] = {"with batch norm": normed, "plain": plain}
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


def baseline_and_control() -> dict[str, rules.Rule]:
    """What stands beside every rule."""
    return {BASELINE: rules.Backpropagation(), CONTROL: UntrainedHiddenLayers()}


def trained(
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

    data = vectors(size.data, size.trained, size.tested)
    return comparison(name, given, data, **(said or {}))
