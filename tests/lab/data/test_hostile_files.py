"""Damaged, edited and malicious data files: a data set or a `LabError`.

Whatever is read, memory stays bounded: what a header promises is compared with what is
there before anything is allocated.
"""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lab_files import arrays, idx, write_cifar, write_mnist

from apical.lab import LabError, load
from apical.lab.data import _size_limits
from apical.lab.data._load import Data

MOST = 64 * 2**20  # bytes, while a file of some kilobytes is read


def npz(save=np.savez, kind="vectors", **changed) -> bytes:
    content = io.BytesIO()
    save(content, **arrays(kind) | changed)
    return content.getvalue()


def require_valid(data: Data) -> None:
    """What every set keeps that has been let through."""
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        assert x.dtype == (np.int32 if data.kind == "characters" else np.float32)
        assert np.isfinite(x).all() and len(x) == len(y) > 0
        assert y.dtype == np.int32 and 0 <= y.min() <= y.max() < data.classes


def read_bounded(*args) -> Data | None:
    """The set, or None where it is refused; anything else is a failure."""
    tracemalloc.start()
    try:
        data = load(*args)
        require_valid(data)
        return data
    except LabError as error:
        assert str(error).strip()
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST


# -------------------------------------------------------------- files mutated at random

EXTREMES = (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF, 0x7FFF)
WORDS = (b"99999999999", b"-1", b"'|O'", b"'<U9'", b"(((((", b"1e9", b"[(", b"\x00")


@st.composite
def mutations(draw) -> list:
    """Some changes of a file, by places between 0 and 1."""
    place, change = st.floats(0, 1, exclude_max=True), st.integers(0, 2**32 - 1)
    one = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("cut"), place, st.just(0)),
        st.tuples(st.just("drop"), place, st.integers(1, 9)),
        st.tuples(st.just("double"), place, st.integers(1, 99)),
        st.tuples(st.just("set"), place, st.sampled_from(EXTREMES) | change),
        st.tuples(st.just("word"), place, st.sampled_from(WORDS)),
    )
    return draw(st.lists(one, min_size=1, max_size=3))


def mutated(content: bytes, changes: list) -> bytes:
    for how, place, what in changes:
        at = int(place * len(content))
        if content:
            content = content[:at] + CHANGED[how](content[at:], what)
    return content


CHANGED = {
    "flip": lambda rest, bit: bytes([rest[0] ^ (1 << bit)]) + rest[1:],
    "cut": lambda rest, _: b"",
    "drop": lambda rest, number: rest[number:],
    "double": lambda rest, number: rest[:number] + rest,
    "set": lambda rest, value: struct.pack("<I", value) + rest[4:],
    "word": lambda rest, word: word + rest[len(word) :],
}
ARRAYS = [
    npz(save, kind)
    for save in (np.savez, np.savez_compressed)
    for kind in ("vectors", "pictures", "bytes", "characters")
]


@settings(max_examples=400)
@given(st.sampled_from(ARRAYS), mutations())
def test_arrays(tmp_path_factory, content, changes):
    path = tmp_path_factory.getbasetemp() / "mutated.npz"
    path.write_bytes(content)
    assert load(path)  # the control
    path.write_bytes(mutated(content, changes))
    read_bounded(path)


@settings(max_examples=200)
@given(st.sampled_from(ARRAYS[:4]), st.integers(0, 3), mutations())
def test_arrays_in_an_archive_that_is_whole(tmp_path_factory, content, which, changes):
    """The checksum is recomputed, since a wrong one would hide other errors."""
    path = tmp_path_factory.getbasetemp() / "inside.npz"
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as again,
    ):
        for i, name in enumerate(archive.namelist()):
            inside = archive.read(name)
            # Near the beginning, where the header is.
            near = [(how, place / 4, what) for how, place, what in changes]
            again.writestr(name, mutated(inside, near) if i == which else inside)
    read_bounded(path)


@settings(max_examples=200)
@given(st.booleans(), st.sampled_from(("images-idx3", "labels-idx1")), mutations())
def test_files_of_mnist(tmp_path_factory, packed, which, changes):
    folder = tmp_path_factory.getbasetemp() / f"mnist-{packed}"
    write_mnist(folder, 3, 2)
    for old in folder.glob("*.gz"):
        old.unlink()
    path = folder / f"train-{which}-ubyte"
    content = mutated(path.read_bytes(), changes)
    if packed:
        path.unlink()
        content = gzip.compress(content, mtime=0)
        content = mutated(content, changes[1:])
        path = path.with_name(f"{path.name}.gz")
    path.write_bytes(content)
    read_bounded("mnist", folder)


@settings(max_examples=50)
@given(mutations())
def test_files_of_cifar(tmp_path_factory, changes):
    folder = tmp_path_factory.getbasetemp() / "cifar"
    write_cifar(folder, 1, 2, 1)
    path = folder / "data_batch_1.bin"
    path.write_bytes(mutated(path.read_bytes(), changes))
    read_bounded("cifar10", folder)


@settings(max_examples=100)
@given(st.binary() | st.text().map(lambda text: (text * 700).encode()), mutations())
def test_texts(tmp_path_factory, content, changes):
    path = tmp_path_factory.getbasetemp() / "mutated.txt"
    path.write_bytes(mutated(content or b"a", changes))
    read_bounded(path)


# ---------------------------------------------------------------------- made to do harm


def with_member(name: str, member: bytes, **options) -> bytes:
    """The arrays that are right, but for one member of the archive."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(npz())) as right,
        zipfile.ZipFile(content, "w", **options) as archive,
    ):
        for one in right.namelist():
            archive.writestr(one, member if one == name else right.read(one))
    return content.getvalue()


def npy(shape: str, content: bytes = b"", descr: str = "'<f8'") -> bytes:
    """An array whose header says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"
    return (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", len(header))
        + header.encode()
        + content
    )


def encrypted(content: bytes) -> bytes:
    """The same archive, which says that it is encrypted."""
    return content.replace(
        b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01"
    ).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")


def labelled(label: int, dtype=np.int64) -> bytes:
    y = np.arange(12) % 3
    return npz(train_y=np.append(y[:-1], [label]).astype(dtype))


HARM = {
    "promised": (
        with_member("train_x.npy", npy("(400000000, 1)")),
        "takes 3,200,000,0",
    ),
    "wrapped": (
        with_member("train_x.npy", npy(f"({2**32}, {2**32})", b"\0" * 8)),
        "147,573,952,589,676,412,928 bytes, and it has 8",
    ),
    "negative": (
        with_member("train_x.npy", npy("(-3, -4)", b"\0" * 96)),
        "shape is (-3",
    ),
    "more": (with_member("train_x.npy", npy("(2,)", b"\0" * 24)), "and it has 24"),
    "nested": (with_member("train_x.npy", npy("(" * 5000)), "train_x cannot be read"),
    "objects": (
        with_member("train_x.npy", npy("(1,)", b"0", "'|O'")),
        "not of objects",
    ),
    "empty": (with_member("train_x.npy", b""), "train_x cannot be read"),
    "version": (
        with_member("train_x.npy", b"\x93NUMPY\x09\x00"),
        "train_x cannot be re",
    ),
    "encrypted": (encrypted(with_member("", b"")), "train_x is encrypted"),
    "bzip2": (
        with_member("", b"", compression=zipfile.ZIP_BZIP2),
        "train_x is compressed in a way that NumPy does not write",
    ),
    "label of 2^31": (labelled(2**31), "classes (one more than the largest label) are"),
    "label below it": (labelled(2**31 - 2), "are too many: at most 1,000,000"),
    "label of 2^63": (labelled(2**63, np.uint64), "are too many: at most 1,000,000"),
    "label below 0": (labelled(-(2**31)), "train_y[11] is -2147483648"),
}


@pytest.mark.parametrize("name", HARM)
def test_an_archive_made_to_do_harm_is_refused_by_name(tmp_path, name):
    content, message = HARM[name]
    path = tmp_path / "harm.npz"
    path.write_bytes(content)
    assert read_bounded(path) is None
    with pytest.raises(LabError) as refusal:
        load(path)
    assert message in str(refusal.value) and "harm.npz" in str(refusal.value)


def test_zeros_that_unpack_to_gigabytes_are_not_unpacked(tmp_path):
    path = tmp_path / "zeros.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("train_x", "train_y", "test_x", "test_y"):
            with archive.open(f"{name}.npy", "w") as file:
                number = 300 * 2**17 if name == "train_x" else 0
                file.write(npy(f"({number}, 1)"))
                for _ in range(number // 2**17):
                    file.write(bytes(2**20))
    assert path.stat().st_size < 2**22
    assert read_bounded(path) is None
    with pytest.raises(
        LabError, match=r"zeros.npz: .*train_x would unpack 1,\d{3},\d{3}"
    ):
        load(path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2**32 - 1, 1, 1), "would unpack .* to 4,294,967,295, which cannot be data"),
        ((2**31, 2**31, 4), "would unpack .* to 18,446,744,073,709,551,616"),
        ((65536, 65536, 2**32 - 1), "would unpack"),
    ],
)
def test_sizes_that_wrap_round_or_promise_too_much(tmp_path, shape, message):
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    sizes = b"".join(n.to_bytes(4, "big") for n in shape)
    content = bytes((0, 0, 8, 3)) + sizes
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(content + bytes(2**20)))
    assert read_bounded("mnist", tmp_path) is None
    with pytest.raises(LabError, match=message):
        load("mnist", tmp_path)


def test_what_follows_the_last_picture_is_not_unpacked(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    right = idx(np.zeros((20, 28, 28)))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(right + bytes(2**28), 1))
    assert read_bounded("mnist", tmp_path) is None
    with pytest.raises(
        LabError, match=r"too long: its header declares 15,680 bytes .* has more"
    ):
        load("mnist", tmp_path)


@pytest.mark.parametrize("name", ["text.txt", "arrays.npz", "data_batch_1.bin", "idx"])
def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(
    tmp_path, monkeypatch, name
):
    write_mnist(tmp_path)
    write_cifar(tmp_path)
    (tmp_path / "text.txt").write_text("to be or not to be " * 100)
    (tmp_path / "arrays.npz").write_bytes(npz())
    asked = {"data_batch_1.bin": ("cifar10", tmp_path), "idx": ("mnist", tmp_path)}
    args = asked.get(name, (tmp_path / name,))
    assert load(*args)
    monkeypatch.setattr(_size_limits, "memory", lambda: 1000)
    with pytest.raises(
        LabError, match=r"is too large: to read it would take about 0\.0"
    ):
        load(*args)


def test_the_memory_that_there_is_is_known_or_not():
    found = _size_limits.memory()
    assert found is None or found > 2**26


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
def test_a_device_or_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(LabError, match="is not a file but a device or a pipe"):
            load(path)


@pytest.mark.parametrize(
    "name", ["~nobody-at-all/x.txt", "a" * 5000 + ".txt", "a\0.txt"]
)
def test_a_path_that_cannot_be_looked_up_is_refused(name):
    with pytest.raises(LabError, match="--data"):
        load(name)
