"""Measures seconds, and says what a few rounds found."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def summary(values: Sequence[float]) -> str:
    """Return the median and the range of the rounds' values, in words."""
    return (
        f"median {statistics.median(values):.3f}  (from {min(values):.3f} to {max(values):.3f}, "
        f"{len(values)} rounds)"
    )
