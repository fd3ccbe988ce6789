"""Fills a bank with features of images that are made when they are read; prints the memory.

python bank_of_many.py NUM_IMAGES FOLDER
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import Identity
from cl_suite.features.bank import banked_stream
from cl_suite.runs.info import peak_memory

DIM = 8


class MadeImages:
    """Images that take no memory: each is drawn from its number."""

    def __init__(self, num: int, seed: int) -> None:
        self.seed = seed
        self.targets: list[int] = [0] * num

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(self.seed * 10**8 + row)
        return torch.rand(1, 4, 4, generator=generator), 0

    def num_bytes(self, indices: Sequence[int] | None = None) -> int:
        return 0

    def digest(self, index: int) -> bytes:
        return f"{self.seed} {index}".encode()


def made_stream(num_images: int) -> Stream:
    """Return a stream of one session with so many training images."""
    return build_stream(
        name="made",
        class_names=["all"],
        session_classes=[[0]],
        train=[MadeImages(num_images, 1)],  # type: ignore[list-item]  # nobody selects of them
        test=[MadeImages(4, 2)],  # type: ignore[list-item]
        train_transform=Identity(),
        eval_transform=Identity(),
        known_fingerprint="made",
    )


def peak_of_filling(num_images: int, folder: Path) -> int:
    """Fill a bank and return the most bytes that Python held for it, the features included."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, DIM))
    stream = made_stream(num_images)
    tracemalloc.start()
    banked_stream(stream, network, folder=folder, batch_size=64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    torch.set_num_threads(1)
    traced = peak_of_filling(int(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"traced": traced, "process": peak_memory()}))  # noqa: T201
