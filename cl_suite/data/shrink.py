"""Shrinks drawings of ink on paper exactly: a pixel is the inked share of its area."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def shrink(ink: NDArray[np.bool_], size: int) -> Tensor:
    """Return `(n, size, size)` uint8: 255 times the inked share of each pixel's area.

    Areas are whole multiples of a small unit, so the result is exact and the same on every machine.

    Args:
        ink: `(n, height, width)`, height = width >= size.
    """
    overlap = _overlaps(ink.shape[-1], size)
    total = int(overlap[0].sum()) ** 2
    small = [
        # float32 holds these whole numbers exactly (total < 2**24) and multiplies faster
        (overlap @ drawings.astype(np.float32) @ overlap.T).astype(np.int64)
        for drawings in np.array_split(ink, math.ceil(len(ink) / 500))
    ]
    rounded = (np.concatenate(small) * 255 + total // 2) // total
    return torch.from_numpy(rounded.astype(np.uint8))


def _overlaps(length: int, size: int) -> NDArray[np.float32]:
    # pixel i covers [i * length, (i + 1) * length) and source pixel j [j * size, (j + 1) * size)
    start, source = np.arange(size)[:, None] * length, np.arange(length)[None] * size
    shared = np.minimum(start + length, source + size) - np.maximum(start, source)
    return (shared.clip(min=0) // math.gcd(length, size)).astype(np.float32)
