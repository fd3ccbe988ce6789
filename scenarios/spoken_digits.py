"""Class-incremental or few-shot learning of spoken digits, or of any recorded words.

The Free Spoken Digit Dataset (ten digits, six speakers, 8 kHz) in five sessions of two digits. For
six base digits followed by 1-way 5-shot sessions, use `base_classes=6, way=1, shots=5`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cl_suite.data.readers.sound_split import Split
from cl_suite.data.stream import Stream
from cl_suite.parameters import Above, Within
from cl_suite.scenarios.recorded_words import RecordedWords


@dataclass(kw_only=True, eq=False)
class SpokenDigits(RecordedWords):
    """Recorded words, each a class: a base session, then sessions with full data or few shots.

    Every recording becomes one second (`seconds`) of sound. Longer recordings are cut to their
    loudest part, shorter ones are padded with silence on both sides. Stereo is mixed down, and
    other sample rates are resampled. Deterministic in `seed`.

    Args:
        root: folder of the Free Spoken Digit Dataset, its `recordings` folder (files
            `<digit>_<speaker>_<take>.wav`), or a folder with one folder of wav files a class.
        split: "take" tests other takes of the same speakers, "speaker" tests unseen speakers.
        test_fraction: share of the takes (the lowest numbers) or of the speakers for testing; if
            file names have no takes, share of each class's files. The data set's standard split
            is 0.1, takes 0 to 4 of 50.
        seed: seed of the shots, the drawn speakers or files, and the seeded order.
    """

    base_classes: Annotated[int, Within(1)] = 2
    way: Annotated[int, Within(1)] = 2
    shots: Annotated[int, Within(1)] | None = None
    split: Split = "take"
    test_fraction: Annotated[float, Above(0, 1, open_end=True)] = 0.2
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0

    def build(self) -> Stream:
        """Return the stream; raise `UserError` if a parameter, folder or file cannot be used."""
        return self._stream("spoken_digits", self.split, self.seed)
