"""Blurry borders: a part of each class arrives in later sessions than its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cl_suite.data.cut import Sessions, rows_by_class

LATE = 3  # of the streams of random numbers of one seed


def blurred(
    sessions: Sessions,
    rows: Sequence[Sequence[int]],
    targets: Sequence[int],
    share: float,
    seed: int = 0,
) -> tuple[Sessions, list[list[int]]]:
    """Return the classes and rows of each session if a share of each class comes late.

    As the blurry streams of Bang et al., "Rainbow Memory", CVPR 2021, in one direction: late
    samples are spread over all later sessions alike, and none comes early, so a session still is
    the first one of its own classes. Every class keeps a sample there. Classes of the last session
    cannot come late.

    Args:
        sessions: own classes of each session.
        rows: its training samples.
        targets: class of each sample.
        share: share of each class that comes late, in [0, 1).

    Example:
        >>> blurred(((0,), (1,)), [[0, 1], [2, 3]], [0, 0, 1, 1], 0.5)
        (((0,), (1, 0)), [[1], [2, 3, 0]])
    """
    gone: set[int] = set()
    late: list[list[int]] = [[] for _ in rows]
    for session, own in enumerate(rows[:-1]):
        for class_id, places in sorted(rows_by_class([targets[row] for row in own]).items()):
            generator = np.random.default_rng([seed, LATE, class_id])
            num = min(round(share * len(places)), len(places) - 1)
            moved = [own[places[i]] for i in generator.permutation(len(places))[:num]]
            gone |= set(moved)
            for row, to in zip(moved, generator.integers(session + 1, len(rows), num), strict=True):
                late[to].append(row)
    added = [dict.fromkeys(targets[row] for row in each) for each in late]
    classes = tuple((*own, *more) for own, more in zip(sessions, added, strict=True))
    kept = [[row for row in own if row not in gone] for own in rows]
    return classes, [[*own, *more] for own, more in zip(kept, late, strict=True)]
