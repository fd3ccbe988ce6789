"""Reads any folder of class folders: finds the images and splits them into training and test."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cl_suite.data.copies import Duplicates, draw_test, without_copies
from cl_suite.data.pictures import same_pictures
from cl_suite.data.pool import Pool
from cl_suite.data.readers.class_folders import Findings, find_both, find_divided, keep_listed
from cl_suite.data.readers.folder_images import Folder, Image
from cl_suite.data.readers.folders import IMAGENET_FLOAT
from cl_suite.data.readers.names import as_text
from cl_suite.data.readers.squares import Squares
from cl_suite.data.transforms import Compose, RandomResizedCrop, ResizeCenterCrop, Transform
from cl_suite.errors import UserError, option

SAME_IMAGES = (
    "test_fraction is 0: accuracies are on the very images that were learned, not on new ones"
)
DARK = 1 / 15  # 12 bits in 16: the highest value as a share of the range


def read(
    root: str,
    *,
    test_root: str | None = None,
    test_fraction: float = 0.3,
    seed: int = 0,
    image_size: int = 84,
    augment: bool = True,
    skip_unreadable: bool = False,
    duplicates: Duplicates = "keep",
    classes: Sequence[object] | None = None,
) -> Pool:
    """Return the images of a folder of class folders, each class split at random from `seed`.

    If the folder holds `train/` and `test/` (or `val/`), or there is a test folder, these are the
    split. Both transforms begin
    with the central square of each image, slightly larger than `image_size`. If a session's squares
    fit into memory, they are kept instead of the files (see `Squares`).

    Args:
        test_root: folder of the images to test on, with the same class folders; None if `root` has
            them too.
        test_fraction: share of each class's images for testing, at least one image; with 0 the
            training images are the test images.
        duplicates: what to do with the same picture under several names, see `without_copies`.
        classes: folder names to read; None for all. Class ids always follow the sorted names.

    Raises:
        UserError: for a bad folder or image; see `find_divided`.
    """
    pools, notes = read_together(
        {"": root},
        {} if test_root is None else {"": test_root},
        test_fraction=test_fraction,
        seed=seed,
        image_size=image_size,
        augment=augment,
        skip_unreadable=skip_unreadable,
        duplicates=duplicates,
        classes=classes,
    )
    return dataclasses.replace(pools[""], notes=(*pools[""].notes, *notes))


def read_together(
    roots: Mapping[str, str],
    test_roots: Mapping[str, str],
    *,
    test_fraction: float,
    seed: int,
    image_size: int,
    augment: bool = True,
    skip_unreadable: bool,
    duplicates: Duplicates,
    classes: Sequence[object] | None = None,
) -> tuple[dict[str, Pool], tuple[str, ...]]:
    """Return the images of each of several folders, and the notes on copies in all of them.

    Each folder is read and split as by `read`, but copies are looked for in all folders: a picture
    that one folder learns from is not tested by another.

    Args:
        roots: folders by the name that the notes give them.
        test_roots: folder of test images of each; empty if they have none.
    """
    square, train_transform, eval_transform = _transforms(image_size, augment)
    squares = Squares(square)
    folders = {
        name: _found(root, test_roots.get(name), classes, squares, skip=skip_unreadable)
        for name, root in roots.items()
    }
    notes = _leave_out_copies(folders, duplicates)
    # a folder that is divided decides for the copies in all others; training before test
    on_test = {
        image.key: part == "test"
        for part in ("test", "train")
        for folder in folders.values()
        for image in folder.images
        if image.part == part
    }
    pools: dict[str, Pool] = {}
    learnt: set[bytes] = set()
    tested: list[bytes] = []
    for name, folder in folders.items():
        train, test = _split(folder, test_fraction, seed, on_test)
        learnt |= {folder.images[row].key for row in train}
        tested += [folder.images[row].key for row in test or ()]
        samples = folder.samples(train)
        pools[name] = Pool(
            train=samples,
            test=samples if test is None else folder.samples(test),
            class_names=tuple(sorted(folder.findings.images)),
            train_transform=train_transform,
            eval_transform=eval_transform,
            load=squares,
            notes=folder.findings.notes(),
        )
    if both := sum(key in learnt for key in tested):
        notes.append(
            f"{both} of the test images are training images too, so they are recognised, not "
            f"learned; {option('scenario.duplicates', 'drop')} leaves them out"
        )
    return pools, tuple(notes)


def _transforms(image_size: int, augment: bool) -> tuple[ResizeCenterCrop, Transform, Transform]:
    """Return the square that images are cut to, the training and the evaluation transform."""
    larger = round(image_size * 8 / 7)  # as 256 to 224
    square = ResizeCenterCrop(larger, larger)
    plain = Compose((ResizeCenterCrop(larger, image_size), IMAGENET_FLOAT))
    crop: tuple[Transform, ...] = (IMAGENET_FLOAT, RandomResizedCrop(image_size))
    return square, Compose((square, *crop)) if augment else plain, plain


def _found(
    root: str,
    test_root: str | None,
    classes: Sequence[object] | None,
    squares: Squares,
    *,
    skip: bool,
) -> Folder:
    """Return the images that can be decoded, class by class; training part first."""
    path = Path(root).expanduser()
    findings = find_divided(path, root) if test_root is None else find_both(root, test_root)
    folder = Folder(path, None if test_root is None else Path(test_root).expanduser(), findings)
    if classes is not None:
        keep_listed(findings, as_text("class_order", classes, findings.images))
    parts = {"train" if findings.test is not None else "": findings.images}
    if findings.test is not None:
        parts["test"] = findings.test
    deep: list[float] = []  # highest value of each image of more than 8 bits
    for part, images in parts.items():
        for name, paths in images.items():
            for file, look in zip(paths, squares.look_into(paths), strict=True):
                image = Image(file, name, part, look.key)
                if look.problem is None:
                    folder.images.append(image)
                    deep += [] if look.highest is None else [look.highest]
                elif not skip:
                    raise UserError(
                        f"{look.problem}; or pass {option('scenario.skip_unreadable', 'true')}"
                    )
                else:
                    findings.skip("unreadable image", folder.name_of(image))
    _say_dark(deep, findings)
    return folder


def _say_dark(deep: Sequence[float], findings: Findings) -> None:
    if deep and max(deep) < DARK:
        findings.said.append(
            f"{len(deep)} images of more than 8 bits use at most {max(deep):.1%} of their range "
            "(12 bits stored in 16?), so they come in dark; scale their values to the whole range"
        )


def _leave_out_copies(folders: Mapping[str, Folder], duplicates: Duplicates) -> list[str]:
    """Leave out the copies that are not wanted, and return sentences on what was found."""
    places = [(name, image) for name, folder in folders.items() for image in folder.images]
    keys = same_pictures([image.path for _, image in places], [image.key for _, image in places])
    rows, notes = without_copies(
        keys,
        [folders[name].name_of(image, name) for name, image in places],
        [image.class_name for _, image in places],
        duplicates,
        together=all(folder.findings.test is None for folder in folders.values()),
    )
    chosen: dict[str, list[Image]] = {name: [] for name in folders}
    for row in rows:
        name, image = places[row]
        chosen[name].append(dataclasses.replace(image, key=keys[row]))
    for name, folder in folders.items():
        _use(folder, chosen[name])
    return notes


def _use(folder: Folder, chosen: Sequence[Image]) -> None:
    """Reduce a folder to the chosen ones of its images, and to the classes that these have."""
    classes = folder.findings.images
    left = {image.class_name for image in chosen if image.part != "test"}
    for name in sorted(classes.keys() - left):
        if not any(image.class_name == name for image in folder.images):
            raise UserError(
                f"class '{name}' has no readable image; add images or remove the folder"
            )
        classes.pop(name)
        folder.findings.skip("a class folder with copies alone", name)
    folder.images = [image for image in chosen if image.class_name in classes]


def _split(
    folder: Folder, test_fraction: float, seed: int, on_test: dict[bytes, bool]
) -> tuple[list[int], list[int] | None]:
    """Return the rows to learn from, and those to test on; None if both are the same."""
    names = sorted(folder.findings.images)
    divided = folder.findings.test is not None
    # the first shots are a random choice
    orders = [
        _shuffled(folder.rows(name, "train"), seed, class_id) for class_id, name in enumerate(names)
    ]
    if test_fraction and not divided:
        return _drawn(folder, names, orders, test_fraction, on_test)
    train = [row for order in orders for row in order]
    return train, [row for name in names for row in folder.rows(name, "test")] if divided else None


def _shuffled(rows: Sequence[int], seed: int, class_id: int) -> list[int]:
    order = np.random.default_rng([seed, class_id]).permutation(len(rows))
    return [rows[i] for i in order]


def _drawn(
    folder: Folder,
    names: Sequence[str],
    orders: Sequence[Sequence[int]],
    test_fraction: float,
    on_test: dict[bytes, bool],
) -> tuple[list[int], list[int]]:
    """Return the rows to learn from and to test on; copies of one picture are on one side."""
    keys = [image.key for image in folder.images]
    train: list[int] = []
    test: list[int] = []
    for name, order in zip(names, orders, strict=True):
        drawn = draw_test(order, _num_test(name, len(order), test_fraction), keys, on_test)
        if not 0 < len(drawn) < len(order):
            raise UserError(
                f"the images of class '{name}' are copies of one another or of other images "
                f"('{folder.path}'), so none can be tested that is not learned; add images, or "
                f"pass {option('scenario.duplicates', 'drop')}"
            )
        test += sorted(drawn)
        train += [row for row in order if row not in drawn]
    return train, test


def _num_test(name: str, num_images: int, test_fraction: float) -> int:
    if num_images < 2:
        raise UserError(
            f"class '{name}' has {num_images} usable image{'s' * (num_images != 1)}; a class needs "
            "at least two, one to learn from and one to test; add images, remove the folder, or "
            f"pass {option('scenario.test_fraction', 0)}"
        )
    return min(max(1, round(num_images * test_fraction)), num_images - 1)
