"""Reads Caltech-UCSD Birds 200-2011: 200 bird species, 5,994 training and 5,794 test photos."""

from __future__ import annotations

from pathlib import Path

from cl_suite.data.pool import Pool, checked
from cl_suite.data.readers.class_words import words
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
    Resize,
    ResizeCenterCrop,
    Transform,
)
from cl_suite.errors import UserError

LAYOUT = (
    "images.txt",
    "image_class_labels.txt",
    "classes.txt",
    "train_test_split.txt",
    "images/",
)
FOLDER = "CUB_200_2011"


def read(root: str, *, image_size: int = 224, augmentation: Augmentation = "standard") -> Pool:
    """Return the photos in the data set's own split; class id = its number - 1, named in words.

    `root` is the folder `CUB_200_2011` or its parent. The photos stay files and are decoded on
    access.

    Raises:
        UserError: if the layout is wrong, or the files contradict each other.
    """
    nested = Path(root).expanduser() / FOLDER
    folder = data_folder(
        str(nested) if nested.is_dir() else root, "CUB-200", LAYOUT, "the CUB-200-2011 page"
    )
    classes, labels = _table(folder, "classes.txt"), _table(folder, "image_class_labels.txt")
    files, split = _table(folder, "images.txt"), _table(folder, "train_test_split.txt")
    class_ids = {number: class_id for class_id, number in enumerate(classes)}
    part_of = {image: _part(folder, image, split, labels, class_ids) for image in files}
    train = [image for image in files if part_of[image] == "1"]
    test = [image for image in files if part_of[image] == "0"]

    def samples(images: list[str]) -> FileSamples:
        paths = [inside(folder / "images", files[image], "images.txt") for image in images]
        return FileSamples(paths, [class_ids[labels[image]] for image in images], folder)

    policy: tuple[Transform, ...] = (AutoAugment("imagenet"),) if augmentation != "standard" else ()
    # 256 to 224 pixels as in CEC, and the same ratio for other sizes
    larger = round(image_size * 256 / 224)
    crop = (IMAGENET_FLOAT, RandomResizedCrop(image_size))
    return Pool(
        train=samples(train),
        test=samples(test),
        class_names=tuple(map(words, classes.values())),
        train_transform=Compose((Resize(larger), *policy, *crop)),
        eval_transform=Compose((ResizeCenterCrop(larger, image_size), IMAGENET_FLOAT)),
        load=checked,
        entries=tuple(f"{FOLDER}/images/{files[image]}" for image in train),
    )


def _table(folder: Path, file: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for line in (folder / file).read_text(encoding="utf-8").splitlines():
        key, _, value = line.strip().partition(" ")
        if not value:
            raise UserError(f"'{folder / file}' has the line '{line}'; expected '<number> <value>'")
        table[key] = value.strip()
    return table


def _part(
    folder: Path, image: str, split: dict[str, str], labels: dict[str, str], classes: dict[str, int]
) -> str:
    part = split.get(image)
    if part not in ("0", "1"):
        raise UserError(f"'{folder}': image {image} must have 0 or 1 in train_test_split.txt")
    if labels.get(image) not in classes:
        raise UserError(
            f"'{folder}': image {image} must have a class of classes.txt in image_class_labels.txt"
        )
    return part
