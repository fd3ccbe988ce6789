"""Reads one wav file: decode it, mix it down to mono, resample it and fit it to a given length."""

from __future__ import annotations

import io
import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import resample_poly

from cl_suite.errors import UserError

Waveform = NDArray[np.float32]

QUIET = 1 / 256  # peak below which 16 bits would leave fewer than 8 bits of a sound
CANCELLED = 0.1  # of the power that the mean of unrelated channels keeps
RATES = (1_000, 768_000)  # in Hz; other rates in a header mean that it is damaged


@dataclass(frozen=True)
class Sound:
    """The content of a wav file.

    Attributes:
        rate: samples a second of each channel.
        samples: `(length, channels)`, in [-1, 1].
        gain: factor on the file's samples; 1 except for sounds too quiet for 16 bits, and for
            floats beyond [-1, 1].
    """

    rate: int
    samples: Waveform
    gain: float = 1.0

    def mono(self) -> tuple[Waveform, bool]:
        """Return one channel `(length,)`, and whether the channels cancel each other.

        It is the mean of the channels or, if they cancel each other, the loudest one.
        """
        mean: Waveform = self.samples.mean(axis=1)
        power = np.square(self.samples, dtype=np.float64).mean(axis=0)
        left = CANCELLED * power.sum() / len(power) ** 2
        if float(np.square(mean, dtype=np.float64).mean()) >= left:
            return mean, False
        return self.samples[:, int(power.argmax())].copy(), True


def read_wav(path: Path) -> Sound:
    """Return the samples of a wav file: PCM of 8 to 64 bits, or floats.

    Raises:
        UserError: if the file is empty, damaged, cut off or of another format.
    """
    try:
        content = path.read_bytes()
        _check_whole(content)
        with warnings.catch_warnings():
            # ignore warnings about chunks without sound (such as the editor's name)
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate, samples = wavfile.read(io.BytesIO(content))
        return _sound(rate, samples)
    except Exception as error:
        # SciPy raises many kinds of exception for a damaged header
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"recording '{path}' cannot be read ({reason}); replace the file or remove it from the "
            "data"
        ) from error


def resample(samples: Waveform, rate: int, wanted: int) -> Waveform:
    """Return the sound at another rate, resampled by SciPy's polyphase filter."""
    if rate == wanted:
        return samples
    shared = math.gcd(rate, wanted)
    resampled: Waveform = np.asarray(
        resample_poly(samples, wanted // shared, rate // shared), dtype=np.float32
    )
    return resampled


def fit(samples: Waveform, length: int) -> Waveform:
    """Return `(length,)`: a longer sound's part with the highest energy, or a padded shorter sound.

    A shorter sound gets silence on both sides.

    Example:
        >>> fit(np.array([0, 1, 2, 3, 0, 0], dtype=np.float32), 3).tolist()
        [1.0, 2.0, 3.0]
        >>> fit(np.array([5], dtype=np.float32), 4).tolist()
        [0.0, 5.0, 0.0, 0.0]
    """
    if len(samples) > length:
        total = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
        start = int(np.argmax(total[length:] - total[:-length]))
        return samples[start : start + length]
    before = (length - len(samples)) // 2
    return np.pad(samples, (before, length - len(samples) - before))


def as_pcm(samples: Waveform) -> NDArray[np.int16]:
    """Return samples in [-1, 1] as clipped 16-bit integers, half the memory of floats."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def _check_whole(content: bytes) -> None:
    """Raise `ValueError` if the file has no sound, or less than its header states."""
    if not content:
        raise ValueError("it is empty")
    if content[:4] not in (b"RIFF", b"RIFX") or content[8:12] != b"WAVE":
        raise ValueError("it is not a wav file")
    size_format = "<I" if content[:4] == b"RIFF" else ">I"
    at = 12
    while at + 8 <= len(content):
        (size,) = struct.unpack_from(size_format, content, at + 4)
        present = len(content) - at - 8
        if content[at : at + 4] == b"data":
            if size > present:
                raise ValueError(f"it ends after {present} of {size} bytes of sound")
            if size == 0:
                raise ValueError("it holds no sound")
            return
        at += 8 + size + size % 2
    raise ValueError("it ends before its sound begins")


def _sound(rate: int, samples: NDArray[np.generic]) -> Sound:
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"its header says {rate} samples a second")
    if samples.size == 0:
        raise ValueError("it holds no sound")
    channels = samples.reshape(len(samples), -1)
    if samples.dtype == np.uint8:
        scaled = (channels.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.signedinteger):
        # SciPy puts 24 bits at the upper end of 32
        scaled = channels.astype(np.float64) / float(1 << (8 * samples.dtype.itemsize - 1))
    else:
        scaled = channels.astype(np.float64)
    if not np.isfinite(scaled).all():
        raise ValueError("it holds values that are not finite")
    gain = 1.0 if samples.dtype in (np.uint8, np.int16) else _gain(scaled)
    return Sound(int(rate), (scaled * gain).astype(np.float32), gain)


def _gain(samples: NDArray[np.float64]) -> float:
    """Return the power of two that brings a sound into the range of 16 bits, 1 if it fits.

    A power of two changes no digit of a float. Loudness drops out of the features.
    """
    peak = float(np.abs(samples).max())
    whole = samples * 32768
    if peak > 1 or (0 < peak < QUIET and not np.array_equal(whole, np.rint(whole))):
        return float(2.0 ** -math.ceil(math.log2(peak)))
    return 1.0
