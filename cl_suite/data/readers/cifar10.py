"""Reads CIFAR-10 from its unpacked archive, Python or binary, or from one folder a class.

The folders hold training and test images together; names of test images begin with `test`. Nothing
of the binary archive can be run; for the Python one see `cifar.archive`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from cl_suite.data.pool import Pool, as_is, decoded
from cl_suite.data.readers import cifar
from cl_suite.data.readers.class_folders import find_images
from cl_suite.data.readers.folders import data_folder
from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.transforms import ToFloat
from cl_suite.errors import UserError

PYTHON, BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"
SOURCE = "the CIFAR-10 page"
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
PYTHON_LAYOUT = tuple(f"{PYTHON}/{file}" for file in (*BATCHES, "test_batch", "batches.meta"))
BINARY_LAYOUT = tuple(f"{BINARY}/{file}.bin" for file in (*BATCHES, "test_batch"))
# the data set's own order, which is that of the alphabet too
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SHAPE = (3, cifar.IMAGE_SIZE, cifar.IMAGE_SIZE)
RECORD = 1 + 3 * cifar.IMAGE_SIZE**2  # bytes of a label and its image
TEST_NAME = "test"
NUM_TRAIN, NUM_TEST = 50_000, 10_000
# mean and standard deviation of the training images
CIFAR_FLOAT = ToFloat((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def read(root: str, *, image_size: int = cifar.IMAGE_SIZE) -> Pool:
    """Return the training and the test images; a part of the data set is said in a note.

    Raises:
        UserError: if files are missing or are not the original files, or a class lacks images.
    """
    folder = Path(root).expanduser()
    train: Samples
    test: Samples
    names: tuple[str, ...] = CLASSES
    notes: tuple[str, ...] = ()
    load: Callable[[Samples], Samples] = as_is
    if (folder / PYTHON).is_dir():
        train, test = _from_python(root)
    elif (folder / BINARY).is_dir():
        train, test = _from_binary(root)
    else:
        train, test, names, notes = _from_folders(folder, root)
        load = _decoded
    train_transform, eval_transform = cifar.transforms(CIFAR_FLOAT, image_size)
    return Pool(
        train=train,
        test=test,
        class_names=names,
        train_transform=train_transform,
        eval_transform=eval_transform,
        load=load,
        notes=(*notes, *_deviations(train, test)),
    )


def _from_python(root: str) -> tuple[Samples, Samples]:
    folder = str(data_folder(root, "CIFAR-10", PYTHON_LAYOUT, SOURCE))
    train, test = (
        cifar.archive("CIFAR10", folder, train=part, title="CIFAR-10", source=SOURCE)
        for part in (True, False)
    )
    return cifar.samples(train), cifar.samples(test)


def _from_binary(root: str) -> tuple[Samples, Samples]:
    folder = data_folder(root, "CIFAR-10", BINARY_LAYOUT, SOURCE)
    *train, test = (folder / file for file in BINARY_LAYOUT)
    return _records(train), _records([test])


def _records(files: Sequence[Path]) -> TensorSamples:
    """Return the images of binary files: records of a label and 3,072 values, red first."""
    found = []
    for file in files:
        content = np.fromfile(file, dtype=np.uint8)
        if not len(content) or len(content) % RECORD:
            raise _damaged(file, f"{len(content)} bytes, no multiple of {RECORD}")
        records = content.reshape(-1, RECORD)
        if (highest := int(records[:, 0].max())) >= len(CLASSES):
            raise _damaged(file, f"class number {highest}")
        found.append(records)
    records = np.concatenate(found)
    images = torch.from_numpy(records[:, 1:].copy()).view(-1, *SHAPE)
    return TensorSamples(images, records[:, 0].tolist())


def _damaged(file: Path, reason: str) -> UserError:
    return UserError(
        f"CIFAR-10: '{file}' is damaged or not the original one ({reason}); get it again from "
        f"{SOURCE}"
    )


def _from_folders(
    folder: Path, root: str
) -> tuple[Samples, Samples, tuple[str, ...], tuple[str, ...]]:
    """Return training and test images, class names by the alphabet, and notes."""
    try:
        findings = find_images(folder, root)
    except UserError as error:
        raise UserError(
            f"CIFAR-10: root '{root}' must hold {PYTHON}/ or {BINARY}/ (get them from {SOURCE}), "
            f"or one folder of images a class; names of test images begin with '{TEST_NAME}'"
        ) from error
    names = tuple(findings.images)
    parts: dict[bool, list[tuple[Path, int]]] = {True: [], False: []}
    for class_id, images in enumerate(findings.images.values()):
        for path in images:
            parts[path.name.startswith(TEST_NAME)].append((path, class_id))
        for is_test, kind in ((False, "training"), (True, "test")):
            if not parts[is_test] or parts[is_test][-1][1] != class_id:
                raise UserError(
                    f"CIFAR-10: class '{names[class_id]}' has no {kind} image; names of test "
                    f"images begin with '{TEST_NAME}', others are for training; use source "
                    "image_folder for other folders"
                )
    train, test = (
        FileSamples([path for path, _ in parts[part]], [c for _, c in parts[part]], folder)
        for part in (False, True)
    )
    return train, test, names, findings.notes()


def _decoded(samples: Samples) -> Samples:
    found = decoded(samples)
    assert isinstance(found, TensorSamples)
    if found.inputs.shape[1:] != SHAPE:
        height, width = found.inputs.shape[-2:]
        raise UserError(
            f"CIFAR-10 has images of 32 x 32 pixels, but these are {height} x {width}; use source "
            "image_folder for other images"
        )
    return found


def _deviations(train: Samples, test: Samples) -> tuple[str, ...]:
    if (len(train), len(test)) == (NUM_TRAIN, NUM_TEST):
        return ()
    return (
        f"not comparable with published CIFAR-10 figures: the data set has {len(train)} instead of "
        f"{NUM_TRAIN} training images, and {len(test)} instead of {NUM_TEST} test images",
    )
