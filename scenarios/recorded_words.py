"""What the scenarios of recorded words have in common: their parameters and how they are cut."""

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
from cl_suite.data.pool import Pool
from cl_suite.data.readers import sound
from cl_suite.data.readers.names import as_text
from cl_suite.data.readers.sound import Features
from cl_suite.data.readers.sound_split import Split
from cl_suite.data.stream import Modality, Stream
from cl_suite.parameters import Above, Within
from cl_suite.scenarios.few_shots import FewShots


@dataclass(kw_only=True, eq=False)
class RecordedWords(FewShots):
    """Recorded words, each a class: a base session, then sessions with full data or few shots.

    Every recording becomes one second (`seconds`) of sound. Longer recordings are cut to their
    loudest part, shorter ones are padded with silence on both sides. Stereo is mixed down, and
    other sample rates are resampled.

    Args:
        root: folder with one folder of wav files a class.
        base_classes: classes of session 0, which has all their training recordings.
        way: classes of each later session.
        shots: training recordings of each later class, drawn from `seed`; null for all of them.
        test_fraction: share of the recordings for testing.
        test_speakers: names of the test speakers; null draws them from `seed`.
        class_order: order of arrival: "natural" (numbers by value, other folders by name), "seeded"
            (drawn from `seed`), or a list of class names; classes not in the list are left out.
        features: "log_mel" for small networks, "waveform" (16 kHz) for wav2vec2 and Whisper.
        seconds: length of every sound.
        augment: add random shifts, noise and masks to the training sounds.
        skip_unreadable: leave out files that cannot be read, instead of stopping at the first.
        duplicates: what to do with the same sound under several names: "keep" (all copies in
            training or all in test), "drop" (use the first) or "refuse".
    """

    root: str
    base_classes: Annotated[int, Within(1)]
    way: Annotated[int, Within(1)]
    shots: Annotated[int, Within(1)] | None
    test_fraction: Annotated[float, Above(0, 1, open_end=True)]
    # a name may be 10 or no, which YAML reads as something else than text
    test_speakers: list[Any] | None = None
    class_order: Literal["natural", "seeded"] | list[Any] = "natural"
    features: Features = "log_mel"
    seconds: Annotated[float, Within(0.05, 60)] = 1.0
    augment: bool = True
    skip_unreadable: bool = False
    duplicates: Duplicates = "keep"

    modality: ClassVar[Modality] = "audio"

    def _stream(self, name: str, split: Split, seed: int) -> Stream:
        """Return the stream of these recordings.

        Args:
            name: the scenario's.
            split: how test recordings are set apart.
            seed: seed of the draws.

        Raises:
            UserError: if a parameter, folder or file cannot be used.
        """
        pool = self._read(split, seed)
        order = self._order(pool.class_names, seed)
        sessions = cut_classes(order, base_classes=self.base_classes, way=self.way)
        candidates = rows_by_class(pool.train.targets)
        shots = self._shots_of(sessions[1:], self.shots)

        def later_rows(classes: Sequence[int]) -> list[int]:
            if shots is None:
                return all_rows(candidates, classes)
            return shot_rows(
                candidates,
                classes,
                shots=shots,
                class_names=pool.class_names,
                # files are sorted by speaker, so the first ones would all be of one voice
                selection="random",
                seed=seed,
            )

        return self._cut(
            pool,
            name=name,
            sessions=sessions,
            train_rows=[
                all_rows(candidates, sessions[0]),
                *map(later_rows, sessions[1:]),
            ],
            shots=shots,
            notes=remainder_notes(sessions, self.way),
        )

    def _read(self, split: Split, seed: int) -> Pool:
        return sound.read(
            self.root,
            features=self.features,
            split=split,
            test_fraction=self.test_fraction,
            test_speakers=self.test_speakers,
            seed=seed,
            seconds=self.seconds,
            augment=self.augment,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
            classes=None if isinstance(self.class_order, str) else self.class_order,
        )

    def _order(self, class_names: Sequence[str], seed: int) -> list[int]:
        if isinstance(self.class_order, str):
            return class_order(len(class_names), self.class_order, seed)
        return [class_names.index(n) for n in as_text("class_order", self.class_order, class_names)]
