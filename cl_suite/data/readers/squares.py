"""Central squares of image files: what a session of a folder keeps in memory.

If all files are squares of one side, smaller than the square that the transforms begin with, they
are kept as they are: the transforms enlarge them, and exemplars of them stay small.

Each file is looked into before it is used. A small one is decoded for that as a whole, so its
pixels are kept until the sessions take their squares: no file is decoded twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from cl_suite.data.pictures import Look, look_into
from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.transforms import ResizeCenterCrop

MEMORY_LIMIT_BYTES = 1 << 30  # larger sessions stay files, decoded again on each access
SEEN_LIMIT_BYTES = 1 << 28  # pixels of files that were looked into
TOGETHER = 32  # files a thread task: one task a file costs more than decoding a small image
Thing = TypeVar("Thing")


class Squares:
    """The squares of one data set's image files, as a `Pool.load`.

    Args:
        square: cuts a picture to its square.
    """

    def __init__(self, square: ResizeCenterCrop) -> None:
        self.square = square
        self._seen: dict[Path, Tensor] = {}
        self._left = SEEN_LIMIT_BYTES
        self._sizes: set[tuple[int, int]] = set()  # of the files that were looked into

    @property
    def kept(self) -> ResizeCenterCrop:
        """Cuts a picture to what a session keeps."""
        if len(self._sizes) == 1:
            width, height = next(iter(self._sizes))
            if width == height < self.square.size:
                return ResizeCenterCrop(width, width)
        return self.square

    def look_into(self, paths: Sequence[Path]) -> Iterator[Look]:
        """Yield what a first look into each file finds, and keep the pixels of small ones."""
        with ThreadPoolExecutor() as pool:
            for part, looks in zip(
                parts_of(paths), pool.map(self._looks, parts_of(paths)), strict=True
            ):
                for path, look in zip(part, looks, strict=True):
                    self._keep(path, look.pixels)
                    if look.problem is None:
                        self._sizes.add(look.size)
                    yield look

    def cut_by(self, square: ResizeCenterCrop) -> Squares:
        """Return other squares of the same files, with the pixels that are kept of them."""
        other = Squares(square)
        other._seen, other._left, other._sizes = self._seen, self._left, self._sizes
        return other

    def __call__(self, samples: Samples) -> Samples:
        """Return the squares of image files as tensors, or the files if these are too many."""
        num_bytes = len(samples) * 3 * self.kept.size**2
        if not isinstance(samples, FileSamples) or num_bytes > MEMORY_LIMIT_BYTES:
            return samples
        with ThreadPoolExecutor() as pool:
            parts = list(
                pool.map(lambda rows: self._cut(samples, rows), parts_of(range(len(samples))))
            )
        return TensorSamples(torch.cat(parts), samples.targets)

    def _looks(self, paths: Sequence[Path]) -> list[Look]:
        # a picture no larger than its square takes no more memory than the session will
        return [look_into(path, whole=self.square.size**2) for path in paths]

    def _keep(self, path: Path, pixels: Tensor | None) -> None:
        if pixels is not None and pixels.numel() <= self._left:
            self._left -= pixels.numel()
            self._seen[path] = pixels

    def _cut(self, samples: FileSamples, rows: Sequence[int]) -> Tensor:
        seen = [self._seen.get(samples.paths[row]) for row in rows]
        pictures = [samples[row][0] if p is None else p for row, p in zip(rows, seen, strict=True)]
        if len({picture.shape for picture in pictures}) == 1:
            return self.kept(torch.stack(pictures))
        return torch.stack([self.kept(picture) for picture in pictures])


def parts_of(things: Sequence[Thing]) -> list[Sequence[Thing]]:
    """Return slices for one thread task each."""
    return [things[start : start + TOGETHER] for start in range(0, len(things), TOGETHER)]
