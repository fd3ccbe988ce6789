"""Data-incremental learning: the same classes in every session, each time in new images.

The Data-IL streams of, among others, Fini et al., "Self-Supervised Models are Continual Learners",
CVPR 2022: a data set is dealt at random into parts of equal make-up. Labels may be withheld.
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
from cl_suite.data.sources import Source, read_source
from cl_suite.data.stream import Kind, Stream
from cl_suite.errors import UserError
from cl_suite.parameters import Parameters, Within


@dataclass(kw_only=True, eq=False)
class DataIncremental(Parameters):
    """Any of the data sets, dealt into sessions that each have a part of every class.

    Training images and test images are dealt class by class, by a random draw from `seed`; sessions
    differ by one image at most, and so do a class's parts.

    Args:
        source: the data set; "omniglot" comes with the package.
        root: folder of the data set, see the scenario of its name; unused by "omniglot".
        num_sessions: parts to deal into.
        unlabelled_fraction: share of each session's training images whose label is withheld
            (target -100), spread evenly over the classes; each class keeps one label a session.
        seed: of the dealing.
    """

    source: Source = "omniglot"
    root: str | None = None
    num_sessions: Annotated[int, Within(1)] = 5
    unlabelled_fraction: Annotated[float, Within(0, 1, open_end=True)] = 0.0
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0

    kind: ClassVar[Kind] = "data"

    def build(self) -> Stream:
        """Return the stream; raise `UserError` for data or parameters that do not fit."""
        if not 0 <= self.unlabelled_fraction < 1:
            raise UserError(
                "unlabelled_fraction must lie in [0, 1), got "
                f"{self.unlabelled_fraction}; each class keeps one label a session"
            )
        pool = read_source(self.source, self.root)
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
                    f"{self.num_sessions} sessions; ask for fewer sessions or add images"
                )
        return deal(candidates, self.num_sessions, self.seed)


def deal(candidates: Mapping[int, Sequence[int]], num_sessions: int, seed: int) -> list[list[int]]:
    """Return the rows of each session, class by class, each class's in random order.

    Dealing goes on where the class before ended, so that no session gets every remainder.
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
        # the share of all so far: rounded for each class alone it would be lost in small classes
        wanted = int(fraction * passed + 0.5) - len(hidden)
        num = max(0, min(wanted, len(of_class) - 1))
        hidden += [rows[i] for i in of_class[len(of_class) - num :]]
    return hidden


def unlabelled(samples: Samples, rows: Sequence[int]) -> Samples:
    """Return the samples, those of `rows` without label."""
    hidden = set(rows)
    changed = copy.copy(samples)
    changed.targets = [
        UNLABELLED if row in hidden else target for row, target in enumerate(samples.targets)
    ]
    return changed
