"""Finds Omniglot's drawings in its own folders, and reads them as ink on an empty ground.

A character is a folder of PNG files. It lies in the folder of its alphabet, or is named after both
(`Greek.character01`). The root holds `images_background/` and `images_evaluation/`, one of them, or
the alphabets themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from cl_suite.data.pictures import read_image
from cl_suite.data.readers.squares import SEEN_LIMIT_BYTES, parts_of
from cl_suite.data.samples import FileSamples, Samples, TensorSamples
from cl_suite.data.transforms import InkDrawing
from cl_suite.errors import UserError

PARTS = ("images_background", "images_evaluation")
LEVELS = ("*/*.png", "*/*/*.png")
LAYOUT = (
    "Omniglot is read from its images_background/ or images_evaluation/, or folders like "
    "theirs, <alphabet>/<character>/*.png; choose another source or scenario for other images"
)


def find_characters(root: str) -> dict[str, list[Path]]:
    """Return the drawings of each character, both in the order of their names.

    Raises:
        UserError: if the folder does not exist, or has no drawings.
    """
    folder = Path(root).expanduser()
    if not root or not folder.is_dir():
        raise UserError(f"root '{root}' is not a folder; {LAYOUT}")
    found: dict[str, list[Path]] = {}
    for top in [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]:
        characters = _characters_in(top)
        if both := sorted(found.keys() & characters):
            raise UserError(
                f"character '{both[0]}' is in {PARTS[0]}/ and in {PARTS[1]}/ of '{root}'; get "
                "Omniglot again"
            )
        found |= characters
    if not found:
        raise UserError(f"root '{root}' has no drawings; {LAYOUT}")
    return {name: sorted(found[name]) for name in sorted(found)}


def is_for_evaluation(root: str, name: str) -> bool:
    """Return whether a character lies in `images_evaluation/`; False if there is no such folder."""
    return (Path(root).expanduser() / PARTS[1] / name).is_dir()


def _characters_in(top: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in (path for level in LEVELS for path in top.glob(level)):
        name = path.parent.relative_to(top).as_posix()
        if not (name.startswith(".") or path.name.startswith(".")):
            found.setdefault(name, []).append(path)
    return found


class Drawings:
    """Drawings in ink 255 on 0, as a `Pool.load`; a file that is used again is kept.

    Args:
        size: pixels a side.
    """

    def __init__(self, size: int) -> None:
        self._ink = InkDrawing(size)
        self._seen: dict[Path, Tensor] = {}
        self._left = SEEN_LIMIT_BYTES

    def __call__(self, samples: Samples) -> Samples:
        """Return image files as tensors `(num, 1, size, size)`; leave other samples."""
        if not isinstance(samples, FileSamples):
            return samples
        new = [path for path in dict.fromkeys(samples.paths) if path not in self._seen]
        with ThreadPoolExecutor() as pool:
            drawn = [ink for part in pool.map(self._draw, parts_of(new)) for ink in part]
        read = dict(zip(new, drawn, strict=True))
        for path, ink in read.items():
            if ink.numel() <= self._left:
                self._left -= ink.numel()
                self._seen[path] = ink
        inputs = [self._seen[path] if path in self._seen else read[path] for path in samples.paths]
        return TensorSamples(torch.stack(inputs), samples.targets)

    def _draw(self, paths: Sequence[Path]) -> list[Tensor]:
        return [self._ink(read_image(path)) for path in paths]
