"""Spoken digits as spikes: the Free Spoken Digit Dataset.

3,000 recordings of the digits 0 to 9, 8 kHz, by six speakers: `digit_speaker_take.wav`
with takes 0 to 49. As its authors have it, takes 0 to 4 are the test set (300). Spikes
are those of `_speech_encoder`, 100 steps of 10 ms; of the recordings 0.7 % are longer
and are cut. The label is about every step, and an answer is the class with the largest
mean output.

Instead of the recordings there may be one file `fsdd.npz` with the arrays `audio` (all
samples, int16), `offsets` (recording i is `audio[offsets[i]:offsets[i+1]]`), `digit`,
`take`, `speaker`, and `speaker_names`, in which `speaker` is an index.

Source: Jackson et al., Free Spoken Digit Dataset, CC BY-SA 4.0,
https://github.com/Jakobovski/free-spoken-digit-dataset.
"""

import hashlib
import re
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np

from apical.lab._errors import LabError
from apical.lab.data._dataset import Data
from apical.lab.data._formats import find, require
from apical.lab.data._size_limits import require_memory
from apical.lab.data._speech_encoder import RATE, crossings, loudness

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES, TEST_TAKES = 50, 5
STEPS = 100
# Of all recordings: name, number of samples, and samples as 16-bit little-endian.
DIGEST = "dd82368c0694fa46f431cb4be83522ca5af89700d6b6c6fe9e23bf9701e29ebb"
WAVES = tuple(
    f"{digit}_{speaker}_{take}.wav"
    for digit in range(10)
    for speaker in SPEAKERS
    for take in range(TAKES)
)
FILES = ("fsdd.npz", "[0-9]_*_*.wav")
_NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")
_ARRAYS = ("audio", "offsets", "digit", "take", "speaker", "speaker_names")
_COPIES_OF_A_BYTE = 8


class Recording(NamedTuple):
    """A recording: its name and its samples, int16."""

    name: str
    samples: np.ndarray

    @property
    def digit(self) -> int:
        """The digit that is spoken."""
        return int(self.name[0])

    @property
    def take(self) -> int:
        """Which of the speaker's recordings of the digit it is."""
        return int(self.name.rpartition("_")[2].removesuffix(".wav"))


def spoken_digits(name: str, places: list[Path]) -> Data:
    """The spoken digits as sequences of spikes `(examples, 100, channels)`.

    Args:
        name: the name of the data set.
        places: the folders to look in.

    Raises:
        LabError: for a file that is damaged, or recordings that are not those of the
            data set.
    """
    recordings = read_recordings(places)
    found = digest(recordings)
    if found != DIGEST:
        raise LabError(
            f"{places[0]}: {len(recordings):,} recordings with the sha256 {found}, not "
            f"the {len(WAVES):,} of the Free Spoken Digit Dataset with {DIGEST}; fetch "
            "them again with --download, into another folder"
        )
    x = np.stack([crossings(loudness(r.samples), STEPS) for r in recordings])
    y = np.array([[recording.digit] for recording in recordings], np.int32)
    test = np.array([recording.take < TEST_TAKES for recording in recordings])
    note = "the label is about every step, the answer is that of the mean output"
    return Data(name, "sequences", x[~test], y[~test], x[test], y[test], 10, note)


def digest(recordings: list[Recording]) -> str:
    """The sha256 of names and samples."""
    found = hashlib.sha256()
    for name, samples in recordings:
        found.update(f"{name} {len(samples)}".encode())
        found.update(samples.astype("<i2").tobytes())
    return found.hexdigest()


def read_recordings(places: list[Path]) -> list[Recording]:
    """All recordings, ordered by digit, speaker and take."""
    paths = find(places, FILES[:1])
    if paths:
        recordings = _from_arrays(paths[0])
    else:
        paths = require(places, FILES[1:])
        recordings = [_from_wave(path) for path in paths if _NAME.fullmatch(path.name)]
    return sorted(recordings, key=_order)


def _order(recording: Recording) -> tuple[int, str, int]:
    return recording.digit, recording.name.split("_")[1], recording.take


def _from_wave(path: Path) -> Recording:
    try:
        with wave.open(str(path)) as file:
            form = file.getnchannels(), file.getsampwidth(), file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError, ValueError, OSError) as error:
        raise LabError(
            f"{path} is not a sound file ({error}); fetch it again"
        ) from error
    if form != (1, 2, RATE):
        raise LabError(
            f"{path} has {form[0]} channels of {8 * form[1]} bits at {form[2]:,} Hz; "
            f"it should have one of 16 bits at {RATE:,} Hz"
        )
    return Recording(path.name, samples)


def _from_arrays(path: Path) -> list[Recording]:
    try:
        with np.load(path) as file:
            missing = [key for key in _ARRAYS if key not in file]
            if missing:
                raise LabError(f"{path} has no array {', '.join(missing)}")
            require_memory(path, path.stat().st_size, _COPIES_OF_A_BYTE)
            audio, offsets, digits, takes, speakers, names = (
                file[key] for key in _ARRAYS
            )
        # Indices of lists, and slices of the whole array: checked by the digest.
        return [
            Recording(
                f"{digit}_{names[speaker]}_{take}.wav", audio[begin:end].astype("<i2")
            )
            for begin, end, digit, speaker, take in zip(
                offsets[:-1], offsets[1:], digits, speakers, takes, strict=True
            )
        ]
    except LabError:
        raise
    except Exception as error:  # a file may be invalid in any way
        raise LabError(f"{path} cannot be read ({error}); fetch it again") from error
