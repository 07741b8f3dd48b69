"""Sound as spikes: a tone in its band, and loudness read off the spikes again."""

import numpy as np
import pytest

from apical.lab.data._speech_encoder import (
    CHANNELS,
    RATE,
    crossings,
    loudness,
    mel_filters,
)


def tone(frequency, seconds=0.5, volume=1000.0):
    return volume * np.sin(2 * np.pi * frequency * np.arange(RATE * seconds) / RATE)


def test_filters_are_triangles_that_add_up_to_one_between_their_peaks():
    filters = mel_filters()
    frequencies = np.fft.rfftfreq(256, 1 / RATE)
    mel = 2595 * np.log10(1 + frequencies / 700)
    peaks = np.linspace(
        2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 4e3 / 700), 22
    )
    between = (mel > peaks[1]) & (mel < peaks[-2])
    np.testing.assert_allclose(filters.sum(0)[between], 1)
    for f, (left, right) in zip(
        filters, zip(peaks, peaks[2:], strict=False), strict=False
    ):
        assert not f[(mel <= left) | (mel >= right)].any()


@pytest.mark.parametrize("frequency", [300, 1000, 2500])
def test_a_tone_is_loudest_in_its_band(frequency):
    middle = loudness(tone(frequency))[10:40]
    at = np.fft.rfftfreq(256, 1 / RATE).searchsorted(frequency)
    assert (middle.argmax(1) == mel_filters()[:, at].argmax()).all()
    assert middle.max() == pytest.approx(1, abs=0.05)


def test_ten_times_the_amplitude_is_twenty_decibels():
    # The same tone softly after loudly: 20 of 40 dB below.
    levels = loudness(np.concatenate([tone(1000), tone(1000, volume=100.0)]))
    band = levels[25].argmax()
    assert levels[25, band] - levels[75, band] == pytest.approx(0.5, abs=1e-3)


def test_the_volume_of_a_recording_does_not_matter():
    sound = tone(440) + tone(2000, volume=30.0)
    np.testing.assert_allclose(loudness(sound), loudness(8 * sound), atol=1e-9)
    assert not loudness(np.zeros(800)).any()


def test_a_step_is_ten_milliseconds_and_pre_emphasis_favours_high_tones():
    assert len(loudness(tone(1000, seconds=0.5))) == 51
    levels = loudness(tone(400) + tone(2000))[25]
    # Of the filter 1 - 0.97 z⁻¹, at both frequencies.
    gains = [abs(1 - 0.97 * np.exp(-2j * np.pi * f / RATE)) for f in (400, 2000)]
    bands = [
        mel_filters()[:, np.fft.rfftfreq(256, 1 / RATE).searchsorted(f)].argmax()
        for f in (400, 2000)
    ]
    expected = 20 * np.log10(gains[1] / gains[0]) / 40
    assert levels[bands[1]] - levels[bands[0]] == pytest.approx(expected, abs=0.1)


def test_spikes_tell_how_many_levels_the_loudness_is_above():
    rng = np.random.default_rng(0)
    levels = rng.uniform(-0.5, 1, (30, 20))
    spikes = crossings(levels, 40)
    assert spikes.shape == (40, CHANNELS) and set(np.unique(spikes)) == {0, 1}
    up, down = spikes[:, :60], spikes[:, 60:]
    above = np.cumsum(up - down, axis=0).reshape(40, 20, 3).sum(-1)
    expected = sum(levels > t for t in (1 / 6, 3 / 6, 5 / 6))
    np.testing.assert_array_equal(above[:30], expected)
    assert not above[30:].any()  # after the end of the recording
    assert not (up * down).any()


def test_what_is_longer_is_cut():
    levels = np.ones((30, 20))
    spikes = crossings(levels, 10)
    assert spikes[0, :60].all() and spikes.sum() == 60  # and nothing falls at the cut
