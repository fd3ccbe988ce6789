"""Keeps a session's confusion matrix without its zeros, for the dashboard's picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cl_suite.engine.evaluation import Predictions
from cl_suite.runs.folder import RunFolder
from cl_suite.storage import checkpoint

MOST_DRAWN = 200  # rows of a picture; more classes share rows
MOST_PICTURES = 32  # of a run; TensorBoard itself shows ten of them


def is_pictured(session: int, num_sessions: int) -> bool:
    """Return whether a session's matrices are drawn: of many sessions, each second, third, ...

    They are counted from the last session, which is always drawn.

    Example:
        >>> [session for session in range(100) if is_pictured(session, 100)][-3:]
        [91, 95, 99]
    """
    every = -(-num_sessions // MOST_PICTURES)
    return (num_sessions - 1 - session) % every == 0


def store_confusion(folder: RunFolder, session: int, found: Predictions) -> None:
    """Write the pairs of true and predicted classes, and how often each came."""
    pairs, counts = found.pairs()
    tree = {"pairs": pairs.int().numpy(), "counts": counts.int().numpy()}
    checkpoint.save(folder.confusion_file(session), tree)


def stored_confusion(
    folder: RunFolder, session: int, classes: Sequence[int]
) -> NDArray[np.int64] | None:
    """Return a session's confusion matrix over these classes, in this order; None if it is lost.

    If there are more than `MOST_DRAWN` classes, neighbours share a row and a column.
    """
    if not folder.confusion_file(session).is_file():
        return None
    tree = checkpoint.load(folder.confusion_file(session))
    if "confusion" in tree:
        # of version 0.1: the whole matrix
        square = tree["confusion"]
        pairs = np.stack(np.nonzero(square))
        counts = square[tuple(pairs)]
    else:
        pairs, counts = tree["pairs"], tree["counts"]
    in_a_row = -(-len(classes) // MOST_DRAWN)
    row_of = {class_id: place // in_a_row for place, class_id in enumerate(classes)}
    num_rows = -(-len(classes) // in_a_row)
    matrix = np.zeros((num_rows, num_rows), dtype=np.int64)
    for true, predicted, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        if true in row_of and predicted in row_of:
            matrix[row_of[true], row_of[predicted]] += count
    return matrix
