"""Raw samples of one session: they own their data and reach no other session's.

A strategy holds these through Avalanche's dataset, so whatever lies behind an attribute here is
within its reach. Selecting therefore copies, instead of keeping a view of a larger set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import decode_jpeg

from cl_suite.errors import UserError

UNLABELLED = -100  # the target of a training sample without label; cross-entropy ignores it
DECODED_AT_ONCE = 128  # files a task: a task each would cost more than a small picture itself


class Samples(Protocol):
    """What a scenario hands to `build_stream`: raw inputs with integer class ids."""

    targets: list[int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]: ...

    def select(self, indices: Sequence[int]) -> Samples:
        """Return a copy that holds these samples alone."""
        ...

    def num_bytes(self, indices: Sequence[int] | None = None) -> int:
        """Return the bytes that keeping these samples (default: all) takes."""
        ...

    def digest(self, index: int) -> bytes:
        """Return bytes that identify one sample's content and label."""
        ...


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
        # plain ints: numpy's would travel through Avalanche's class sets unchanged
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
    """Image files, decoded to uint8 RGB `(3, height, width)` when asked for.

    Args:
        paths: image files.
        targets: class id of each file.
        root: folder that `digest` names files relative to, so that a moved data set stays the same.
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
        # the content too: features of a file that was replaced since must not be found again
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        return f"{name}\0{content}\0{self.targets[index]}".encode()

    def check(self) -> None:
        """Look at every file once, before any training: raise `UserError` for the first bad one."""
        with ThreadPoolExecutor() as pool:
            for problem in pool.map(image_problem, self.paths):
                if problem:
                    raise UserError(problem)

    def decode(self) -> TensorSamples:
        """Return the images in memory; all must have the first one's size.

        Raises:
            UserError: for an unreadable file or another size, naming the file.
        """
        parts = [self.paths[i : i + DECODED_AT_ONCE] for i in range(0, len(self), DECODED_AT_ONCE)]
        with ThreadPoolExecutor() as pool:
            images = [image for part in pool.map(_read_images, parts) for image in part]
        for path, image in zip(self.paths, images, strict=True):
            if image.shape != images[0].shape:
                raise UserError(
                    f"image '{path}' is {tuple(image.shape[1:])} pixels where the others are "
                    f"{tuple(images[0].shape[1:])}; resize it, or use the image_folder scenario"
                )
        return TensorSamples(torch.stack(images), self.targets)


def _read_images(paths: Sequence[Path]) -> list[Tensor]:
    return [_read_plain_jpeg(path) for path in paths]


def _read_plain_jpeg(path: Path) -> Tensor:
    """Return what `read_image` does, several times as fast where the file is a plain JPEG."""
    try:
        data = path.read_bytes()
        # a tag may say how to turn the picture, and more colours than three are converted by Pillow
        if data.startswith(b"\xff\xd8") and b"Exif" not in data[:4096]:
            pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            if len(pixels) == 3:
                return pixels
    except (OSError, RuntimeError):
        pass  # Pillow reads it, or says what is wrong with it
    return read_image(path)


def read_image(path: Path | BytesIO) -> Tensor:
    """Return the image as uint8 RGB, `(3, height, width)`.

    Raises:
        UserError: if the file cannot be read to its end.
    """
    try:
        with Image.open(path) as image:
            # phones store pictures as the sensor lay, and say in a tag how to turn them
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(_unreadable(path, error)) from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def image_problem(path: Path) -> str | None:
    """Return what is wrong with an image file, or None; decode it only where nothing less tells.

    A PNG's checksums are verified, and a JPEG that ends with its end-of-image marker is whole.
    Others are decoded: a JPEG may carry a film or a note behind its picture, and the remaining
    formats have nothing to verify.
    """
    try:
        with Image.open(path) as image:
            kind = image.format
            image.verify()
        whole_jpeg = kind == "JPEG" and b"\xff\xd9" in _tail(path, 4096)
        if kind != "PNG" and not whole_jpeg:
            read_image(path)
    except UserError as error:
        return str(error)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return _unreadable(path, error)
    return None


def _tail(path: Path, num_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - num_bytes))
        return file.read()


def _unreadable(path: Path | BytesIO, error: Exception) -> str:
    if isinstance(path, BytesIO):
        return f"an image that was kept cannot be read ({error}); its checkpoint is damaged"
    reason = str(error).replace(str(path), path.name).splitlines()[0] if str(error) else "no reason"
    return f"image '{path}' cannot be read ({reason}); replace the file or take it out of the data"
