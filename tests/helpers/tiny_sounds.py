"""Tiny wav files: several tones for each word, slightly higher or lower for each voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

SPEAKERS = ("ada", "bob", "eve")
RATE = 8000


def tone(
    frequency: float, *, seconds: float = 0.1, rate: int = RATE, seed: int = 0
) -> NDArray[np.float32]:
    """Return a noisy tone in [-1, 1], `(length,)`."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    return (0.5 * np.sin(2 * np.pi * frequency * time) + noise).astype(np.float32)


def write_wav(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> Path:
    """Write samples in [-1, 1], `(length,)` or `(length, channels)`, in 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.rint(samples * 32767).astype(np.int16))
    return path


def write_digits(root: Path, *, digits: int = 4, takes: int = 5) -> Path:
    """Write `<digit>_<speaker>_<take>.wav` for three speakers; digit d is d + 1 tones at once."""
    for digit in range(digits):
        for voice, speaker in enumerate(SPEAKERS):
            for take in range(takes):
                seed = 100 * digit + 10 * voice + take
                tones = [tone(300 + 40 * voice + 800 * k, seed=seed) for k in range(digit + 1)]
                write_wav(root / f"{digit}_{speaker}_{take}.wav", np.mean(tones, axis=0))
    return root


def write_spoken_words(
    root: Path, words: tuple[str, ...] = ("bed", "cat", "sheila", "tree"), takes: int = 2
) -> Path:
    """Write `<word>/<speaker>_nohash_<take>.wav` for four speakers, as in Speech Commands."""
    for number, word in enumerate(words):
        for voice, speaker in enumerate(("0a7c2a8d", "1b63157b", "c50f55b8", "ffd2ba2f")):
            for take in range(takes):
                seed = 100 * number + 10 * voice + take
                sound = tone(300 + 40 * voice + 500 * number, seed=seed)
                write_wav(root / word / f"{speaker}_nohash_{take}.wav", sound)
    return root


def write_words(
    root: Path, words: tuple[str, ...] = ("bed", "cat", "tree"), files: int = 5
) -> Path:
    """Write one folder of files a word, named by no speaker and no take."""
    for number, word in enumerate(words):
        for index in range(files):
            write_wav(root / word / f"{index}.wav", tone(400 + 500 * number, seed=index))
    return root
