"""The data sets of the claims: loading, subsets, and their names in text."""

from collections.abc import Callable, Sequence

from apical.claims._claim import TaskContext
from apical.lab.data._load import Data, load
from apical.lab.storage._jsonl import Line

# ---- Loading


def vector_loader(
    name: str, trained: int | None = None, tested: int | None = None
) -> Callable[[TaskContext], Data]:
    """A loader of a data set of pictures as vectors, for fully connected networks.

    On pictures the lab takes a user's model to be convolutional, and trains its seeds
    one after another.

    Args:
        name: of the data set.
        trained: how many of the first training examples are used; None: all.
        tested: how many of the first test examples; None: all.
    """

    def loaded(context: TaskContext) -> Data:
        data = load(name, context.data_dir, context.download)
        return _flat(first_examples(data, trained, tested))

    return loaded


def first_examples(data: Data, trained: int | None, tested: int | None) -> Data:
    """The first examples of both parts of a data set."""
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


# ---- Names in text

DATA_NAMES = {
    "digits": "8 x 8 digits",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "shakespeare": "Shakespeare",
    "spoken-digits": "Spoken Digits",
}
_SMALLER = {
    "shakespeare": "a line of Hamlet",
    "spoken-digits": "spike trains that are drawn",
}


def data_names(lines: Sequence[Line]) -> str:
    """The names of the data sets that lines were measured on.

    Example:
        >>> data_names([{"data": "mnist"}, {"data": "mnist"}, {"error": 0.1}])
        'MNIST'
    """
    names = dict.fromkeys(str(line["data"]) for line in lines if line.get("data"))
    return ", ".join(DATA_NAMES.get(name, name) for name in names) or "no data"


def data_in_words(names: Sequence[str]) -> str:
    """The data sets of the full and of the smaller runs of a claim, as text."""
    if not names:
        return "No files: graphs and inputs are drawn at random."
    if tuple(names) == ("digits",):
        return "The 8 x 8 digits, which come with scikit-learn."
    full, small = (
        dict.fromkeys(DATA_NAMES[n] for n in names),
        dict.fromkeys(
            _SMALLER.get(name, f"the {DATA_NAMES['digits']}") for name in names
        ),
    )
    said = f"{' and '.join(full)}. The quick and smoke runs use"
    return f"{said} {' and '.join(small)} instead."
