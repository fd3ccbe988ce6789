"""Class-incremental learning with full data: equal sessions (B0) or a large first session (B50).

The standard streams of, among others, Rebuffi et al., "iCaRL", CVPR 2017 (B0) and Hou et al.,
"Learning a Unified Classifier Incrementally via Rebalancing", CVPR 2019 (B50).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cl_suite.data.copies import Duplicates
from cl_suite.data.cut import (
    ClassOrder,
    all_rows,
    class_order,
    cut_classes,
    remainder_notes,
    rows_by_class,
)
from cl_suite.data.sources import Source, read_source
from cl_suite.data.stream import Stream
from cl_suite.parameters import Parameters, Within


@dataclass(kw_only=True, eq=False)
class ClassIncremental(Parameters):
    """A data set cut into sessions with all training images of their classes.

    Args:
        source: the data set; "omniglot" comes with the package.
        root: folder of the data set, see the scenario of that name; not used by "omniglot".
        base_classes: classes of session 0 (B50: 50); null for as many as in the others (B0).
        way: classes of each session.
        class_order: "1993" is the standard permutation of the literature, "natural" the data
            set's own order, "seeded" an order drawn from `seed`.
        seed: seed of the "seeded" class order.
        skip_unreadable: leave out images of source "image_folder" that cannot be read.
        duplicates: the same picture under several names in source "image_folder": "keep" (all
            copies in training or all in test), "drop" (use the first) or "refuse".
        mirror_symmetric: False if a mirrored image may belong to another class (signs, letters,
            digits), so that no training image is flipped; null: by the data set.
    """

    source: Source = "omniglot"
    root: str | None = None
    base_classes: Annotated[int, Within(1)] | None = None
    way: Annotated[int, Within(1)] = 10
    class_order: ClassOrder = "1993"
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    skip_unreadable: bool = False
    duplicates: Duplicates = "keep"
    mirror_symmetric: bool | None = None

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        pool = read_source(
            self.source,
            self.root,
            skip_unreadable=self.skip_unreadable,
            duplicates=self.duplicates,
            mirror_symmetric=self.mirror_symmetric,
        )
        order = class_order(len(pool.class_names), self.class_order, self.seed)
        base_classes = self.way if self.base_classes is None else self.base_classes
        sessions = cut_classes(order, base_classes=base_classes, way=self.way)
        candidates = rows_by_class(pool.train.targets)
        return pool.stream(
            name="class_incremental",
            sessions=sessions,
            train_rows=[all_rows(candidates, classes) for classes in sessions],
            notes=remainder_notes(sessions, self.way),
        )
