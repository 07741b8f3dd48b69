"""A net trained at many step sizes side by side: one compiled call for all of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from apical import rules
from apical.lab._entry import Entry
from apical.lab._journal import Line
from apical.lab._optimizers import find_optimizer
from apical.lab._records import epoch_lines, run_line
from apical.lab._search import Choice
from apical.lab._start import Start
from apical.lab._train import Run, train
from apical.lab._work import Lanes, Work
from apical.lab.claims._claim import Desk, Task
from apical.lab.claims._comparison import KEPT
from apical.lab.claims._given import vectors
from apical.lab.claims._signs import NETS, Size, batch_size
from apical.lab.models import own_model


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
                yield {k: told[k] for k in KEPT} | dict(said)

    return Task("-".join([net, name, *map(str, said.values())]).replace(" ", "-"), run)
