"""Few-shot class-incremental learning of handwritten characters, with data in the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cl_suite.data.cut import (
    ShotSelection,
    all_rows,
    cut_classes,
    published_or_drawn,
    remainder_notes,
    rows_by_class,
    shot_rows,
)
from cl_suite.data.readers import omniglot
from cl_suite.data.stream import Stream
from cl_suite.parameters import Within
from cl_suite.scenarios.few_shots import FewShots


@dataclass(kw_only=True, eq=False)
class Omniglot(FewShots):
    """242 characters of 8 alphabets: 122 base classes, then 12 sessions of 10-way 5-shot.

    A character's first ten drawings are for training, the other ten for testing. Classes arrive in
    a random order over all alphabets. Images are `(1, 28, 28)` in [0, 1] with bright ink.

    The whole of Omniglot, 1,623 characters of 50 alphabets, is read from a folder. With
    `base_classes` 964 the base session is then its background part.

    Args:
        root: a folder with Omniglot's own `images_background/` and `images_evaluation/`, or with
            alphabets; null for the characters in the package.
        base_classes: classes of session 0, which has all ten training drawings of each.
        way: classes of each later session.
        shots: training drawings of each later class, 1 to 10.
        shot_selection: "first" uses the first drawings, "random" draws them from `shot_seed`.
        shot_seed: seed of the random shots.
        class_order: published (that of the documents' figures: drawn from seed 0, and from a root
            the background characters first), natural (by name), the seed of a drawn order, or a
            list of all class ids.
        augment: rotate, scale, shear and shift each training image at random.
    """

    root: str | None = None
    base_classes: Annotated[int, Within(1)] = 122
    way: Annotated[int, Within(1)] = 10
    shots: Annotated[int, Within(1)] = 5
    shot_selection: ShotSelection = "first"
    shot_seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    class_order: (
        Literal["published", "natural"]
        | Annotated[int, Within(0, 2**32 - 1)]
        | list[Annotated[int, Within(0)]]
    ) = "published"
    augment: bool = True

    def build(self) -> Stream:
        """Return the stream; raise `UserError` if a parameter does not fit the data."""
        pool = omniglot.read(self.root, augment=self.augment)
        if self.class_order == "published":
            order = omniglot.order(self.root, pool.class_names)
        else:
            order = published_or_drawn(pool.class_names, self.class_order)
        sessions = cut_classes(order, base_classes=self.base_classes, way=self.way)
        candidates = rows_by_class(pool.train.targets)
        shots = self._shots_of(sessions[1:], self.shots)
        novel = [
            shot_rows(
                candidates,
                classes,
                shots=shots,
                class_names=pool.class_names,
                selection=self.shot_selection,
                seed=self.shot_seed,
            )
            for classes in sessions[1:]
        ]
        return self._cut(
            pool,
            name="omniglot",
            sessions=sessions,
            train_rows=[all_rows(candidates, sessions[0]), *novel],
            shots=shots,
            notes=remainder_notes(sessions, self.way),
        )
