"""Reads Omniglot: the packaged subset, 242 characters of 8 alphabets, or its own folders.

Each character has 20 drawings.

Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350, 2015. MIT licence, see `assets/LICENSE-omniglot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cl_suite.data.cut import class_order
from cl_suite.data.pool import Pool, as_is
from cl_suite.data.readers.drawings import Drawings, find_characters, is_for_evaluation
from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.shrink import shrink as shrink
from cl_suite.data.transforms import Compose, InkDrawing, RandomAffine, Resize, ToFloat, Transform
from cl_suite.errors import UserError

ASSET = "omniglot_small.npz"
IMAGE_SIZE = 28
FULL_SIZE = 105  # pixels a side of the drawings as they were made
TRAIN_DRAWINGS = 10  # of each character, in file order; the others are for testing


def read(root: str | None = None, *, image_size: int = IMAGE_SIZE, augment: bool = True) -> Pool:
    """Return the drawings, one channel, ink 255 on 0; class ids follow the sorted names.

    Args:
        root: a folder with Omniglot's own folders, see `drawings`; None for those in the package.
        image_size: pixels a side of the model's input. The samples have it too, or 105 pixels if
            it is larger.

    Raises:
        UserError: if the folder or a drawing cannot be used.
    """
    size = min(image_size, FULL_SIZE)
    train, test, names = _packaged(size) if root is None else _on_disk(root)
    steps: tuple[Transform, ...] = () if image_size == size else (Resize(image_size),)
    plain: Transform = Compose((ToFloat(), *steps)) if steps else ToFloat()
    train_transform = Compose((ToFloat(), RandomAffine(), *steps)) if augment else plain
    return Pool(
        train=train,
        test=test,
        class_names=names,
        train_transform=train_transform,
        eval_transform=plain,
        load=as_is if root is None else Drawings(size),
        from_picture=InkDrawing(size),
        mirror_symmetric=False,
    )


def order(root: str | None, names: Sequence[str]) -> list[int]:
    """Return the class ids in the order behind the documents' figures.

    All characters are drawn from seed 0; in a folder that tells them apart, those of
    `images_background/` come before those of `images_evaluation/`.
    """
    drawn = class_order(len(names), "seeded", 0)
    if root is None:
        return drawn
    return sorted(drawn, key=lambda class_id: is_for_evaluation(root, names[class_id]))


def pack(folder: Path, target: Path) -> None:
    """Pack the files `<alphabet>/<character>/*.png` (1 bit, all of one size) into one npz file.

    Every character needs the same number of drawings. Ink is stored as 1, eight pixels a byte.
    """
    characters = [c for c in folder.glob("*/*") if c.is_dir()]
    characters.sort(key=lambda c: c.relative_to(folder).as_posix())
    names = [c.relative_to(folder).as_posix() for c in characters]
    paper = np.stack(
        [np.stack([_pixels(p) for p in sorted(c.glob("*.png"))]) for c in characters]
    )  # (classes, drawings, height, width)
    np.savez_compressed(
        target,
        ink=np.packbits(~paper, axis=-1),
        width=np.int64(paper.shape[-1]),
        names=np.array(names),
    )


def unpack(path: Path) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return a packed file's ink, `(classes, drawings, height, width)`, and its class names."""
    with np.load(path, allow_pickle=False) as packed:
        ink = np.unpackbits(packed["ink"], axis=-1, count=int(packed["width"]))
        return ink.astype(np.bool_), tuple(str(name) for name in packed["names"])


def _packaged(size: int) -> tuple[Samples, Samples, tuple[str, ...]]:
    with resources.as_file(resources.files("cl_suite.data.assets") / ASSET) as path:
        ink, names = unpack(path)
    # (classes, drawings, 1, height, width)
    images = torch.stack([shrink(drawings, size)[:, None] for drawings in ink])
    return _flat(images[:, :TRAIN_DRAWINGS]), _flat(images[:, TRAIN_DRAWINGS:]), names


def _on_disk(root: str) -> tuple[Samples, Samples, tuple[str, ...]]:
    characters = find_characters(root)
    for name, paths in characters.items():
        if len(paths) <= TRAIN_DRAWINGS:
            raise UserError(
                f"character '{name}' in '{root}' has {len(paths)} drawings; the first "
                f"{TRAIN_DRAWINGS} are for training, others for testing, and Omniglot has 20 of "
                "each; add the others or remove its folder"
            )

    def samples(drawings: slice) -> FileSamples:
        pairs = [(p, c) for c, paths in enumerate(characters.values()) for p in paths[drawings]]
        folder = Path(root).expanduser()
        return FileSamples([path for path, _ in pairs], [c for _, c in pairs], folder)

    first, others = slice(TRAIN_DRAWINGS), slice(TRAIN_DRAWINGS, None)
    return samples(first), samples(others), tuple(characters)


def _pixels(path: Path) -> NDArray[np.bool_]:
    with Image.open(path) as image:
        return np.asarray(image.convert("1"), dtype=np.bool_)


def _flat(images: Tensor) -> TensorSamples:
    # (classes, drawings, 1, height, width)
    targets = torch.arange(len(images)).repeat_interleave(images.shape[1])
    return TensorSamples(images.flatten(0, 1), targets.tolist())
