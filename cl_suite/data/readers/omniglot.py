"""Reads the packaged Omniglot subset: 242 characters of 8 alphabets, 20 drawings of each.

Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350, 2015. MIT licence, see `assets/LICENSE-omniglot`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cl_suite.data.pool import Pool
from cl_suite.data.samples import TensorSamples
from cl_suite.data.shrink import shrink as shrink
from cl_suite.data.transforms import Compose, InkDrawing, RandomAffine, ToFloat, Transform

ASSET = "omniglot_small.npz"
IMAGE_SIZE = 28
TRAIN_DRAWINGS = 10  # of each character, in file order; the others are for testing


def read(*, augment: bool = True) -> Pool:
    """Return the drawings at 28 x 28 pixels, ink 255 on 0; class ids follow the sorted names."""
    with resources.as_file(resources.files("cl_suite.data.assets") / ASSET) as path:
        ink, names = unpack(path)
    images = shrink(ink.reshape(-1, *ink.shape[2:]), IMAGE_SIZE)
    images = images.reshape(*ink.shape[:2], 1, IMAGE_SIZE, IMAGE_SIZE)
    plain = ToFloat()
    train_transform: Transform = Compose((plain, RandomAffine())) if augment else plain
    return Pool(
        train=_flat(images[:, :TRAIN_DRAWINGS]),
        test=_flat(images[:, TRAIN_DRAWINGS:]),
        class_names=names,
        train_transform=train_transform,
        eval_transform=plain,
        from_picture=InkDrawing(IMAGE_SIZE),
        mirror_symmetric=False,
    )


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


def _pixels(path: Path) -> NDArray[np.bool_]:
    with Image.open(path) as image:
        return np.asarray(image.convert("1"), dtype=np.bool_)


def _flat(images: Tensor) -> TensorSamples:
    # (classes, drawings, 1, height, width)
    targets = torch.arange(len(images)).repeat_interleave(images.shape[1])
    return TensorSamples(images.flatten(0, 1), targets.tolist())
