"""Reads any folder of class folders: finds the images and splits them into training and test."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cl_suite.data.copies import Duplicates, draw_test, without_copies
from cl_suite.data.pictures import Look, look_into, same_pictures
from cl_suite.data.pool import Pool
from cl_suite.data.readers.class_folders import Findings, find_divided, keep_listed
from cl_suite.data.readers.folders import IMAGENET_FLOAT
from cl_suite.data.readers.names import as_text
from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.transforms import Compose, RandomResizedCrop, ResizeCenterCrop, Transform
from cl_suite.errors import UserError

MEMORY_LIMIT_BYTES = 1 << 30  # larger sessions stay files, decoded again on each access
DARK = 1 / 15  # 12 bits in 16: the highest value as a share of the range


@dataclass(frozen=True)
class Image:
    """One image file of a class.

    Attributes:
        path, class_name: the file and its class folder's name.
        part: "test" or "train" if the folder is divided, else "".
        key: equal for equal pictures alone.
    """

    path: Path
    class_name: str
    part: str
    key: bytes = b""


def read(
    root: str,
    *,
    test_fraction: float = 0.3,
    seed: int = 0,
    image_size: int = 84,
    augment: bool = True,
    skip_unreadable: bool = False,
    duplicates: Duplicates = "keep",
    classes: Sequence[object] | None = None,
) -> Pool:
    """Return the images of a folder of class folders, each class split at random from `seed`.

    If the folder holds `train/` and `test/` (or `val/`), these are the split. Both transforms begin
    with the central square of each image, slightly larger than `image_size`. If a session's squares
    fit into memory, they are kept instead of the files.

    Args:
        test_fraction: share of each class's images for testing, at least one image; with 0 the
            training images are the test images.
        duplicates: what to do with the same picture under several names, see `without_copies`.
        classes: folder names to read; None for all. Class ids always follow the sorted names.

    Raises:
        UserError: for a bad folder or image; see `find_divided`.
    """
    folder = Path(root).expanduser()
    findings = find_divided(folder, root)
    if classes is not None:
        keep_listed(findings, as_text("class_order", classes, findings.images))
    found = _chosen(_readable(findings, folder, skip=skip_unreadable), findings, folder, duplicates)
    names = tuple(sorted(findings.images))
    ids = {name: class_id for class_id, name in enumerate(names)}
    if findings.test is not None:
        train, test = _given(found, ids, seed)
    elif test_fraction:
        train, test = _drawn(found, names, test_fraction, seed)
    else:
        train, test = _all(found, names, seed), None
    learnt = _samples(found, train, ids, folder)
    square, train_transform, eval_transform = _transforms(image_size, augment)
    return Pool(
        train=learnt,
        test=learnt if test is None else _samples(found, test, ids, folder),
        class_names=names,
        train_transform=train_transform,
        eval_transform=eval_transform,
        load=lambda samples: keep_squares(samples, square),
        notes=findings.notes(),
    )


def keep_squares(samples: Samples, square: ResizeCenterCrop) -> Samples:
    """Return the central squares of image files as tensors, or the files if these are too large."""
    num_bytes = len(samples) * 3 * square.size**2
    if not isinstance(samples, FileSamples) or num_bytes > MEMORY_LIMIT_BYTES:
        return samples
    with ThreadPoolExecutor() as pool:
        squares = list(pool.map(lambda i: square(samples[i][0]), range(len(samples))))
    return TensorSamples(torch.stack(squares), samples.targets)


def _transforms(image_size: int, augment: bool) -> tuple[ResizeCenterCrop, Transform, Transform]:
    """Return the square that images are cut to, the training and the evaluation transform."""
    larger = round(image_size * 8 / 7)  # as 256 to 224
    square = ResizeCenterCrop(larger, larger)
    plain = Compose((ResizeCenterCrop(larger, image_size), IMAGENET_FLOAT))
    crop: tuple[Transform, ...] = (IMAGENET_FLOAT, RandomResizedCrop(image_size))
    return square, Compose((square, *crop)) if augment else plain, plain


def _readable(findings: Findings, folder: Path, *, skip: bool) -> list[Image]:
    """Return the images that can be decoded, class by class; training part first."""
    parts = {"train" if findings.test is not None else "": findings.images}
    if findings.test is not None:
        parts["test"] = findings.test
    found: list[Image] = []
    looks: list[Look] = []
    for part, images in parts.items():
        for name, paths in images.items():
            with ThreadPoolExecutor() as pool:
                for path, look in zip(paths, pool.map(look_into, paths), strict=True):
                    if look.problem is None:
                        found.append(Image(path, name, part))
                        looks.append(look)
                    elif not skip:
                        raise UserError(f"{look.problem}; or pass --scenario.skip_unreadable true")
                    else:
                        findings.skip("unreadable image", path.relative_to(folder).as_posix())
    _say_dark(looks, findings)
    keys = same_pictures([image.path for image in found], [look.key for look in looks])
    return [
        Image(image.path, image.class_name, image.part, key)
        for image, key in zip(found, keys, strict=True)
    ]


def _say_dark(looks: Sequence[Look], findings: Findings) -> None:
    deep = [look.highest for look in looks if look.highest is not None]
    if deep and max(deep) < DARK:
        findings.said.append(
            f"{len(deep)} images of more than 8 bits use at most {max(deep):.1%} of their range "
            "(12 bits stored in 16?), so they come in dark; scale their values to the whole range"
        )


def _chosen(
    found: Sequence[Image], findings: Findings, folder: Path, duplicates: Duplicates
) -> list[Image]:
    """Return the images without the copies that are not wanted, and say what was found."""
    names = [image.path.relative_to(folder).as_posix() for image in found]
    rows, notes = without_copies(
        [image.key for image in found],
        names,
        [image.class_name for image in found],
        duplicates,
        together=findings.test is None,
    )
    findings.said += notes
    if findings.test is not None and duplicates == "keep":
        learnt = {image.key for image in found if image.part == "train"}
        if both := sum(image.part == "test" and image.key in learnt for image in found):
            findings.said.append(
                f"{both} of the test images are training images too, so they are recognised, not "
                "learned; --scenario.duplicates drop leaves them out"
            )
    chosen = [found[row] for row in rows]
    left = {image.class_name for image in chosen if image.part != "test"}
    for name in sorted(findings.images.keys() - left):
        if not any(image.class_name == name for image in found):
            raise UserError(
                f"class '{name}' has no readable image; add images or remove the folder"
            )
        findings.images.pop(name)
        findings.skip("a class folder with copies alone", name)
    return [image for image in chosen if image.class_name in findings.images]


def _rows(found: Sequence[Image], name: str, part: str = "") -> list[int]:
    return [
        row
        for row, image in enumerate(found)
        if image.class_name == name and image.part in (part, "")
    ]


def _shuffled(rows: Sequence[int], seed: int, class_id: int) -> list[int]:
    # the first shots are a random choice
    order = np.random.default_rng([seed, class_id]).permutation(len(rows))
    return [rows[i] for i in order]


def _all(found: Sequence[Image], names: Sequence[str], seed: int) -> list[int]:
    return [
        row
        for class_id, name in enumerate(names)
        for row in _shuffled(_rows(found, name), seed, class_id)
    ]


def _given(found: Sequence[Image], ids: dict[str, int], seed: int) -> tuple[list[int], list[int]]:
    train = [
        row
        for name, class_id in ids.items()
        for row in _shuffled(_rows(found, name, "train"), seed, class_id)
    ]
    return train, [row for name in ids for row in _rows(found, name, "test")]


def _drawn(
    found: Sequence[Image], names: Sequence[str], test_fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Return the rows to learn from and to test on; copies of one picture are on one side."""
    keys = [image.key for image in found]
    on_test: dict[bytes, bool] = {}
    train: list[int] = []
    test: list[int] = []
    for class_id, name in enumerate(names):
        order = _shuffled(_rows(found, name), seed, class_id)
        drawn = draw_test(order, _num_test(name, len(order), test_fraction), keys, on_test)
        if not 0 < len(drawn) < len(order):
            raise UserError(
                f"the images of class '{name}' are copies of one another or of other classes' "
                "images, so none can be tested that is not learned; add images, or pass "
                "--scenario.duplicates drop"
            )
        test += sorted(drawn)
        train += [row for row in order if row not in drawn]
    return train, test


def _num_test(name: str, num_images: int, test_fraction: float) -> int:
    if num_images < 2:
        raise UserError(
            f"class '{name}' has {num_images} usable image{'s' * (num_images != 1)}; a class needs "
            "at least two, one to learn from and one to test; add images, remove the folder, or "
            "pass --scenario.test_fraction 0"
        )
    return min(max(1, round(num_images * test_fraction)), num_images - 1)


def _samples(
    found: Sequence[Image], rows: Sequence[int], ids: dict[str, int], folder: Path
) -> FileSamples:
    images = [found[row] for row in rows]
    return FileSamples([i.path for i in images], [ids[i.class_name] for i in images], folder)
