"""Few-shot or class-incremental learning of words, tested on voices that were never heard.

Any folder with one folder of wav files a word fits if the file names begin with the speaker, such
as Speech Commands (Warden, 2018, arXiv 1804.03209; 35 words) and Arabic Speech Commands (Ghandoura,
Hjabo and Al Dakkak, "Building and Benchmarking an Arabic Speech Commands Dataset for
Small-Footprint Keyword Spotting", 2021; 40 words).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cl_suite.data.stream import Stream
from cl_suite.parameters import Above, Within
from cl_suite.scenarios.recorded_words import RecordedWords


@dataclass(kw_only=True, eq=False)
class SpokenWords(RecordedWords):
    """Words of a folder of word folders: a base session, then few shots or full data.

    The test recordings are those of some speakers, and nothing is learned from these speakers.
    Every recording becomes one second (`seconds`) of sound. Longer recordings are cut to their
    loudest part, shorter ones are padded with silence on both sides. Deterministic in `seed`.

    Args:
        root: folder with one folder of wav files a word; file names begin with the speaker's name
            and an underscore.
        shots: training recordings of each later word, drawn from `seed`; null for all of them,
            which makes a class-incremental stream.
        test_fraction: share of the speakers for testing.
        seed: seed of the test speakers, the shots and the seeded order; null for the run's seed, so
            every seed of a run is another draw.
    """

    base_classes: Annotated[int, Within(1)] = 20
    way: Annotated[int, Within(1)] = 5
    shots: Annotated[int, Within(1)] | None = 5
    test_fraction: Annotated[float, Above(0, 1, open_end=True)] = 0.25
    seed: Annotated[int, Within(0, 2**32 - 1)] | None = None

    drawn_by_seed: ClassVar[str] = "seed"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` if a parameter, folder or file cannot be used."""
        return self._stream("spoken_words", "speaker", self.seed or 0)
