"""Data-incremental learning: every session has the same classes with new images.

The Data-IL streams of, among others, Fini et al., "Self-Supervised Models are Continual Learners",
CVPR 2022: a data set is split at random into parts of equal composition. Labels may be withheld.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from cl_suite.data.cut import rows_by_class
from cl_suite.data.pool import Pool
from cl_suite.data.samples import UNLABELLED, Samples
from cl_suite.data.sources import Source
from cl_suite.data.stream import Kind, Stream
from cl_suite.errors import UserError
from cl_suite.parameters import Within
from cl_suite.scenarios.source_data import SourceData


@dataclass(kw_only=True, eq=False)
class DataIncremental(SourceData):
    """A data set split at random into sessions that each have a part of every class.

    Training and test images are dealt class by class, in random order from `seed`. Sessions differ
    in size by at most one image, and so do a class's parts.

    Args:
        source: the data set; "omniglot" comes with the package. "cifar10" is also read from one
            folder a class; names of test images begin with `test`.
        num_sessions: number of sessions.
        unlabelled_fraction: share of each session's training images without a label (target -100),
            spread evenly over the classes; each class keeps at least one label a session.
        seed: seed of the random split.
        test_fraction: share of each class's images for testing, for source "image_folder", drawn by
            a fixed seed; 0 tests on the very images that were learned, null for 0.3.
    """

    source: Source = "omniglot"
    num_sessions: Annotated[int, Within(1)] = 5
    unlabelled_fraction: Annotated[float, Within(0, 1, open_end=True)] = 0.0
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0
    test_fraction: Annotated[float, Within(0, 1, open_end=True)] | None = None

    kind: ClassVar[Kind] = "data"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        pool = self._read(self.source, self.test_fraction)
        train_rows = self._deal(pool, pool.train.targets, "training")
        test_rows = self._deal(pool, pool.test.targets, "test")
        hidden = [
            row
            for rows in train_rows
            for row in withheld(rows, pool.train.targets, self.unlabelled_fraction)
        ]
        note = f"withheld the labels of {len(hidden)} of {len(pool.train)} training images"
        return dataclasses.replace(pool, train=unlabelled(pool.train, hidden)).stream(
            name="data_incremental",
            sessions=self.num_sessions * (tuple(range(len(pool.class_names))),),
            train_rows=train_rows,
            test_rows=test_rows,
            kind="data",
            notes=(note,) if hidden else (),
        )

    def _deal(self, pool: Pool, targets: Sequence[int], purpose: str) -> list[list[int]]:
        candidates = rows_by_class(targets)
        for class_id, name in enumerate(pool.class_names):
            if (found := len(candidates.get(class_id, ()))) < self.num_sessions:
                raise UserError(
                    f"class '{name}' has too few {purpose} images, {found} for "
                    f"{self.num_sessions} sessions; choose fewer sessions or add images"
                )
        return deal(candidates, self.num_sessions, self.seed)


def deal(candidates: Mapping[int, Sequence[int]], num_sessions: int, seed: int) -> list[list[int]]:
    """Return the rows of each session, class by class, in random order within a class.

    Each class continues after the session where the previous class ended, so the remainders are
    spread over the sessions.
    """
    sessions: list[list[int]] = [[] for _ in range(num_sessions)]
    dealt = 0
    for class_id in sorted(candidates):
        rows = candidates[class_id]
        for row in np.random.default_rng([seed, class_id]).permutation(rows).tolist():
            sessions[dealt % num_sessions].append(row)
            dealt += 1
    return sessions


def withheld(rows: Sequence[int], targets: Sequence[int], fraction: float) -> list[int]:
    """Return the rows of one session that lose their labels; every class keeps at least one.

    Args:
        rows: class by class, in random order within each.
        targets: class id of each row of the data set.

    Example:
        >>> withheld([4, 5, 6, 7, 8], [0, 0, 0, 0, 1, 1, 1, 2, 2], 0.5)
        [5, 6, 8]
    """
    hidden: list[int] = []
    passed = 0
    for of_class in rows_by_class([targets[row] for row in rows]).values():
        passed += len(of_class)
        # round the total so far: rounding each class alone would lose the share of small classes
        wanted = int(fraction * passed + 0.5) - len(hidden)
        num = max(0, min(wanted, len(of_class) - 1))
        hidden += [rows[i] for i in of_class[len(of_class) - num :]]
    return hidden


def unlabelled(samples: Samples, rows: Sequence[int]) -> Samples:
    """Return the samples, with the labels of `rows` removed."""
    hidden = set(rows)
    changed = copy.copy(samples)
    changed.targets = [
        UNLABELLED if row in hidden else target for row, target in enumerate(samples.targets)
    ]
    return changed
