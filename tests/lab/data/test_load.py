"""Data sets are standardised, and broken files are refused by name."""

import gzip

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.lab_files import RECORD, cifar_records, idx, tiny, write_cifar, write_mnist

from apical.lab import LabError
from apical.lab.data import _load
from apical.lab.data._formats import read_idx
from apical.lab.data._load import DATASETS, ROWS, SOURCES, check, load
from apical.lab.data.tasks._registry import TASKS


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_digits_are_all_there_and_split_by_class(digits):
    assert digits.train_x.shape == (1437, 1, 8, 8)
    assert digits.test_x.shape == (360, 1, 8, 8)
    counts = np.bincount(digits.test_y)
    assert counts.min() >= 34 and counts.max() <= 38


def test_the_split_of_the_digits_is_fixed_and_loses_no_picture(digits):
    again = load("digits")
    assert np.array_equal(digits.test_x, again.test_x)
    both = np.concatenate([digits.train_x, digits.test_x]).reshape(1797, -1)
    raw = load_digits(return_X_y=True)[0]
    order = [np.lexsort(np.round(x, 4).T) for x in (both, raw)]
    scaled = (raw - raw.min()) / (raw.max() - raw.min())
    ours = (both - both.min()) / (both.max() - both.min())
    assert np.allclose(ours[order[0]], scaled[order[1]], atol=1e-5)


def test_training_statistics_alone_standardise(digits):
    assert abs(digits.train_x.mean()) < 1e-5
    assert abs(digits.train_x.std() - 1) < 1e-5
    assert abs(digits.test_x.mean()) > 1e-4


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inner", ["", "mnist"])
def test_mnist_files_are_found_plain_or_zipped(tmp_path, zipped, inner):
    write_mnist(tmp_path / inner, zipped=zipped)
    data = load("mnist", tmp_path)
    assert data.train_x.shape == (20, 1, 28, 28)
    assert data.test_y.tolist() == list(range(10))
    assert data.train_x.dtype == np.float32


def test_fashion_mnist_lies_in_a_folder_of_its_own(tmp_path):
    write_mnist(tmp_path / "fashion_mnist")
    assert load("fashion-mnist", tmp_path).name == "fashion-mnist"
    with pytest.raises(LabError, match="found no file train-images"):
        load("mnist", tmp_path)


def test_names_with_dots_are_found(tmp_path):
    write_mnist(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(load("mnist", tmp_path).train_y) == 20


def test_an_idx_file_is_read_as_it_was_written(tmp_path):
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(idx(array))
    assert np.array_equal(read_idx(tmp_path / "a", axes=3), array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1], "cut short: its header declares 15,680 .* has 15,679"),
        (lambda raw: raw + b"\0", "too long"),
        (lambda raw: raw[:10], "not an IDX file"),
        (lambda raw: b"", "starts with nothing"),
        (lambda raw: b"\x89PNG" + raw, "starts with 89 50 4e 47"),
    ],
)
def test_a_broken_idx_file_is_refused_by_name(tmp_path, change, message):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(LabError, match=f"{path.name}.*{message}"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("broken", [b"no gzip at all", None])
def test_a_broken_gzip_is_refused_by_name(tmp_path, broken):
    write_mnist(tmp_path, zipped=True)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(broken or path.read_bytes()[:-12])
    with pytest.raises(LabError, match=rf"{path.name} cannot be unpacked .*fetch it"):
        load("mnist", tmp_path)


def test_damage_inside_a_gzip_is_refused_by_name(tmp_path):
    write_mnist(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    raw = bytearray(gzip.compress(idx(np.zeros((20, 28, 28))), mtime=0))
    raw[15:25] = b"\xff" * 10
    path.write_bytes(bytes(raw))
    with pytest.raises(LabError, match=f"{path.name} cannot be unpacked"):
        load("mnist", tmp_path)


def test_pictures_and_labels_must_belong_together(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(19)))
    with pytest.raises(LabError, match=r"20 pictures but .* has 19 labels"):
        load("mnist", tmp_path)


def test_labels_of_another_data_set_are_refused(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(20)))
    with pytest.raises(LabError, match=r"has the label 19, but .* 0 to 9"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar_batches_are_joined_in_order(tmp_path, inner):
    write_cifar(tmp_path / inner)
    data = load("cifar10", tmp_path)
    assert data.train_x.shape == (12, 3, 32, 32)
    assert data.train_y.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert np.allclose(data.train_x.mean((0, 2, 3)), 0, atol=1e-5)


def test_the_number_of_cifar_pictures_is_reported_when_some_are_missing(tmp_path):
    write_cifar(tmp_path)
    note = load("cifar10", tmp_path).note
    assert "training: 12 of 50,000 pictures" in note
    assert "test: 5 of 10,000 pictures" in note


def test_a_torn_cifar_record_is_refused_with_what_could_be_kept(tmp_path):
    write_cifar(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(cifar_records(3)[:-1])
    message = rf"{path.name} is truncated: 2 whole .* 3,072 bytes of .* cut it to 6,146"
    with pytest.raises(LabError, match=message):
        load("cifar10", tmp_path)
    path.write_bytes(path.read_bytes()[: 2 * RECORD])
    assert len(load("cifar10", tmp_path).train_y) == 8


def test_cifar_labels_above_nine_are_refused(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(cifar_records(2, label=77))
    with pytest.raises(LabError, match=r"test_batch.bin has the label 77"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "train-images-idx3-ubyte"),
        ("fashion-mnist", "t10k-labels-idx1-ubyte"),
        ("cifar10", "test_batch.bin"),
        ("shakespeare", "input.txt"),
    ],
)
def test_missing_files_are_named_with_what_to_do(tmp_path, monkeypatch, name, file):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(LabError, match=f"{file}.*Looked in .*--data-dir.*--download"):
        load(name)
    with pytest.raises(LabError, match=f"{file}.*Looked in {tmp_path}"):
        load(name, tmp_path)
    with pytest.raises(LabError, match="there is no such folder"):
        load(name, tmp_path / "nowhere")


def test_no_other_data_set_needs_files():
    assert set(DATASETS) == {"digits", *SOURCES, *ROWS, *TASKS}
    assert all(load(name).classes == 10 for name in ("digits", "digits-rows"))


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_rows_of_images_are_sequences(tmp_path, name):
    write_mnist(tmp_path)
    write_cifar(tmp_path)
    images, rows = load(name, tmp_path), load(f"{name}-rows", tmp_path)
    n, channels, height, width = images.train_x.shape
    assert (rows.kind, rows.name) == ("sequences", f"{name}-rows")
    assert rows.train_x.shape == (n, height, channels * width)
    for i, c, t in ((0, 0, 0), (3, channels - 1, 5)):
        row = rows.train_x[i, t, c * width : (c + 1) * width]
        np.testing.assert_array_equal(row, images.train_x[i, c, t])
    np.testing.assert_array_equal(rows.test_y, images.test_y)


def test_files_in_the_cache_folder_are_found_without_a_data_dir(tmp_path, monkeypatch):
    monkeypatch.setattr(_load, "cache_folder", lambda: tmp_path)
    write_mnist(tmp_path / "mnist")
    assert len(load("mnist").train_y) == 20


def test_a_folder_of_its_own_comes_before_files_of_the_same_name(tmp_path):
    write_mnist(tmp_path, train=20)
    write_mnist(tmp_path / "fashion_mnist", train=30)
    assert len(load("fashion-mnist", tmp_path).train_y) == 30
    assert len(load("mnist", tmp_path).train_y) == 20


def test_an_unknown_data_set_gets_the_nearest():
    with pytest.raises(LabError, match=r"Did you mean 'fashion-mnist', 'f.*or 'mni"):
        load("fasion-mnist")


def test_a_path_that_leads_nowhere_is_refused_as_a_path(tmp_path):
    with pytest.raises(LabError, match="there is no such file"):
        load(str(tmp_path / "hamlet.txt"))
    with pytest.raises(LabError, match="is a folder: name a file"):
        load(str(tmp_path))


def test_labels_that_training_never_shows_are_noted():
    data = tiny()._replace(classes=12, note="mine")
    data.train_y[data.train_y == 3] = 4
    data.test_y[:] = 3
    noted = check(data).note
    assert noted.startswith("mine; no training example has the label 3; no example has")
    assert check(check(data)).note == noted
    whole = tiny(train=200, test=100)
    assert check(whole).note == ""
