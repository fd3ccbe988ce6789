"""Raw samples of one session, in memory or as image files, without access to other sessions.

A strategy holds these through Avalanche's dataset and could read every attribute. Selecting
therefore copies the data instead of keeping a view of a larger set.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torchvision.io import decode_jpeg

# under their former place too, where programs import them from
from cl_suite.data.pictures import image_problem as image_problem
from cl_suite.data.pictures import read_image as read_image
from cl_suite.errors import UserError

UNLABELLED = -100  # target of a training sample without a label; cross-entropy ignores it
DECODED_AT_ONCE = 128  # files a thread task: one task a file costs more than decoding a small image


class Samples(Protocol):
    """Raw inputs with integer class ids, as a scenario passes them to `build_stream`."""

    targets: list[int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...

    def select(self, indices: Sequence[int]) -> Samples:
        """Return a copy that holds only these samples."""
        ...

    def num_bytes(self, indices: Sequence[int] | None = None) -> int:
        """Return the size in bytes of these samples (default: all)."""
        ...

    def digest(self, index: int) -> bytes:
        """Return bytes that identify one sample's content and label."""
        ...


def relabelled(samples: Samples, targets: Sequence[int]) -> Samples:
    """Return the same samples with other labels; the inputs are shared."""
    if len(targets) != len(samples):
        raise ValueError(f"{len(targets)} labels for {len(samples)} samples")
    changed = copy.copy(samples)
    changed.targets = [int(target) for target in targets]
    return changed


class TensorSamples:
    """Samples of one shape, in memory.

    Args:
        inputs: `(num_samples, ...)`, uint8 for images `(num_samples, channels, height, width)`.
        targets: class id of each sample.

    Raises:
        ValueError: if the lengths differ.
    """

    def __init__(self, inputs: Tensor, targets: Sequence[int]) -> None:
        if len(inputs) != len(targets):
            raise ValueError(f"{len(inputs)} inputs but {len(targets)} targets")
        self.inputs = inputs
        # plain ints: NumPy integers would pass unchanged into Avalanche's class sets
        self.targets = [int(t) for t in targets]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], self.targets[index]

    def select(self, indices: Sequence[int]) -> TensorSamples:
        rows = torch.as_tensor(list(indices), dtype=torch.long)
        return TensorSamples(self.inputs[rows], [self.targets[i] for i in rows.tolist()])

    def num_bytes(self, indices: Sequence[int] | None = None) -> int:
        count = len(self) if indices is None else len(indices)
        return count * self.inputs[0].numel() * self.inputs.element_size() if len(self) else 0

    def digest(self, index: int) -> bytes:
        content = self.inputs[index].contiguous().numpy().tobytes()
        return hashlib.sha256(content).digest() + str(self.targets[index]).encode()


class FileSamples:
    """Image files, decoded to uint8 RGB `(3, height, width)` on access.

    Args:
        paths: image files.
        targets: class id of each file.
        root: `digest` uses paths relative to this folder, so a moved data set keeps its digest.
    """

    def __init__(self, paths: Sequence[Path], targets: Sequence[int], root: Path) -> None:
        if len(paths) != len(targets):
            raise ValueError(f"{len(paths)} paths but {len(targets)} targets")
        self.paths = list(paths)
        self.targets = [int(t) for t in targets]
        self.root = root

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return read_image(self.paths[index]), self.targets[index]

    def select(self, indices: Sequence[int]) -> FileSamples:
        rows = list(indices)
        return FileSamples(
            [self.paths[i] for i in rows], [self.targets[i] for i in rows], self.root
        )

    def num_bytes(self, indices: Sequence[int] | None = None) -> int:
        rows = range(len(self)) if indices is None else indices
        return sum(self.paths[i].stat().st_size for i in rows)

    def digest(self, index: int) -> bytes:
        path = self.paths[index]
        name = path.relative_to(self.root).as_posix()
        # the content too: cached features of a file that was replaced must not be reused
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        return f"{name}\0{content}\0{self.targets[index]}".encode()

    def check(self) -> None:
        """Check every file once, before training; raise `UserError` for the first damaged one."""
        with ThreadPoolExecutor() as pool:
            for problem in pool.map(image_problem, self.paths):
                if problem:
                    raise UserError(problem)

    def decode(self) -> TensorSamples:
        """Return the images as tensors in memory; all must have the same size.

        Raises:
            UserError: if a file cannot be read or has another size.
        """
        parts = [self.paths[i : i + DECODED_AT_ONCE] for i in range(0, len(self), DECODED_AT_ONCE)]
        with ThreadPoolExecutor() as pool:
            images = [image for part in pool.map(_read_images, parts) for image in part]
        for path, image in zip(self.paths, images, strict=True):
            if image.shape != images[0].shape:
                raise UserError(
                    f"image '{path}' is {tuple(image.shape[1:])} pixels, but the others are "
                    f"{tuple(images[0].shape[1:])}; resize it, or use the image_folder scenario"
                )
        return TensorSamples(torch.stack(images), self.targets)


def _read_images(paths: Sequence[Path]) -> list[Tensor]:
    return [_read_plain_jpeg(path) for path in paths]


def _read_plain_jpeg(path: Path) -> Tensor:
    """Return the same as `read_image`, several times faster if the file is a plain JPEG."""
    try:
        data = path.read_bytes()
        # Pillow handles the rest: Exif data may ask for a rotation, CMYK needs a conversion
        if data.startswith(b"\xff\xd8") and b"Exif" not in data[:4096]:
            pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            if len(pixels) == 3:
                return pixels
    except (OSError, RuntimeError):
        pass  # Pillow reads it, or reports what is wrong with it
    return read_image(path)
