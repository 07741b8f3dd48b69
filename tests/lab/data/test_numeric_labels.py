"""Labels that are numbers: a regression, from the file to the page."""

import re

import numpy as np
import pytest
from rich.console import Console
from support.lab_files import tiny
from support.lab_runs import compared

from apical import lab
from apical.lab.data._labels import Classes, Numbers, labels_of
from apical.lab.training._setup import held_out

NAMES = ["backpropagation", "feedback-alignment", "untrained-hidden-layers"]


def arrays(outputs: int | None = 2, examples: int = 160) -> dict[str, np.ndarray]:
    """Smooth functions of three numbers: easily learned."""
    rng = np.random.default_rng(0)

    def part(number):
        x = rng.normal(size=(number, 3))
        y = np.stack([np.sin(x[:, 0]) + x[:, 1], x[:, 1] - x[:, 2]], axis=1)
        return x, y[:, 0] if outputs is None else y[:, :outputs]

    (train_x, train_y), (test_x, test_y) = part(examples), part(40)
    return dict(train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y)


@pytest.fixture
def save(tmp_path):
    def write(**given):
        np.savez(tmp_path / "mine.npz", **given)
        return str(tmp_path / "mine.npz")

    return write


@pytest.mark.parametrize(("outputs", "found"), [(None, 1), (1, 1), (2, 2)])
def test_floating_point_labels_are_numbers(save, outputs, found):
    given = arrays(outputs)
    data = lab.load(save(**given))
    assert data.has_numbers and data.classes == found
    assert data.train_y.shape == (160, found) and data.train_y.dtype == np.float32
    np.testing.assert_allclose(data.test_y.ravel(), given["test_y"].ravel(), rtol=1e-6)
    assert "share of their variance that is explained" in data.note


def test_whole_numbers_stay_classes():
    assert not tiny().has_numbers
    assert labels_of(tiny()) == Classes(10)


def test_the_score_is_that_of_the_textbook():
    y = np.float32([[1, 5], [2, 0], [4, 1], [3, 3]])
    out = np.float32([[1, 4], [2, 1], [3, 1], [3, 2]])
    labels = Numbers(tuple(y.var(axis=0).tolist()))
    found = float(np.mean(labels.score_of_each(out, y)))
    residual = ((y - out) ** 2).sum(axis=0)
    total = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    assert found == pytest.approx(float(np.mean(1 - residual / total)))
    assert float(np.mean(labels.score_of_each(y, y))) == 1
    mean = np.broadcast_to(y.mean(axis=0), y.shape)
    assert float(np.mean(labels.score_of_each(mean, y))) == pytest.approx(0, abs=1e-6)


def test_trials_are_scored_by_the_variance_of_what_was_held_out(save):
    data = lab.load(save(**arrays()))
    part = held_out(data)
    assert labels_of(part) != labels_of(data)
    assert labels_of(part) == Numbers(tuple(np.var(part.test_y, 0, float).tolist()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    np.savez(folder / "mine.npz", **arrays())
    return compared(
        **dict(data=folder / "mine.npz", rules=NAMES, epochs=12, learning_rate=0.01),
        **dict(sweep=2, out=folder / "out", report=True),
    ), folder / "out"


@pytest.mark.sweep
def test_a_regression_is_learned(whole):
    for row in whole[0].rows:
        assert (row.status, row.score.name) == ("ok", "R²")
        assert 0.9 < row.accuracy.mean < 1


def test_the_files_call_the_score_by_its_name(whole):
    record, trial = whole[0].records[-1], whole[0].trials[-1]
    assert record["score"] == "r2" and record["loss"] == "squared-error"
    assert record["test_r2"] < 1 and "test_accuracy" not in record
    assert trial["held_out_r2"] < 1 and "held_out_accuracy" not in trial
    again = lab.Comparison.read(whole[1])
    assert str(again.rows) == str(whole[0].rows)


def test_the_loss_is_half_the_squared_error(whole):
    (first, *_), last = whole[0].records, whole[0].records[5]
    variance = labels_of(lab.load(whole[1].parent / "mine.npz")).variance
    # R² of an output near zero, and half the mean square of what it is short of.
    assert first["test_loss"] == pytest.approx(sum(variance) / 2, rel=0.4)
    assert first["test_r2"] < 0.3 and last["epoch"] == 2


def test_no_accuracy_is_spoken_of(whole):
    console = Console(width=100)
    with console.capture() as captured:
        console.print(whole[0].table)
    page = (whole[1] / "report.html").read_text("utf-8")
    text = " ".join(captured.get().split())
    assert "R² %" in captured.get() and "R² after the last epoch" in text
    words = re.sub(r"<style>.*?</style>|<script>.*?</script>|@\w+\{.*", "", page)
    for said in (text, words, *(p.read_text("utf-8") for p in whole[1].glob("*.svg"))):
        assert "accura" not in said.lower()
    assert "scored on the same" in page and "one example is" not in page
    assert "explained" in page and "of the variance of the test set" in page


def test_a_picture_may_have_numbers_too():
    data = tiny()
    y = {k: getattr(data, k).astype(np.float32) for k in ("train_y", "test_y")}
    found = compared(data=data._replace(**y, classes=1), rules=NAMES[:1], epochs=1)
    assert found.rows[0].status == "ok"
    assert "if they are classes, convert them with astype('int32')" in str(
        found.table.caption
    )


WRONG = {
    "unlike": (lambda a: a.update(test_y=a["test_y"].astype(int)), "test_y is int64"),
    "widths": (
        lambda a: a.update(test_y=a["test_y"][:, :1]),
        "test_y has the shape (40, 1): labels that are numbers must be (examples,) or",
    ),
    "three axes": (
        lambda a: a.update(train_y=a["train_y"][:, :, None]),
        "train_y has the shape (160, 2, 1)",
    ),
    "nan": (lambda a: a["train_y"].__setitem__((3, 1), np.nan), "train_y[3, 1] is nan"),
    "still": (
        lambda a: a["test_y"].__setitem__((..., 1), 2.0),
        "test_y[:, 1] is 2 for",
    ),
    "one-hot": (
        lambda a: a.update(
            train_y=np.eye(2)[np.arange(160) % 2], test_y=np.eye(2)[np.arange(40) % 2]
        ),
        "of labels in one-hot form take argmax(1)",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_numbers_that_cannot_be_are_refused(save, wrong):
    change, message = WRONG[wrong]
    given = arrays()
    lab.load(save(**given))  # the control
    change(given)
    with pytest.raises(lab.LabError, match=re.escape(message)):
        lab.load(save(**given))


def test_numbers_of_another_size_than_rates_suit_are_told(save):
    given = arrays()
    assert "standard deviation" not in lab.load(save(**given)).note
    given["train_y"] *= 1000
    assert "so divide by it" in lab.load(save(**given)).note


def test_a_loss_of_classes_is_refused(save):
    with pytest.raises(lab.LabError, match="the labels of mine"):
        compared(data=save(**arrays()), loss="cross-entropy")


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_rule_that_needs_classes_says_so(save, outputs):
    found = compared(
        data=save(**arrays(outputs)), rules=["forward-forward"], epochs=1
    ).records[0]
    assert found["status"] == "refused"
    assert "a regression has no" in found["message"]
