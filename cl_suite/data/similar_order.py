"""Class orders that put look-alike classes into one session, or into different ones.

Lai et al., "The Lie of the Average" (EDGE, ICLR 2026, arXiv 2509.22580), show that a few drawn
orders hide the spread, and that methods do better if sessions resemble each other. So look-alike
classes in different sessions are the easiest order, and in one session the hardest. EDGE also draws
orders between the two; only its ends are here. A class is the mean of its training features. Both
orders are found by exchanges of two classes, as long as one helps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Similar = Literal["apart", "together"]
Floats = NDArray[np.float64]

LEAST_GAIN = 1e-12  # below it an exchange is a rounding error, and could be undone for ever


def similar_order(means: Floats, sizes: Sequence[int], similar: Similar) -> list[int]:
    """Return class ids in order of arrival, with look-alike classes apart or together.

    The sum of cosines within sessions is made small for `apart`, and large for `together`. The
    result is a local optimum: no exchange of two classes improves it. It depends on nothing but the
    arguments.

    Args:
        means: class means `(num_classes, dim)`, by class id.
        sizes: number of classes of each session.

    Raises:
        ValueError: if the sizes do not add up to the number of classes.

    Example:
        >>> means = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> similar_order(means, [2, 2], "together"), similar_order(means, [2, 2], "apart")
        ([0, 1, 2, 3], [3, 1, 2, 0])
    """
    if sum(sizes) != len(means):
        raise ValueError(f"{len(means)} classes do not fill sessions of {list(sizes)} classes")
    cosines = _cosines(means) * (1 if similar == "together" else -1)
    session = np.repeat(np.arange(len(sizes)), sizes)
    order = np.arange(len(means))
    while (exchange := _best_exchange(cosines[np.ix_(order, order)], session)) is not None:
        first, second = exchange
        order[[first, second]] = order[[second, first]]
    return [int(c) for c in order]


def within_sessions(means: Floats, order: Sequence[int], sizes: Sequence[int]) -> float:
    """Return the mean cosine of two classes of one session; NaN if no session has two.

    Args:
        means: class means `(num_classes, dim)`, by class id.
        order: class ids in order of arrival.
    """
    cosines = _cosines(means)[np.ix_(order, order)]
    session = np.repeat(np.arange(len(sizes)), sizes)
    same = np.triu(session[:, None] == session[None, :], 1)
    return float(cosines[same].mean()) if same.any() else float("nan")


def _cosines(means: Floats) -> Floats:
    length = np.linalg.norm(means, axis=1, keepdims=True)
    rows: Floats = means / np.where(length > 0, length, 1)
    return rows @ rows.T


def _best_exchange(gains: Floats, session: NDArray[np.int64]) -> tuple[int, int] | None:
    """Return the two places whose exchange raises the sum within sessions most; None for none."""
    member = session[:, None] == np.arange(session.max() + 1)  # (classes, sessions)
    alone = gains - np.diag(np.diag(gains))
    to_session = alone @ member  # (classes, sessions): the sum of a class over a session's others
    own = to_session[np.arange(len(session)), session]
    moved = to_session[:, session]  # [i, j]: i in the session of j
    change = moved + moved.T - own[:, None] - own[None, :] - 2 * alone
    change[session[:, None] == session[None, :]] = 0  # nothing changes within one
    best = int(np.argmax(change))
    first, second = divmod(best, len(session))
    return (first, second) if change[first, second] > LEAST_GAIN else None
