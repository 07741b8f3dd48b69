"""Spoken digits: from sound files and from arrays, in the order of the data set."""

import wave

import numpy as np
import pytest

from apical.lab import LabError
from apical.lab.data import _spoken_digits
from apical.lab.data._load import load
from apical.lab.data._speech_encoder import crossings, loudness
from apical.lab.data._spoken_digits import WAVES, digest, read_recordings

# Read as text, take 10 would come before take 2.
NAMES = [
    f"{d}_{who}_{t}.wav" for d in (0, 7) for who in ("lucas", "theo") for t in (2, 10)
]


def sound(i):
    rng = np.random.default_rng(i)
    return (1000 * rng.normal(size=900 + 100 * i)).astype("<i2")


@pytest.fixture
def folder(tmp_path):
    """Sound files of eight recordings, in the folder of the data set."""
    (tmp_path / "fsdd").mkdir()
    for i, name in enumerate(NAMES):
        write(tmp_path / "fsdd" / name, sound(i))
    return tmp_path


def write(path, samples, rate=8000, channels=1):
    with wave.open(str(path), "w") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def arrays():
    """The same in one file, in another order."""
    order = np.random.default_rng(0).permutation(len(NAMES))
    sounds = [sound(i) for i in order]
    parts = [NAMES[i].removesuffix(".wav").split("_") for i in order]
    who = ["theo", "lucas"]
    return {
        "audio": np.concatenate(sounds),
        "offsets": np.cumsum([0, *map(len, sounds)]),
        "digit": np.array([int(digit) for digit, _, _ in parts]),
        "speaker": np.array([who.index(speaker) for _, speaker, _ in parts]),
        "take": np.array([int(take) for _, _, take in parts]),
        "speaker_names": np.array(who),
    }


@pytest.fixture
def accepted(folder, monkeypatch):
    found = digest(read_recordings([folder / "fsdd"]))
    monkeypatch.setattr(_spoken_digits, "DIGEST", found)
    return folder


def test_takes_below_five_are_the_test_set(accepted):
    data = load("spoken-digits", accepted)
    assert data.kind == "sequences" and data.shape == (100, 120)
    assert data.train_y.tolist() == data.test_y.tolist() == [[0], [0], [7], [7]]
    assert data.classes == 10 and 0 < data.train_x.mean() < 0.2
    for part, first in ((data.test_x, 0), (data.train_x, 1)):  # takes 2 and 10
        np.testing.assert_array_equal(part[0], crossings(loudness(sound(first)), 100))


def test_arrays_are_the_same_recordings(accepted, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    np.savez(other / "fsdd.npz", **arrays())
    from_files = load("spoken-digits", accepted)
    assert load("spoken-digits", other).fingerprint == from_files.fingerprint


def test_recordings_are_ordered_by_digit_speaker_and_take(folder):
    assert [r.name for r in read_recordings([folder / "fsdd"])] == NAMES
    assert len(WAVES) == 3000 and WAVES[:2] == ("0_george_0.wav", "0_george_1.wav")


def test_other_recordings_are_refused(accepted):
    changed = sound(0)
    changed[5] += 1
    write(accepted / "fsdd" / NAMES[0], changed)
    with pytest.raises(LabError, match=r"8 recordings with the sha256 .*--download"):
        load("spoken-digits", accepted)
    (accepted / "fsdd" / NAMES[0]).unlink()
    with pytest.raises(LabError, match="7 recordings"):
        load("spoken-digits", accepted)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"rate": 16_000}, "1 channels of 16 bits at 16,000 Hz; it should have one"),
        ({"channels": 2}, "2 channels of 16 bits"),
    ],
)
def test_sound_of_another_form_is_refused(folder, written, message):
    write(folder / "fsdd" / NAMES[0], sound(0), **written)
    with pytest.raises(LabError, match=f"{NAMES[0]} has {message}"):
        load("spoken-digits", folder)


def test_a_damaged_file_is_refused_by_name(folder):
    (folder / "fsdd" / NAMES[0]).write_bytes(b"RIFF")
    with pytest.raises(LabError, match=f"{NAMES[0]} is not a sound file"):
        load("spoken-digits", folder)
    (folder / "fsdd" / "fsdd.npz").write_bytes(b"PK")
    with pytest.raises(LabError, match=r"fsdd.npz cannot be read"):
        load("spoken-digits", folder)
    np.savez(folder / "fsdd" / "fsdd.npz", audio=sound(0))
    with pytest.raises(LabError, match=r"fsdd.npz has no array offsets, digit"):
        load("spoken-digits", folder)
