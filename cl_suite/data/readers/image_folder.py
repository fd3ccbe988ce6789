"""Reads any folder of class folders: finds the images and splits them into training and test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cl_suite.data.cut import check_at_least
from cl_suite.data.pool import Pool
from cl_suite.data.readers.folders import IMAGENET_FLOAT
from cl_suite.data.samples import FileSamples, Samples, TensorSamples, image_problem
from cl_suite.data.transforms import Compose, RandomResizedCrop, ResizeCenterCrop, Transform
from cl_suite.errors import UserError, suggestion

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MEMORY_LIMIT_BYTES = 1 << 30  # larger sessions stay files, decoded again on each access
NAMED_FILES = 3  # a note names this many skipped files and counts the others


@dataclass
class Findings:
    """The images of each class folder, and the skipped entries by reason."""

    images: dict[str, list[Path]] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, reason: str, name: str) -> None:
        """Remember that an entry was skipped."""
        self.skipped.setdefault(reason, []).append(name)

    def notes(self) -> tuple[str, ...]:
        """Return one sentence for each reason, with the first few entries."""
        return tuple(
            f"skipped {len(names)} {'entry' if len(names) == 1 else 'entries'}: {reason} "
            f"({', '.join(names[:NAMED_FILES])}{', ...' if len(names) > NAMED_FILES else ''})"
            for reason, names in self.skipped.items()
        )


def read(
    root: str,
    *,
    test_fraction: float = 0.3,
    seed: int = 0,
    image_size: int = 84,
    augment: bool = True,
    skip_unreadable: bool = False,
    classes: Sequence[str] | None = None,
) -> Pool:
    """Return the images of a folder of class folders, each class split at random from `seed`.

    Both transforms begin with the central square of each image, slightly larger than `image_size`.
    If a session's squares fit into memory, they are kept instead of the files.

    Args:
        test_fraction: share of each class's images for testing, at least one image.
        classes: folder names to read; None for all. Class ids always follow the sorted names.

    Raises:
        UserError: for a bad parameter, folder or image; see `find_images`.
    """
    if not 0 < test_fraction < 1:
        raise UserError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    check_at_least("image_size", image_size, 1)
    folder = Path(root).expanduser()
    findings = find_images(folder, root)
    if classes is not None:
        _keep_listed(findings, classes)
    _check_readable(findings, folder, skip=skip_unreadable)
    names = tuple(sorted(findings.images))
    train: list[tuple[Path, int]] = []
    test: list[tuple[Path, int]] = []
    for class_id, name in enumerate(names):
        paths = findings.images[name]
        order = np.random.default_rng([seed, class_id]).permutation(len(paths))
        num_test = _num_test(name, len(paths), test_fraction)
        test += [(paths[i], class_id) for i in sorted(order[:num_test])]
        # left in random order: the first shots are a random choice
        train += [(paths[i], class_id) for i in order[num_test:]]
    larger = round(image_size * 8 / 7)  # as 256 to 224
    square = ResizeCenterCrop(larger, larger)
    centre = ResizeCenterCrop(larger, image_size)
    crop: tuple[Transform, ...] = (IMAGENET_FLOAT, RandomResizedCrop(image_size))
    plain = Compose((centre, IMAGENET_FLOAT))
    return Pool(
        train=_samples(train, folder),
        test=_samples(test, folder),
        class_names=names,
        train_transform=Compose((square, *crop)) if augment else plain,
        eval_transform=plain,
        load=lambda samples: keep_squares(samples, square),
        notes=findings.notes(),
    )


def find_images(folder: Path, root: str) -> Findings:
    """Return the images of each class folder, sorted by name; everything else is skipped.

    An entry outside the folder (through a symbolic link) is skipped.

    Raises:
        UserError: if the folder does not exist, or no class folder has an image.
    """
    if not root or not folder.is_dir():
        raise UserError(f"root '{root}' is not a folder; it must hold one folder of images a class")
    findings = Findings()
    top = folder.resolve()
    for entry in sorted(folder.iterdir()):
        if not entry.resolve().is_relative_to(top):
            findings.skip("leads out of the folder", entry.name)
        elif not entry.is_dir():
            findings.skip("not in a class folder", entry.name)
        elif entry.name.startswith("."):
            findings.skip("hidden folder", entry.name)
        else:
            _look_into(entry, folder, top, findings)
    if not findings.images:
        raise UserError(
            f"root '{root}' has no class folder with images ({' '.join(ENDINGS)}); it must hold "
            "one folder of images a class"
        )
    return findings


def keep_squares(samples: Samples, square: ResizeCenterCrop) -> Samples:
    """Return the central squares of image files as tensors, or the files if these are too large."""
    num_bytes = len(samples) * 3 * square.size**2
    if not isinstance(samples, FileSamples) or num_bytes > MEMORY_LIMIT_BYTES:
        return samples
    with ThreadPoolExecutor() as pool:
        squares = list(pool.map(lambda i: square(samples[i][0]), range(len(samples))))
    return TensorSamples(torch.stack(squares), samples.targets)


def _look_into(class_folder: Path, folder: Path, top: Path, findings: Findings) -> None:
    images = []
    for path in sorted(class_folder.iterdir()):
        name = path.relative_to(folder).as_posix()
        if not path.resolve().is_relative_to(top):
            findings.skip("leads out of the folder", name)
        elif path.is_dir():
            findings.skip("a folder within a class folder", name)
        elif path.suffix.lower() not in ENDINGS or path.name.startswith("."):
            findings.skip(f"no image ending ({' '.join(ENDINGS)})", name)
        else:
            images.append(path)
    if images:
        findings.images[class_folder.name] = images
    else:
        findings.skip("a class folder without images", class_folder.name)


def _keep_listed(findings: Findings, classes: Sequence[str]) -> None:
    if repeated := {name for name in classes if classes.count(name) > 1}:
        raise UserError(f"class_order names '{min(repeated)}' twice; name each class once")
    for name in classes:
        if name not in findings.images:
            raise UserError(
                f"class_order names '{name}', which is not a folder with images"
                f"{suggestion(name, findings.images)}"
            )
    for name in findings.images.keys() - set(classes):
        findings.images.pop(name)
        findings.skip("not in class_order", name)
    findings.skipped.get("not in class_order", []).sort()


def _check_readable(findings: Findings, folder: Path, *, skip: bool) -> None:
    for name, paths in list(findings.images.items()):
        bad = dict(_problems(paths))
        for path, problem in bad.items():
            if not skip:
                raise UserError(f"{problem}; or pass --scenario.skip_unreadable true")
            findings.skip("unreadable image", path.relative_to(folder).as_posix())
        findings.images[name] = [path for path in paths if path not in bad]


def _problems(paths: Sequence[Path]) -> Iterable[tuple[Path, str]]:
    with ThreadPoolExecutor() as pool:
        for path, problem in zip(paths, pool.map(image_problem, paths), strict=True):
            if problem:
                yield path, problem


def _num_test(name: str, num_images: int, test_fraction: float) -> int:
    if num_images < 2:
        raise UserError(
            f"class '{name}' has {num_images} readable image{'s' * (num_images != 1)}; a class "
            "needs at least two, one to learn from and one to test; add images or remove the folder"
        )
    return min(max(1, round(num_images * test_fraction)), num_images - 1)


def _samples(images: Sequence[tuple[Path, int]], folder: Path) -> FileSamples:
    return FileSamples([path for path, _ in images], [c for _, c in images], folder)
