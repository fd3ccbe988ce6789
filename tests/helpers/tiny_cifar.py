"""Tiny copies of CIFAR-10 in each layout that its reader knows, and of CIFAR-100 in its own."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cl_suite.data.readers.cifar10 import BATCHES, CLASSES

NUM_IMAGES = 20  # of each file
Part = tuple[NDArray[np.uint8], list[int]]  # (num, 3072) and labels


def batches() -> list[Part]:
    """Return the images and labels of the five training files and of the test file."""
    generator = np.random.default_rng(0)
    # each file begins with another class
    return [
        (
            generator.integers(0, 256, (NUM_IMAGES, 3072), dtype=np.uint8),
            [(number + row) % len(CLASSES) for row in range(NUM_IMAGES)],
        )
        for number in range(6)
    ]


def write_binary(root: Path) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for file, (images, labels) in zip((*BATCHES, "test_batch"), batches(), strict=True):
        records = np.concatenate([np.array(labels, dtype=np.uint8)[:, None], images], axis=1)
        (folder / f"{file}.bin").write_bytes(records.tobytes())
    return root


def write_python(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for file, (images, labels) in zip((*BATCHES, "test_batch"), batches(), strict=True):
        (folder / file).write_bytes(pickle.dumps({"data": images, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    return root


def write_folders(root: Path, classes: Sequence[str] = CLASSES) -> Path:
    for number, (images, labels) in enumerate(batches()):
        part = "test" if number == 5 else "train"
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            if label < len(classes):
                path = root / classes[label] / f"{part}_{number}{row:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.reshape(3, 32, 32).transpose(1, 2, 0)).save(path)
    return root


def write_cifar100(root: Path, *, train: int = 3, test: int = 1) -> Path:
    """Write an archive in the original format, pickled; its checksums are not the original's.

    Args:
        train, test: images of each class.
    """
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for file, per_class in (("train", train), ("test", test)):
        labels = [i % 100 for i in range(100 * per_class)]
        data = generator.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        (folder / file).write_bytes(pickle.dumps({"data": data, "fine_labels": labels}))
    names = [f"fine {i}" for i in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    return root
