"""A scenario whose test images, and whose later sessions' images, must not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from torch import Tensor

from cl_suite.data.stream import Stream
from helpers.tiny_streams import make_stream

BASE, NEW, LATER = 12, 2, ((12, 13), (14, 15))


class Forbidden:
    """Samples that tell their labels, and fail if anything of an image is asked for."""

    def __init__(self, targets: Sequence[int]) -> None:
        self.targets = list(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise self._refused()

    def select(self, indices: Sequence[int]) -> NoReturn:
        raise self._refused()

    def num_bytes(self, indices: Sequence[int] | None = None) -> NoReturn:
        raise self._refused()

    def digest(self, index: int) -> NoReturn:
        raise self._refused()

    def _refused(self) -> AssertionError:
        return AssertionError("a test image, or an image of a later session, was read")


class Guarded:
    """Twelve base classes, and later sessions and test images that nobody may read."""

    def build(self) -> Stream:
        stream = make_stream((tuple(range(BASE)), *LATER), base_shots=8, shots=3, size=28)
        base, *later = stream.train
        info = replace(stream.info, name="guarded", way=NEW)
        return Stream(
            info,
            (base, *(Forbidden(samples.targets) for samples in later)),
            tuple(Forbidden(samples.targets) for samples in stream.test),
        )
