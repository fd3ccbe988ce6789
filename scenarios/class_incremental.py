"""Class-incremental learning with full data: equal sessions (B0) or a large first session (B50).

The standard streams of, among others, Rebuffi et al., "iCaRL", CVPR 2017 (B0) and Hou et al.,
"Learning a Unified Classifier Incrementally via Rebalancing", CVPR 2019 (B50).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cl_suite.data.cut import (
    ClassOrder,
    all_rows,
    class_order,
    cut_classes,
    published_or_drawn,
    remainder_notes,
    rows_by_class,
)
from cl_suite.data.sources import Source
from cl_suite.data.stream import Stream
from cl_suite.parameters import Within
from cl_suite.scenarios.as_it_comes import AsItComes
from cl_suite.scenarios.source_data import SourceData


@dataclass(kw_only=True, eq=False)
class ClassIncremental(SourceData, AsItComes):
    """A data set cut into sessions with all training images of their classes.

    Args:
        source: the data set; "omniglot" comes with the package. "cifar10" is also read from one
            folder a class; names of test images begin with `test`.
        base_classes: classes of session 0 (B50: 50); null for as many as in the others (B0).
        way: classes of each session.
        class_order: "1993" is the standard permutation of the literature, "natural" the data
            set's own order, "seeded" an order drawn from `seed`; or a list of all class ids.
        seed: seed of the "seeded" class order.
        test_fraction: share of each class's images for testing, for source "image_folder", drawn by
            a fixed seed; 0 tests on the very images that were learned, null for 0.3.
    """

    source: Source = "omniglot"
    base_classes: Annotated[int, Within(1)] | None = None
    way: Annotated[int, Within(1)] = 10
    class_order: ClassOrder | list[Annotated[int, Within(0)]] = "1993"
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    test_fraction: Annotated[float, Within(0, 1, open_end=True)] | None = None

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        pool = self._read(self.source, self.test_fraction)
        if isinstance(self.class_order, list):
            order = published_or_drawn(pool.class_names, self.class_order)
        else:
            order = class_order(len(pool.class_names), self.class_order, self.seed)
        base_classes = self.way if self.base_classes is None else self.base_classes
        sessions = cut_classes(order, base_classes=base_classes, way=self.way)
        candidates = rows_by_class(pool.train.targets)
        return self._cut(
            pool,
            name="class_incremental",
            sessions=sessions,
            train_rows=[all_rows(candidates, classes) for classes in sessions],
            notes=remainder_notes(sessions, self.way),
        )
