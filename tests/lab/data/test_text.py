"""Texts: windows, next characters, and the split into training and test part."""

import re

import numpy as np
import pytest

from apical.lab import LabError
from apical.lab.data._load import load
from apical.lab.data._text import windows

TEXT = "Ein Veilchen auf der Wiese stand, gebückt in sich und unbekannt.\n" * 30


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "veilchen.txt"
    path.write_bytes(TEXT.encode())
    return load(str(path))


def spelt(data, symbols) -> str:
    """The characters that these symbols stand for."""
    assert data.classes == len(set(TEXT))
    alphabet = sorted(set(TEXT))
    return "".join(alphabet[i] for i in symbols.ravel())


def test_the_windows_put_together_are_the_text(data):
    assert data.kind == "characters" and data.shape == (64,)
    cut = int(0.9 * len(TEXT))
    train, test = spelt(data, data.train_x), spelt(data, data.test_x)
    assert TEXT[:cut].startswith(train) and cut - len(train) <= 64
    assert TEXT[cut:].startswith(test) and len(TEXT) - cut - len(test) <= 64


def test_each_target_is_the_character_that_follows(data):
    assert spelt(data, data.train_y) == TEXT[1 : 1 + data.train_y.size]
    np.testing.assert_array_equal(data.train_y[:, :-1], data.train_x[:, 1:])
    np.testing.assert_array_equal(data.train_y[:-1, -1], data.train_x[1:, 0])
    assert (data.train_y != data.train_x).any()


def test_no_character_of_the_test_part_is_a_target_of_the_training_part():
    # Every character once, so that a symbol is its own place in the text.
    text = "".join(chr(1000 + i) for i in range(2000))
    data = windows(text, "all", "all.txt")
    assert data.train_y.max() < data.test_x.min()
    assert data.train_y.max() == 64 * len(data.train_x)


@pytest.mark.parametrize(("length", "taken"), [(641, True), (640, False)])
def test_a_text_too_short_is_refused_with_numbers(tmp_path, length, taken):
    path = tmp_path / "short.txt"
    path.write_text(TEXT[:length], "utf-8")
    if taken:
        assert len(load(str(path)).test_y) == 1
    else:
        message = r"short.txt is too short: it has 640 characters and needs 641"
        with pytest.raises(LabError, match=message):
            load(str(path))


def test_a_file_that_is_not_utf_8_is_refused_with_the_first_bad_byte(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(TEXT.encode("latin-1"))
    place = TEXT.index("ü")
    message = f"latin.txt is not a text in UTF-8: byte {place} is 0xfc"
    with pytest.raises(LabError, match=re.escape(message)):
        load(str(path))


def test_line_ends_are_characters_like_others():
    text = TEXT.replace("\n", "\r\n")
    data = windows(text, "", "")
    assert data.classes == len(set(TEXT)) + 1


@pytest.mark.parametrize("inner", ["", "tiny_shakespeare"])
def test_shakespeare_is_found_by_name(tmp_path, inner):
    (tmp_path / inner).mkdir(exist_ok=True)
    (tmp_path / inner / "input.txt").write_text(TEXT, "utf-8")
    data = load("shakespeare", tmp_path)
    assert data.name == "shakespeare" and data.classes == len(set(TEXT))


def test_a_text_of_one_character_is_nothing_to_predict(tmp_path):
    path = tmp_path / "monotone.txt"
    path.write_text("a" * 2000)
    with pytest.raises(LabError, match="classes = 1, but there must be at least 2"):
        load(str(path))
