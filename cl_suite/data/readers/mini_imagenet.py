"""Reads miniImageNet as few-shot class-incremental learning splits it: 500 + 100 images a class.

This is not the 64/16/20 split of few-shot learning: all 100 classes have training and test images.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from cl_suite.data.pool import Pool, decoded
from cl_suite.data.readers import published
from cl_suite.data.readers.class_words import synset
from cl_suite.data.readers.folders import (
    IMAGENET_FLOAT,
    Augmentation,
    data_folder,
    inside,
)
from cl_suite.data.samples import FileSamples
from cl_suite.data.transforms import (
    AutoAugment,
    Compose,
    RandomResizedCrop,
    ResizeCenterCrop,
    Transform,
)
from cl_suite.errors import UserError

LAYOUT = ("images/", "split/train.csv", "split/test.csv")
REMEDY = (
    "use the split of few-shot class-incremental learning, which belongs to CEC's "
    "data/index_list/mini_imagenet, not the 64/16/20 split of few-shot learning"
)


def read(root: str, *, image_size: int = 84, augmentation: Augmentation = "standard") -> Pool:
    """Return the images that the split files list; class ids follow `split/train.csv`.

    Classes are named by the words of their WordNet numbers.

    With "autoaugment" the ImageNet policy is applied to the whole image, before the random crop
    (TEEN and LIMIT apply it to the crop).

    Raises:
        UserError: if the layout is wrong, or the split files contradict each other.
    """
    folder = data_folder(root, "miniImageNet", LAYOUT, "the CEC repository's data link")
    train, test = _rows(folder, "train"), _rows(folder, "test")
    _check_split(train, test)
    _check_labels(train)
    names = tuple(dict.fromkeys(label for _, label in train))
    crop: tuple[Transform, ...] = (IMAGENET_FLOAT, RandomResizedCrop(image_size))
    policy = (AutoAugment("imagenet"),) if augmentation == "autoaugment" else ()
    # 92 to 84 pixels as in CEC, and the same ratio for other sizes
    centre = ResizeCenterCrop(round(image_size * 92 / 84), image_size)
    return Pool(
        train=_samples(folder, train, names),
        test=_samples(folder, test, names),
        class_names=tuple(map(synset, names)),
        train_transform=Compose((*policy, *crop)),
        eval_transform=Compose((centre, IMAGENET_FLOAT)),
        load=decoded,
        entries=tuple(f"MINI-ImageNet/train/{label}/{name}" for name, label in train),
    )


def _rows(folder: Path, part: str) -> list[tuple[str, str]]:
    path = folder / "split" / f"{part}.csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"filename", "label"} <= set(reader.fieldnames or ()):
            raise UserError(f"'{path}' must begin with the line 'filename,label'")
        rows = [(row["filename"], row["label"]) for row in reader]
    if not rows:
        raise UserError(f"'{path}' lists no images; {REMEDY}")
    if incomplete := [row for row in rows if not (row[0] and row[1])]:
        raise UserError(f"'{path}' has a line without a file name or label: {incomplete[0]}")
    return rows


def _check_split(train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]]) -> None:
    labels = {label for _, label in train}
    if unknown := {label for _, label in test} - labels:
        raise UserError(
            f"split/test.csv has class '{min(unknown)}', but split/train.csv does not; {REMEDY}"
        )
    if both := {name for name, _ in train} & {name for name, _ in test}:
        raise UserError(f"'{min(both)}' is in split/train.csv and in split/test.csv; remove one")
    for name, label in (*train, *test):
        # a file name begins with its class
        prefix = name[: len(label)]
        if prefix != label and prefix in labels:
            raise UserError(
                f"the split files label '{name}' as '{label}', but its name says '{prefix}'; "
                f"{REMEDY}"
            )


def _check_labels(train: Sequence[tuple[str, str]]) -> None:
    label_of = dict(train)
    for listed in published.load("mini_imagenet"):
        path = Path(listed.entry)
        label = label_of.get(path.name, path.parent.name)
        if label != path.parent.name:
            raise UserError(
                f"split/train.csv labels '{path.name}' as '{label}', but the published list "
                f"({listed.file}) as '{path.parent.name}'; {REMEDY}"
            )


def _samples(folder: Path, rows: Sequence[tuple[str, str]], names: Sequence[str]) -> FileSamples:
    class_ids = {name: class_id for class_id, name in enumerate(names)}
    images = folder / "images"
    paths = [inside(images, name, "split") for name, _ in rows]
    return FileSamples(paths, [class_ids[label] for _, label in rows], images)
