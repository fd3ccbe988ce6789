"""Few-shot class-incremental learning on your own pictures, in a folder with one folder a class."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cl_suite.data.copies import Duplicates
from cl_suite.data.cut import (
    all_rows,
    class_order,
    cut_classes,
    published_or_drawn,
    remainder_notes,
    rows_by_class,
    shot_rows,
)
from cl_suite.data.pool import Pool
from cl_suite.data.readers import image_folder
from cl_suite.data.readers.names import as_text, order_note
from cl_suite.data.stream import Stream
from cl_suite.parameters import Within
from cl_suite.scenarios.few_shots import FewShots


@dataclass(kw_only=True, eq=False)
class ImageFolder(FewShots):
    """The classes of a folder of class folders: a base session, then few-shot sessions.

    Other files are skipped and listed in the stream's notes. Symbolic links are followed. If the
    folder holds `train/` and `test/` (or `val/`), each with the class folders, these are the
    training and the test images. Deterministic in `seed`.

    Args:
        root: folder that holds one folder of images a class.
        base_classes: classes of session 0, which has all their training images.
        way: classes of each later session.
        shots: training images of each later class.
        test_fraction: share of each class's images for testing, at least one image; 0 tests on the
            very images that were learned.
        class_order: order of arrival: "name" (as text: 1, 10, 2), "natural" (numbers by value),
            "random" (from `seed`), or a list of folder names; folders not in the list are left out.
        seed: seed of the training/test split, the shots and the random class order.
        image_size: height and width of the model's input in pixels.
        augment: crop and flip each training image at random.
        mirror_symmetric: False if a mirrored image may belong to another class (signs, letters,
            digits), so that no training image is flipped.
        skip_unreadable: leave out images that cannot be read, instead of stopping at the first.
        duplicates: what to do with the same picture under several names: "keep" (all copies in
            training or all in test), "drop" (use the first) or "refuse".
    """

    root: str
    base_classes: Annotated[int, Within(1)]
    way: Annotated[int, Within(1)] = 5
    shots: Annotated[int, Within(1)] = 5
    test_fraction: Annotated[float, Within(0, 1, open_end=True)] = 0.3
    # a folder may be named 10 or no, which YAML reads as something else than text
    class_order: Literal["name", "natural", "random"] | list[Any] = "name"
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    image_size: Annotated[int, Within(2, 4096)] = 84
    augment: bool = True
    mirror_symmetric: bool = True
    skip_unreadable: bool = False
    duplicates: Duplicates = "keep"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` if a parameter, folder or image cannot be used."""
        listed = None if isinstance(self.class_order, str) else self.class_order
        pool = image_folder.read(
            self.root,
            test_fraction=self.test_fraction,
            seed=self.seed,
            image_size=self.image_size,
            augment=self.augment,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
            classes=listed,
        )
        pool = dataclasses.replace(pool, mirror_symmetric=self.mirror_symmetric)
        order = self._order(pool, listed)
        sessions = cut_classes(order, base_classes=self.base_classes, way=self.way)
        candidates = rows_by_class(pool.train.targets)
        shots = self._shots_of(sessions[1:], self.shots)
        novel = [
            shot_rows(
                candidates,
                classes,
                shots=shots,
                class_names=pool.class_names,
                tested=() if pool.test is pool.train else pool.test.targets,
            )
            for classes in sessions[1:]
        ]
        return self._cut(
            pool,
            name="image_folder",
            sessions=sessions,
            train_rows=[all_rows(candidates, sessions[0]), *novel],
            shots=shots,
            notes=(*remainder_notes(sessions, self.way), *self._notes(pool)),
        )

    def _notes(self, pool: Pool) -> tuple[str, ...]:
        order = order_note(pool.class_names) if self.class_order == "name" else ()
        return order if pool.test is not pool.train else (*order, image_folder.SAME_IMAGES)

    def _order(self, pool: Pool, listed: list[Any] | None) -> list[int]:
        names = pool.class_names
        if listed is not None:
            return [names.index(name) for name in as_text("class_order", listed, names)]
        if self.class_order == "natural":
            return published_or_drawn(names, "natural")
        kind: Literal["natural", "seeded"] = "natural" if self.class_order == "name" else "seeded"
        return class_order(len(names), kind, self.seed)
