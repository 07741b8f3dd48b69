"""Sound as spikes: the energy in bands of frequency, and its crossings of levels.

    q[n]     = sound[n] - 0.97 sound[n-1]                                 pre-emphasis
    P[t, f]  = |FFT(window * q around 10 t ms)|²                  25 ms, every 10 ms
    E[t, b]  = sum_f filter[b, f] P[t, f]             triangles, even on the mel scale
    l[t, b]  = 1 + 10 log10(E[t, b] / max E) / 40                          40 dB are 1
    on[t, b, k]  = 1 if l is above the level (k + 1/2) / 3 at t and was not at t - 1
    off[t, b, k] = 1 if it was, and is not                                    l[-1] = 0

A recording is scaled by its own maximum, so that its volume does not matter. The spikes
up to a step determine how many levels l is above.

Source: mel scale of O'Shaughnessy 1987, m = 2595 log10(1 + f / 700); level crossings as
in the sequential MNIST of Bellec et al. 2018, arXiv:1803.09574.
"""

import numpy as np

RATE = 8000  # samples per second
_HOP, _WINDOW, _FFT = 80, 200, 256  # samples
_BANDS, _LEVELS = 20, 3
_EMPHASIS = 0.97
_LOWEST, _HIGHEST = 100.0, 4000.0  # Hz
_RANGE = 40.0  # dB
CHANNELS = 2 * _BANDS * _LEVELS


def loudness(sound: np.ndarray) -> np.ndarray:
    """The energy in each band on a logarithmic scale.

    Args:
        sound: samples at 8 kHz, `(samples,)`.

    Returns:
        float64 `(steps, bands)`: 1 at the maximum, 0 at 40 dB below it.
    """
    steps = 1 + len(sound) // _HOP
    emphasised = np.diff(sound.astype(float), prepend=0.0)
    emphasised[1:] += (1 - _EMPHASIS) * sound[:-1]
    padded = np.pad(emphasised, (_WINDOW // 2, _WINDOW))
    begins = _HOP * np.arange(steps)
    pieces = padded[begins[:, None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    energy = np.abs(np.fft.rfft(pieces, _FFT)) ** 2 @ mel_filters().T
    if not energy.max() > 0:  # silence
        return np.zeros((steps, _BANDS))
    decibels = 10 * np.log10(np.maximum(energy / energy.max(), 1e-10))
    return 1 + decibels / _RANGE


def mel_filters() -> np.ndarray:
    """Triangles, `(bands, frequencies)`, whose ends are at their neighbours' peaks."""
    lowest, highest = (2595 * np.log10(1 + f / 700) for f in (_LOWEST, _HIGHEST))
    corners = 700 * (10 ** (np.linspace(lowest, highest, _BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(_FFT, 1 / RATE)
    left, peak, right = (corners[i : i + _BANDS, None] for i in range(3))
    rising = (frequencies - left) / (peak - left)
    falling = (right - frequencies) / (right - peak)
    return np.maximum(0, np.minimum(rising, falling))


def crossings(levels: np.ndarray, steps: int) -> np.ndarray:
    """Spikes where the loudness crosses a level.

    Args:
        levels: loudness, `(any steps, bands)`; cut after `steps`, and 0 after its end.
        steps: steps of the result.

    Returns:
        float32 `(steps, 6 bands)`: upwards through each level, then downwards, with the
        levels of a band side by side.
    """
    padded = np.zeros((steps + 1, levels.shape[1]))
    kept = levels[:steps]
    padded[1 : 1 + len(kept)] = kept
    thresholds = (np.arange(_LEVELS) + 0.5) / _LEVELS
    above = (padded[..., None] > thresholds).reshape(steps + 1, -1)
    up, down = above[1:] & ~above[:-1], above[:-1] & ~above[1:]
    return np.concatenate([up, down], axis=1).astype(np.float32)
