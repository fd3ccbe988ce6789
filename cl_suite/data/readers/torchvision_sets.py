"""Reads Caltech-101 and eleven other data sets from the layout that torchvision uses.

Nothing is downloaded: `root` is the `root` that torchvision downloaded to. Only paths and labels
are read from torchvision's objects, so a sample has no access to other samples. If a data set has a
validation part, it is used for training too. It follows the official training part, whose positions
do not change.

- caltech101, eurosat, sun397: torchvision's versions have no official split. A fixed seed, which is
  not a parameter, draws `TEST_FRACTION` of each class's images for testing.
- caltech101: 102 classes, including the background pictures, which torchvision leaves out.
- voc2007: a photo may show several of the 20 classes. Its label is the class of the largest box.
  Objects marked as difficult count only in images without others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from cl_suite.data.cut import rows_by_class
from cl_suite.data.pool import Pool, checked, decoded
from cl_suite.data.readers.class_folders import find_images
from cl_suite.data.readers.class_words import TRAFFIC_SIGNS, VOC_CLASSES, words
from cl_suite.data.readers.folders import IMAGENET_FLOAT, data_folder, inside
from cl_suite.data.readers.torchvision_layouts import SOURCES, Options, Source
from cl_suite.data.samples import FileSamples
from cl_suite.data.transforms import (
    Compose,
    RandomResizedCrop,
    Resize,
    ResizeCenterCrop,
    ToFloat,
    Transform,
)
from cl_suite.errors import UserError

TorchvisionSet = Literal[
    "caltech101",
    "country211",
    "dtd",
    "eurosat",
    "fgvc_aircraft",
    "food101",
    "gtsrb",
    "oxford_flowers",
    "oxford_pets",
    "stanford_cars",
    "sun397",
    "voc2007",
]
NOT_MIRRORED = ("gtsrb",)  # a mirrored sign is another sign, or none
TEST_FRACTION = 0.3
IMAGE_SIZE = 224
CALTECH = "caltech101/101_ObjectCategories"


@dataclass(frozen=True)
class Part:
    """Paths and class ids of one part, and its class names."""

    paths: list[Path] = field(repr=False)
    targets: list[int] = field(repr=False)
    classes: tuple[str, ...]

    def select(self, rows: Sequence[int]) -> Part:
        """Return a part with only these rows."""
        return Part([self.paths[i] for i in rows], [self.targets[i] for i in rows], self.classes)


@dataclass(frozen=True)
class Found:
    """A data set on disk; `test` is None if it has no official split."""

    folder: Path
    train: Part
    test: Part | None
    say: Callable[[str], str]
    notes: tuple[str, ...] = ()


def read(dataset: TorchvisionSet, root: str) -> Pool:
    """Return the images, as files, in torchvision's class order.

    Raises:
        UserError: if the layout is wrong, or the files contradict each other.
    """
    found = _caltech101(root) if dataset == "caltech101" else _found(dataset, root)
    train, test, notes = found.train, found.test, found.notes
    if test is None:
        train, test = divide(train)
        notes = (division_note(dataset), *notes)
    train_transform, eval_transform = square_transforms(IMAGE_SIZE, IMAGENET_FLOAT)
    return Pool(
        train=_samples(dataset, train, found.folder),
        test=_samples(dataset, test, found.folder),
        class_names=tuple(found.say(name) for name in train.classes),
        train_transform=train_transform,
        eval_transform=eval_transform,
        load=decoded if dataset == "eurosat" else checked,  # its images are small, of one size
        notes=notes,
        mirror_symmetric=dataset not in NOT_MIRRORED,
    )


def square_transforms(
    image_size: int,
    standardise: ToFloat,
    *,
    augment: bool = True,
    flip: bool = True,
    photos: bool = True,
) -> tuple[Transform, Transform]:
    """Return the training and the evaluation transform, which see an image's central square.

    Args:
        augment: crop and resize each training image at random.
        flip: mirror half of the training images too.
        photos: begin with the central square, slightly larger than `image_size`; False for small
            images of one size, which are used whole.
    """
    square = (square_of(image_size),) if photos else ()
    # resize, do not crop: a 256-pixel square at 224 shows as much as the photo it comes from
    centre = Resize(image_size) if photos else ResizeCenterCrop(image_size, image_size)
    plain = Compose((*square, centre, standardise))
    if not augment:
        return plain, plain
    return Compose((*square, standardise, RandomResizedCrop(image_size, flip=flip))), plain


def square_of(image_size: int) -> ResizeCenterCrop:
    """Return the transform to a photo's central square, in the ratio of 256 to 224 pixels."""
    larger = round(image_size * 8 / 7)
    return ResizeCenterCrop(larger, larger)


def division_note(dataset: str) -> str:
    """Return the note for a data set without an official split."""
    return (
        f"{dataset} has no official split here: {TEST_FRACTION:.0%} of each class's images, "
        "drawn by a fixed seed, are for testing"
    )


def divide(whole: Part) -> tuple[Part, Part]:
    """Return a training and a test part, the same images on every machine.

    Raises:
        UserError: if a class has a single image.
    """
    train: list[int] = []
    test: list[int] = []
    for class_id, rows in sorted(rows_by_class(whole.targets).items()):
        if len(rows) < 2:
            raise UserError(
                f"class '{whole.classes[class_id]}' has 1 image; a class needs at least two, one "
                "to learn from and one to test; complete the data set"
            )
        order = np.random.default_rng([0, class_id]).permutation(len(rows))
        num_test = max(1, round(len(rows) * TEST_FRACTION))
        test += [rows[i] for i in sorted(order[:num_test])]
        train += [rows[i] for i in sorted(order[num_test:])]
    return whole.select(train), whole.select(test)


def _caltech101(root: str) -> Found:
    layout = f"{CALTECH}/"
    folder = data_folder(root, "caltech101", (layout,), "torchvision's Caltech101")
    findings = find_images(folder / CALTECH, layout)
    classes = tuple(findings.images)
    pairs = [(path, c) for c, name in enumerate(classes) for path in findings.images[name]]
    part = Part([path for path, _ in pairs], [c for _, c in pairs], classes)
    return Found(folder, part, None, _caltech_words, findings.notes())


def _caltech_words(name: str) -> str:
    return "background" if name == "BACKGROUND_Google" else words(name)


def _found(dataset: str, root: str) -> Found:
    source = SOURCES[dataset]
    folder = data_folder(root, dataset, source.layout, f"torchvision's {source.kind}")
    train = [_part(dataset, source, folder, options) for options in source.train]
    test = None if source.test is None else _part(dataset, source, folder, source.test)
    for part in (*train[1:], *([test] if test else [])):
        if part.classes != train[0].classes:
            odd = min({*part.classes} ^ {*train[0].classes}, default="in another order")
            raise UserError(
                f"{dataset}: the training and test parts in '{root}' have different "
                f"classes ({odd}); complete the data set"
            )
    paths = [path for part in train for path in part.paths]
    targets = [target for part in train for target in part.targets]
    return Found(folder, Part(paths, targets, train[0].classes), test, source.say)


def _part(dataset: str, source: Source, folder: Path, options: Options) -> Part:
    from torchvision import datasets  # here, because the import is slow

    try:
        found: Any = getattr(datasets, source.kind)(str(folder), download=False, **options)
    # raised by torchvision for a missing folder, a missing file or an unreadable line
    except (RuntimeError, OSError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{dataset}: torchvision's {source.kind} cannot read '{folder}' "
            f"({' '.join(str(error).split())}); it must hold {', '.join(source.layout)}"
        ) from error
    paths, targets = _entries(dataset, source, found)
    classes = _classes(dataset, found)
    rows = list(range(len(paths)))
    if source.test is None:
        rows.sort(key=lambda row: paths[row])  # the same order on every file system
    return Part(paths, targets, classes).select(rows)


def _entries(dataset: str, source: Source, found: Any) -> tuple[list[Path], list[int]]:
    entries: Sequence[Any] = getattr(found, source.files)
    if dataset == "voc2007":
        return [Path(p) for p in entries], [_largest_object(Path(p)) for p in found.annotations]
    if source.labels:
        return [Path(p) for p in entries], [int(c) for c in getattr(found, source.labels)]
    paths, targets = [Path(p) for p, _ in entries], [int(c) for _, c in entries]
    if dataset == "gtsrb":
        # torchvision counts the training folders, so its ids are wrong if one is missing
        numbers = [path.parent.name for path in paths]
        targets = [int(n) if n.isdigit() else c for n, c in zip(numbers, targets, strict=True)]
    return paths, targets


def _classes(dataset: str, found: Any) -> tuple[str, ...]:
    if dataset == "voc2007":
        return tuple(VOC_CLASSES)
    return TRAFFIC_SIGNS if dataset == "gtsrb" else tuple(str(name) for name in found.classes)


def _largest_object(annotation: Path) -> int:
    """Return the class id of the largest box; a difficult object counts only if no other exists."""
    known = list(VOC_CLASSES)
    try:
        objects = [_object(node) for node in ElementTree.parse(annotation).iter("object")]
        _, _, name = max(objects, key=lambda found: found[:2])
        return known.index(name)
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise UserError(
            f"voc2007: '{annotation}' has no object of the {len(known)} classes with a box "
            f"({error}); get the data set again"
        ) from error


def _object(node: ElementTree.Element) -> tuple[bool, float, str]:
    """Return whether an object is not difficult, the area of its box, and its class."""
    left, top, right, bottom = (
        float(node.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    easy = node.findtext("difficult", "0").strip() != "1"
    return easy, (right - left) * (bottom - top), node.findtext("name", "").strip()


def _samples(dataset: str, part: Part, folder: Path) -> FileSamples:
    for path, target in zip(part.paths, part.targets, strict=True):
        if not 0 <= target < len(part.classes):
            raise UserError(
                f"{dataset}: '{path}' has class number {target}, but there are "
                f"{len(part.classes)} classes; get the data set again"
            )
        if not path.is_relative_to(folder):
            raise UserError(f"{dataset}: '{path}' lies outside '{folder}'; correct the lists")
    paths = [inside(folder, path.relative_to(folder).as_posix(), dataset) for path in part.paths]
    return FileSamples(paths, part.targets, folder)
