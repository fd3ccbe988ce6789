"""What the benchmarks with published shots share: cutting, the shots, and what deviates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from cl_suite.data.cut import (
    all_rows,
    check_choice,
    cut_classes,
    remainder_notes,
    rows_by_class,
    shot_rows,
)
from cl_suite.data.pool import Pool
from cl_suite.data.readers import published
from cl_suite.data.readers.folders import Augmentation
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError

PublishedOrRandom = Literal["published", "random"]


@dataclass(frozen=True)
class Protocol:
    """What the published figures of a benchmark rest on.

    Attributes:
        base_images, test_images: number of training images of all base classes, and of all test
            images.
    """

    title: str
    lists: published.Lists
    base_classes: int
    way: int
    shots: int
    base_images: int
    test_images: int


class PublishedBenchmark(ABC):
    """What the three benchmarks share; their parameters are documented there."""

    protocol: ClassVar[Protocol]

    def __init__(
        self,
        *,
        root: str,
        base_classes: int,
        way: int,
        shots: int,
        base_shots: int | None,
        shot_selection: PublishedOrRandom,
        shot_seed: int,
        augmentation: Augmentation,
        image_size: int,
    ) -> None:
        self.root = root
        self.base_classes = base_classes
        self.way = way
        self.shots = shots
        self.base_shots = base_shots
        self.shot_selection = shot_selection
        self.shot_seed = shot_seed
        self.augmentation = augmentation
        self.image_size = image_size

    @abstractmethod
    def read(self) -> Pool:
        """Return the data set; raise `UserError` if it is not there or not as expected."""

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        check_choice("shot_selection", self.shot_selection, ("published", "random"))
        pool = self.read()
        order = range(len(pool.class_names))  # no shuffling: the protocol has label order
        sessions = cut_classes(order, base_classes=self.base_classes, way=self.way)
        images = rows_by_class(pool.train.targets)
        novel = self._novel_candidates(pool, images)
        selection: Literal["first", "random"] = (
            "first" if self.shot_selection == "published" else "random"
        )
        novel_rows = [
            shot_rows(
                novel,
                classes,
                shots=self.shots,
                class_names=pool.class_names,
                selection=selection,
                seed=self.shot_seed,
            )
            for classes in sessions[1:]
        ]
        return pool.stream(
            name=self.protocol.lists,
            sessions=sessions,
            train_rows=[all_rows(images, sessions[0], self.base_shots), *novel_rows],
            shots=self.shots,
            notes=(*remainder_notes(sessions, self.way), *self._deviations(pool, images)),
        )

    def _novel_candidates(
        self, pool: Pool, images: Mapping[int, Sequence[int]]
    ) -> Mapping[int, Sequence[int]]:
        if self.shot_selection == "random":
            return images
        protocol = self.protocol
        for parameter, value, limit, fits in (
            ("base_classes", self.base_classes, "at least", protocol.base_classes),
            ("shots", self.shots, "at most", protocol.shots),
        ):
            if value < fits if limit == "at least" else value > fits:
                raise UserError(
                    f"{parameter} must be {limit} {fits} for the published shots, got {value}; "
                    "use shot_selection='random' for others"
                )
        return published.rows_of_shots(
            published.load(protocol.lists),
            {entry: row for row, entry in enumerate(pool.entries)},
            pool.train.targets,
            first_novel_class=protocol.base_classes,
            way=protocol.way,
            shots=protocol.shots,
        )

    def _deviations(self, pool: Pool, images: Mapping[int, Sequence[int]]) -> tuple[str, ...]:
        protocol = self.protocol
        base_images = len(all_rows(images, range(protocol.base_classes)))
        cut = (self.base_classes, self.way, self.shots)
        reasons = []
        if self.shot_selection == "random":
            reasons.append(f"the shots are drawn at random (shot_seed {self.shot_seed})")
        if cut != (protocol.base_classes, protocol.way, protocol.shots):
            reasons.append("base_classes, way or shots are not the protocol's")
        if self.base_shots is not None:
            reasons.append(f"a base class has at most {self.base_shots} images")
        if (base_images, len(pool.test)) != (protocol.base_images, protocol.test_images):
            reasons.append(
                f"the data set has {base_images} instead of {protocol.base_images} training images "
                f"of base classes, and {len(pool.test)} instead of {protocol.test_images} test "
                "images"
            )
        return tuple(
            f"not comparable with published {protocol.title} figures: {reason}"
            for reason in reasons
        )
