"""The three benchmarks of few-shot class-incremental learning, with their published shots.

Tao et al., "Few-Shot Class-Incremental Learning" (TOPIC), CVPR 2020, and Zhang et al., "Few-Shot
Incremental Learning with Continually Evolved Classifiers" (CEC), CVPR 2021, whose lists are used.
Session 0 has every training image of the base classes. A later session has only `shots` images of
each of its classes. After each session, all test images of all classes seen are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cl_suite.data.cut import (
    all_rows,
    cut_classes,
    order_in_words,
    published_or_drawn,
    remainder_notes,
    rows_by_class,
    shot_rows,
)
from cl_suite.data.pool import Pool
from cl_suite.data.readers import cifar100, cub200, mini_imagenet, published
from cl_suite.data.readers.folders import Augmentation
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.parameters import Within
from cl_suite.scenarios.few_shots import FewShots

PublishedOrRandom = Literal["published", "random"]


@dataclass(frozen=True)
class Protocol:
    """The setting behind the published figures of a benchmark.

    Attributes:
        title: name of the benchmark.
        base_classes, way, shots: the published sessions.
        base_images, test_images: number of training images of all base classes, and of all test
            images.
        image_size: side of the standard input in pixels.
        read: function that reads the data set from `root`, `image_size` and `augmentation`.
    """

    title: str
    base_classes: int
    way: int
    shots: int
    base_images: int
    test_images: int
    image_size: int
    read: Callable[..., Pool]


PROTOCOLS: Mapping[published.Lists, Protocol] = {
    "mini_imagenet": Protocol("miniImageNet", 60, 5, 5, 30_000, 10_000, 84, mini_imagenet.read),
    "cifar100": Protocol("CIFAR-100", 60, 5, 5, 30_000, 10_000, 32, cifar100.read),
    "cub200": Protocol("CUB-200", 100, 10, 5, 3_000, 5_794, 224, cub200.read),
}


@dataclass(kw_only=True, eq=False)
class FSCIL(FewShots):
    """A published benchmark: a base session with all images, then few-shot sessions.

    Args:
        dataset: mini_imagenet (`root` has `images/` and `split/{train,test}.csv`), cifar100
            (`cifar-100-python/`) or cub200 (`root` is the folder `CUB_200_2011` or its parent).
        root: folder of the data set.
        base_classes: classes of session 0; null for the protocol's (60, 60, 100).
        way: classes of each later session; null for the protocol's (5, 5, 10).
        shots: training images of each later class.
        base_shots: maximum number of training images of a base class; null for all.
        class_order: published (label order), natural (by name, numbers by value), the seed of a
            drawn order, or a list of all class ids; but for the first, shots must be random.
        shot_selection: published (the fixed lists behind published figures) or random (drawn from
            `shot_seed`).
        shot_seed: seed of the random shots.
        augmentation: standard, or autoaugment to add the data set's policy.
        image_size: height and width of the model's input in pixels; null for 84, 32 or 224.
    """

    dataset: published.Lists
    root: str
    base_classes: Annotated[int, Within(1)] | None = None
    way: Annotated[int, Within(1)] | None = None
    shots: Annotated[int, Within(1)] = 5
    base_shots: Annotated[int, Within(1)] | None = None
    class_order: (
        Literal["published", "natural"]
        | Annotated[int, Within(0, 2**32 - 1)]
        | list[Annotated[int, Within(0)]]
    ) = "published"
    shot_selection: PublishedOrRandom = "published"
    shot_seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    augmentation: Augmentation = "standard"
    image_size: Annotated[int, Within(2, 4096)] | None = None

    @property
    def _base_classes(self) -> int:
        given = self.base_classes
        return PROTOCOLS[self.dataset].base_classes if given is None else given

    @property
    def _way(self) -> int:
        return PROTOCOLS[self.dataset].way if self.way is None else self.way

    def _read(self) -> Pool:
        protocol = PROTOCOLS[self.dataset]
        size = protocol.image_size if self.image_size is None else self.image_size
        return protocol.read(self.root, image_size=size, augmentation=self.augmentation)

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        pool = self._read()
        order = published_or_drawn(pool.class_names, self.class_order)
        sessions = cut_classes(order, base_classes=self._base_classes, way=self._way)
        images = rows_by_class(pool.train.targets)
        novel = self._novel_candidates(pool, images)
        shots = self._shots_of(sessions[1:], self.shots)
        selection: Literal["first", "random"] = (
            "first" if self.shot_selection == "published" else "random"
        )
        novel_rows = [
            shot_rows(
                novel,
                classes,
                shots=shots,
                class_names=pool.class_names,
                selection=selection,
                seed=self.shot_seed,
            )
            for classes in sessions[1:]
        ]
        return self._cut(
            pool,
            name=self.dataset,
            sessions=sessions,
            train_rows=[all_rows(images, sessions[0], self.base_shots), *novel_rows],
            shots=shots,
            notes=(*remainder_notes(sessions, self._way), *self._deviations(pool, images)),
        )

    def _novel_candidates(
        self, pool: Pool, images: Mapping[int, Sequence[int]]
    ) -> Mapping[int, Sequence[int]]:
        if self.shot_selection == "random":
            return images
        if self.class_order != "published":
            raise UserError(
                "class_order must be published for the published shots, got "
                f"{order_in_words(self.class_order)}; use shot_selection='random' for other orders"
            )
        protocol = PROTOCOLS[self.dataset]
        for parameter, value, limit, fits in (
            ("base_classes", self._base_classes, "at least", protocol.base_classes),
            ("shots", self.shots, "at most", protocol.shots),
        ):
            if value < fits if limit == "at least" else value > fits:
                raise UserError(
                    f"{parameter} must be {limit} {fits} for the published shots, got {value}; "
                    "use shot_selection='random' for other values"
                )
        return published.rows_of_shots(
            published.load(self.dataset),
            {entry: row for row, entry in enumerate(pool.entries)},
            pool.train.targets,
            first_novel_class=protocol.base_classes,
            way=protocol.way,
            shots=protocol.shots,
        )

    def _deviations(self, pool: Pool, images: Mapping[int, Sequence[int]]) -> tuple[str, ...]:
        protocol = PROTOCOLS[self.dataset]
        base_images = len(all_rows(images, range(protocol.base_classes)))
        cut = (self._base_classes, self._way, self.shots)
        reasons = []
        if self.class_order != "published":
            reasons.append(f"classes come in another order ({order_in_words(self.class_order)})")
        if self.shot_selection == "random":
            reasons.append(f"the shots are drawn at random (shot_seed {self.shot_seed})")
        if cut != (protocol.base_classes, protocol.way, protocol.shots):
            reasons.append("base_classes, way or shots are not the protocol's")
        if self.base_shots is not None:
            reasons.append(f"a base class has at most {self.base_shots} images")
        if self.spoiled_by:
            reasons.append(f"training data are changed by {' and '.join(self.spoiled_by)}")
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
