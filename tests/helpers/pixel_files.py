"""Small pictures of noise in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(folder: Path, number: int, side: int = 16) -> None:
    """Write `number` different PNG files."""
    generator = np.random.default_rng(0)
    for i in range(number):
        pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
