"""Class-incremental or few-shot learning of spoken digits, or of any recorded words.

The Free Spoken Digit Dataset (ten digits, six speakers, 8 kHz) in five sessions of two digits. For
six base digits followed by 1-way 5-shot sessions, use `base_classes=6, way=1, shots=5`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from cl_suite.data.copies import Duplicates
from cl_suite.data.cut import (
    all_rows,
    class_order,
    cut_classes,
    remainder_notes,
    rows_by_class,
    shot_rows,
)
from cl_suite.data.readers import sound
from cl_suite.data.readers.names import as_text
from cl_suite.data.readers.sound import Features
from cl_suite.data.readers.sound_split import Split
from cl_suite.data.stream import Modality, Stream
from cl_suite.parameters import Above, Parameters, Within


@dataclass(kw_only=True, eq=False)
class SpokenDigits(Parameters):
    """Recorded words, each a class: a base session, then sessions with full data or few shots.

    Every recording becomes one second (`seconds`) of sound. Longer recordings are cut to their
    loudest part, shorter ones are padded with silence on both sides. Stereo is mixed down, and
    other sample rates are resampled. Deterministic in `seed`.

    Args:
        root: folder of the Free Spoken Digit Dataset, its `recordings` folder (files
            `<digit>_<speaker>_<take>.wav`), or a folder with one folder of wav files a class.
        base_classes: classes of session 0, which has all their training recordings.
        way: classes of each later session.
        shots: training recordings of each later class, drawn from `seed`; null for all of them.
        split: "take" tests other takes of the same speakers, "speaker" tests unseen speakers.
        test_fraction: share of the takes (the lowest numbers) or of the speakers for testing; if
            file names have no takes, share of each class's files. The data set's standard split
            is 0.1, takes 0 to 4 of 50.
        test_speakers: names of the test speakers; null draws them from `seed`.
        class_order: order of arrival: "natural" (numbers by value, other folders by name), "seeded"
            (drawn from `seed`), or a list of class names; classes not in the list are left out.
        seed: seed of the shots, the drawn speakers or files, and the seeded order.
        features: "log_mel" for small networks, "waveform" (16 kHz) for wav2vec2.
        seconds: length of every sound.
        augment: add random shifts, noise and masks to the training sounds.
        skip_unreadable: leave out files that cannot be read, instead of stopping at the first.
        duplicates: what to do with the same sound under several names: "keep" (all copies in
            training or all in test), "drop" (use the first) or "refuse".
    """

    root: str
    base_classes: Annotated[int, Within(1)] = 2
    way: Annotated[int, Within(1)] = 2
    shots: Annotated[int, Within(1)] | None = None
    split: Split = "take"
    test_fraction: Annotated[float, Above(0, 1, open_end=True)] = 0.2
    # a name may be 10 or no, which YAML reads as something else than text
    test_speakers: list[Any] | None = None
    class_order: Literal["natural", "seeded"] | list[Any] = "natural"
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    features: Features = "log_mel"
    seconds: Annotated[float, Within(0.05, 60)] = 1.0
    augment: bool = True
    skip_unreadable: bool = False
    duplicates: Duplicates = "keep"

    modality: ClassVar[Modality] = "audio"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` if a parameter, folder or file cannot be used."""
        listed = None if isinstance(self.class_order, str) else self.class_order
        pool = sound.read(
            self.root,
            features=self.features,
            split=self.split,
            test_fraction=self.test_fraction,
            test_speakers=self.test_speakers,
            seed=self.seed,
            seconds=self.seconds,
            augment=self.augment,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
            classes=listed,
        )
        sessions = cut_classes(
            self._order(pool.class_names), base_classes=self.base_classes, way=self.way
        )
        candidates = rows_by_class(pool.train.targets)
        return pool.stream(
            name="spoken_digits",
            sessions=sessions,
            train_rows=[
                all_rows(candidates, sessions[0]),
                *(self._novel_rows(candidates, c, pool.class_names) for c in sessions[1:]),
            ],
            shots=self.shots,
            notes=remainder_notes(sessions, self.way),
        )

    def _order(self, class_names: Sequence[str]) -> list[int]:
        if isinstance(self.class_order, str):
            return class_order(len(class_names), self.class_order, self.seed)
        return [class_names.index(n) for n in as_text("class_order", self.class_order, class_names)]

    def _novel_rows(
        self,
        candidates: dict[int, list[int]],
        classes: Sequence[int],
        class_names: Sequence[str],
    ) -> list[int]:
        if self.shots is None:
            return all_rows(candidates, classes)
        return shot_rows(
            candidates,
            classes,
            shots=self.shots,
            class_names=class_names,
            # files are sorted by speaker, so the first ones would all be of one voice
            selection="random",
            seed=self.seed,
        )
