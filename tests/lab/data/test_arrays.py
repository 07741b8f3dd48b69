"""Arrays given by the user: their kinds, and messages for invalid ones."""

import pickle
import re

import numpy as np
import pytest
from support.lab_files import arrays, tiny

from apical.lab import LabError
from apical.lab.data._load import Data, check, load


@pytest.fixture
def save(tmp_path):
    path = tmp_path / "mine.npz"

    def write(**given):
        np.savez(path, **given)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("kind", "found", "shape"),
    [
        ("vectors", "vectors", (4,)),
        ("pictures", "pictures", (2, 5, 5)),
        ("bytes", "pictures", (2, 5, 5)),
        ("characters", "characters", (8,)),
    ],
)
def test_types_and_shapes_say_what_the_arrays_are(save, kind, found, shape):
    data = load(save(**arrays(kind)))
    assert (data.name, data.kind, data.shape) == ("mine.npz", found, shape)
    assert data.classes == (7 if kind == "characters" else 3)
    wanted = np.int32 if kind == "characters" else np.float32
    assert data.train_x.dtype == data.test_x.dtype == wanted
    assert data.train_y.dtype == data.test_y.dtype == np.int32


def test_a_file_may_say_that_its_floats_are_sequences(save):
    x, y = np.zeros((3, 6, 2)), np.array([[0, -1], [-1, 1], [1, 1]])
    given = {"train_x": x, "train_y": y, "test_x": x, "test_y": y}
    data = load(save(**given, kind="sequences"))
    assert (data.kind, data.shape, data.classes) == ("sequences", (6, 2), 2)
    assert data.train_y.tolist() == y.tolist()
    alone = {**given, "train_y": y[:, 1] % 2, "test_y": y[:, 1] % 2}
    assert load(save(**alone)).kind == "vectors"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("sequence", "kind is .sequence., not one of pictures, characters, seq"),
        (["sequences"], "kind is .*, not one of"),
        ("characters", r"train_x is float64 \(12, 4\), and characters are integers"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(save, kind, message):
    with pytest.raises(LabError, match=message):
        load(save(**arrays("vectors"), kind=kind))


def test_bytes_are_standardised_and_floats_are_left_as_they_are(save):
    given = arrays("pictures")
    data = load(save(**given))
    np.testing.assert_array_equal(data.train_x, given["train_x"].astype(np.float32))
    assert "used as given, not standardised" in data.note
    data = load(save(**arrays("bytes")))
    np.testing.assert_allclose(data.train_x.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(data.train_x.std((0, 2, 3)), 1, atol=1e-5)
    assert data.note == ""


def spoiled(key, place, value):
    """A change of the arrays that are right: one entry of one array."""

    def change(given):
        given[key][place] = value

    return change


def replaced(key, change):
    """A change of the arrays that are right: one array for another."""

    def change_all(given):
        given[key] = change(given[key])

    return change_all


WRONG = {
    "missing": (lambda a: a.pop("test_y"), "has no array test_y; it has train_x, trai"),
    "nan": (spoiled("train_x", (5, 1), np.nan), "train_x[5, 1] is nan"),
    "infinite": (spoiled("test_x", (2, 3), -np.inf), "test_x[2, 3] is -inf"),
    "too large": (spoiled("train_x", (0, 0), 1e300), "train_x[0, 0] is inf"),
    "negative": (spoiled("train_y", 4, -1), "train_y[4] is -1: it should be 0 to 2"),
    "not whole": (
        replaced("train_y", lambda y: y + 0.5),
        "test_y is int64, but train_y is float64: both must be whole numbers",
    ),
    "lengths": (
        replaced("train_y", lambda y: y[:-1]),
        "train_x has the shape (12, 4) and mine.npz: train_y (11,)",
    ),
    "empty": (replaced("test_y", lambda y: y[:0]), "test_y is empty"),
    "one-hot": (
        replaced("train_y", lambda y: np.eye(3, dtype=int)[y]),
        "train_y has the shape (12, 3): there must be one label for each example",
    ),
    "objects": (
        replaced("train_x", lambda x: x.astype(object)),
        "train_x cannot be read",
    ),
    "widths": (
        replaced("test_x", lambda x: x[:, :3]),
        "train_x is float64 (12, 4), but test_x is float64 (6, 3)",
    ),
    "words": (replaced("train_x", lambda x: x.astype(str)), "train_x is <U"),
    "flat": (replaced("train_x", lambda x: x[:, 0]), "train_x is float64 (12,)"),
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_what_is_wrong_is_named_with_its_key_and_first_place(save, wrong):
    change, message = WRONG[wrong]
    given = arrays()
    load(save(**given))  # the control: unspoiled they are taken
    change(given)
    with pytest.raises(LabError, match=re.escape(message)):
        load(save(**given))


def test_labels_that_are_all_alike_are_nothing_to_tell_apart(save):
    given = arrays()
    given["train_y"][:] = given["test_y"][:] = 0
    with pytest.raises(LabError, match="classes = 1, but there must be at least 2"):
        load(save(**given))


def test_pictures_of_bytes_without_channels_are_of_no_kind(save):
    given = arrays("bytes")
    given["train_x"], given["test_x"] = given["train_x"][:, 0], given["test_x"][:, 0]
    message = r"uint8 \(12, 5, 5\) .* none of: pictures, uint8 or floats \(examples, ch"
    with pytest.raises(LabError, match=message):
        load(save(**given))


@pytest.mark.parametrize("content", [b"", b"no zip", pickle.dumps([1]), None])
def test_what_is_no_npz_file_is_refused_and_no_pickle_is_opened(tmp_path, content):
    path = tmp_path / "mine.npz"
    if content is None:
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(LabError, match=r"mine.npz is not an .npz file"):
        load(str(path))


def test_a_torn_npz_file_names_the_array(save):
    path = save(**arrays())
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(b"\xff" * 8)
    with pytest.raises(LabError, match=r"mine.npz: train_x cannot be read"):
        load(path)


def test_data_given_from_python_leaves_with_the_types_of_the_lab():
    given = arrays()
    data = check(Data("mine", "vectors", *given.values(), classes=3))
    assert data.train_x.dtype == np.float32 and data.test_y.dtype == np.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sounds"}, "no data is of the kind 'sounds'. There are: pictures"),
        ({"kind": "pictures"}, r"must be \(examples, channels, height, width\)"),
        ({"kind": "characters"}, "should be of whole numbers"),
        ({"classes": 2}, r"train_y\[2\] is 2: it should be 0 to 1, as there are 2 cl"),
        ({"classes": 3.0}, "classes must be a whole number, not 3.0"),
        ({"classes": 2**40}, "too many: at most 1,000,000, numbered from 0"),
        ({"train_x": [1.0]}, "train_x is a list: make it a NumPy array"),
        ({"train_x": np.zeros((12, 3))}, r"shape \(3,\), one of test_x \(4,\)"),
        ({"train_x": np.zeros((12, 4), np.uint8)}, r"convert it with astype\('float32"),
        ({"test_x": np.full((6, 4), np.nan)}, r"test_x\[0, 0\] is nan"),
    ],
)
def test_data_given_from_python_is_checked_in_the_same_way(change, message):
    right = Data("mine", "vectors", *arrays().values(), classes=3)
    check(right)
    with pytest.raises(LabError, match=f"mine: .*{message}"):
        check(right._replace(**change))


def test_each_character_needs_the_one_that_follows_it():
    right = Data("mine", "characters", *arrays("characters").values(), classes=7)
    check(right)
    with pytest.raises(LabError, match="each character needs the one that follows"):
        check(right._replace(train_y=right.train_y[:, :-1]))


def test_a_fingerprint_is_of_every_number_and_not_of_the_name():
    data = tiny()
    assert tiny()._replace(name="other").fingerprint == data.fingerprint
    for key in ("train_x", "train_y", "test_x", "test_y"):
        changed = getattr(data, key).copy()
        changed.flat[3] += 1
        assert data._replace(**{key: changed}).fingerprint != data.fingerprint
    assert data._replace(classes=11).fingerprint != data.fingerprint
    turned = data.train_x.swapaxes(2, 3).reshape(data.train_x.shape)
    assert data._replace(train_x=turned).fingerprint != data.fingerprint
