"""The data of a claim, as vectors, cut to the size that its scale has time for."""

from collections.abc import Callable

from apical.lab._data import Data, load
from apical.lab.claims._claim import Desk


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
