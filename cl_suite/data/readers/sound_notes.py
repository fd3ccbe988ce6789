"""What reading changes in recordings, said in sentences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cl_suite.data.readers.class_folders import named
from cl_suite.data.readers.wav import Sound, Waveform

SILENT = 1e-4  # share of the mean power below which nothing of a sound is left


@dataclass
class Changes:
    """The recordings that were changed in reading, by file name if they should be looked at."""

    resampled: Counter[int] = field(default_factory=Counter)
    mixed: int = 0
    cut: int = 0
    cancelled: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    lowered: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    silenced: list[str] = field(default_factory=list)

    def add(self, name: str, sound: Sound, cancelled: bool) -> None:
        """Count a recording as it was read."""
        self.mixed += sound.samples.shape[1] > 1 and not cancelled
        for found, names in (
            (cancelled, self.cancelled),
            (sound.gain > 1, self.raised),
            (sound.gain < 1, self.lowered),
            (not sound.samples.any(), self.silent),
        ):
            if found:
                names.append(name)

    def check_left(self, name: str, sound: Sound, result: Waveform, pcm: NDArray[np.int16]) -> None:
        """Remember a recording of whose sound next to nothing is left in the result."""
        before = float(np.square(sound.samples, dtype=np.float64).mean(axis=0).max())
        after = float(np.square(result, dtype=np.float64).mean())
        if before > 0 and (after <= SILENT * before or not pcm.any()):
            self.silenced.append(name)

    def notes(self, rate: int, seconds: float) -> tuple[str, ...]:
        """Return one sentence for each kind of change."""
        found = []
        if self.resampled:
            rates = ", ".join(f"{rate} Hz" for rate in sorted(self.resampled))
            found.append(
                f"resampled {recordings(self.resampled.total())} from {rates} to {rate} Hz"
            )
        if self.mixed:
            found.append(f"mixed {recordings(self.mixed)} of several channels down to one")
        if self.cut:
            found.append(f"cut {recordings(self.cut)} to the loudest {seconds:g} s")
        for names, before, after in (
            (self.cancelled, "used the loudest channel of", ": the channels cancel each other"),
            (self.raised, "amplified", ", too quiet for 16 bits"),
            (self.lowered, "scaled down", " with floats beyond [-1, 1]"),
            (self.silent, "found silence in", ""),
            (self.silenced, "lost the sound of", f": nothing of it is below {rate // 2} Hz"),
        ):
            if names:
                found.append(f"{before} {recordings(len(names))} ({named(names)}){after}")
        return tuple(found)


def recordings(num: int) -> str:
    """Return a number of recordings in words."""
    return f"{num} recording{'s' * (num != 1)}"
