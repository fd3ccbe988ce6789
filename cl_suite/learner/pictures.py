"""Pictures from files, folders, globs, PIL images, arrays and tensors, one at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cl_suite.data.pictures import read_image
from cl_suite.data.transforms import Transform
from cl_suite.errors import UserError, os_refusal
from cl_suite.learner.places import picture_files
from cl_suite.models.digest import DIGEST_BYTES, tensor_digest

THUMBNAIL = 96  # pixels of the longer side
AT_ONCE = 64  # pictures in memory


@dataclass(frozen=True)
class Source:
    """A picture not yet read.

    Attributes:
        name: what messages call it.
        read: returns its identity, and its uint8 RGB pixels `(3, height, width)`.
    """

    name: str
    read: Callable[[], tuple[bytes, Tensor]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that was read.

    Attributes:
        identity: equal for equal files, or equal pixels if it came as such.
        prepared: the backbone's input.
        thumbnail: a small JPEG.
    """

    name: str
    identity: bytes
    prepared: Tensor
    thumbnail: bytes


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be used, and why, in a sentence."""

    name: str
    reason: str


_WATCHER: ContextVar[Callable[[Sequence[Picture | Skipped]], object]] = ContextVar(
    "watcher", default=lambda part: None
)


def sources(images: Any) -> list[Source]:
    """Return the pictures that a user named, in order.

    Args:
        images: a path, a folder (its pictures, those of folders within it too), a glob pattern, the
            bytes of a file, a PIL image, a uint8 array `(height, width[, 1, 3 or 4])` or a batch of
            them, a tensor `(1 or 3, height, width)` or a batch of them (uint8, or floats in
            [0, 1]), or an iterable of these, or of what this function returned.

    Raises:
        UserError: if there is none, or something is of another kind.
    """
    found = list(_sources(images, ""))
    if not found:
        raise UserError("no pictures were given; name at least one file, folder or image")
    return [
        source if source.name else Source(f"picture {number}", source.read)
        for number, source in enumerate(found, 1)
    ]


def in_memory(content: bytes, name: str) -> Source:
    """Return the picture in a file's bytes; its identity is that of the file on disk."""
    return Source(name, lambda: (_digest(content), read_image(BytesIO(content), name or "upload")))


def read(
    wanted: Sequence[Source], prepare: Transform, *, strict: bool = False
) -> Iterator[list[Picture | Skipped]]:
    """Yield pictures in order, a part at a time; threads decode the files.

    Args:
        strict: raise for a picture that cannot be read, instead of skipping it.

    Raises:
        UserError: see `strict`.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(wanted), AT_ONCE):
            part = wanted[first : first + AT_ONCE]
            found = list(pool.map(lambda source: _read(source, prepare), part))
            if strict and (bad := next((p for p in found if isinstance(p, Skipped)), None)):
                raise UserError(bad.reason)
            yield found
            _WATCHER.get()(found)


@contextlib.contextmanager
def watched(watcher: Callable[[Sequence[Picture | Skipped]], object]) -> Iterator[None]:
    """Tell `watcher` of all pictures that are read and used inside the block, part by part."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def thumbnail(pixels: Tensor) -> bytes:
    """Return a small JPEG of uint8 pixels `(1 or 3, height, width)`."""
    picture = Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    stored = BytesIO()
    picture.save(stored, "JPEG", quality=70)
    return stored.getvalue()


def _read(source: Source, prepare: Transform) -> Picture | Skipped:
    try:
        identity, pixels = source.read()
        prepared = prepare(pixels)
    except UserError as error:
        return Skipped(source.name, str(error))
    except (RuntimeError, ValueError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Skipped(
            source.name, f"{source.name} cannot be prepared ({reason}); give another picture"
        )
    return Picture(source.name, identity, prepared, thumbnail(pixels))


def _sources(images: Any, name: str) -> Iterator[Source]:
    if isinstance(images, (str, Path)):
        yield from map(_file, picture_files(images))
    elif isinstance(images, Source):
        yield images
    elif isinstance(images, bytes):
        yield in_memory(images, name)
    elif isinstance(images, Image.Image):
        yield Source(name, lambda: _from_pixels(_from_pil(images)))
    elif isinstance(images, np.ndarray):
        yield from _arrays(images, name)
    elif isinstance(images, Tensor):
        yield from _tensors(images, name)
    elif isinstance(images, Iterable) and not isinstance(images, dict):
        for image in images:
            yield from _sources(image, name)
    else:
        raise UserError(
            f"a {type(images).__name__} is no picture; give a file, a folder, a PIL image, an "
            "array or a tensor"
        )


def _file(path: Path) -> Source:
    def read_file() -> tuple[bytes, Tensor]:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"image {os_refusal(error, path, 'read')}") from error
        return _digest(content), read_image(BytesIO(content), str(path))

    return Source(str(path), read_file)


def _arrays(array: np.ndarray[Any, Any], name: str) -> Iterator[Source]:
    grey_or_colour = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))
    if array.ndim == 4 or (array.ndim == 3 and not grey_or_colour):
        for each in array:
            yield from _arrays(each, name)
        return
    if not grey_or_colour or array.dtype != np.uint8:
        raise UserError(
            f"an array of shape {array.shape} and type {array.dtype} is no picture; give uint8 "
            "(height, width), (height, width, 3) or a batch of them"
        )
    image = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)
    yield Source(name, lambda: _from_pixels(_from_pil(image)))


def _tensors(tensor: Tensor, name: str) -> Iterator[Source]:
    if tensor.dim() == 4:
        for each in tensor:
            yield from _tensors(each, name)
        return
    if tensor.dim() != 3 or tensor.shape[0] not in (1, 3):
        raise UserError(
            f"a tensor of shape {tuple(tensor.shape)} is no picture; give (channels, height, "
            "width) with 1 or 3 channels, or a batch of them"
        )
    pixels = tensor.detach().cpu()
    if not pixels.numel():
        raise UserError(f"a tensor of shape {tuple(tensor.shape)} is no picture: it is empty")
    if pixels.is_floating_point():
        if not (pixels.isfinite().all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise UserError(
                "a float tensor must lie in [0, 1], before any normalisation; scale it, or give "
                "uint8"
            )
        pixels = (pixels * 255).round().to(torch.uint8)
    if pixels.dtype != torch.uint8:
        raise UserError(f"a tensor of type {tensor.dtype} is no picture; give uint8 or floats")
    yield Source(name, lambda: _from_pixels(pixels.expand(3, -1, -1)))


def _from_pil(image: Image.Image) -> Tensor:
    # through a file in memory, so every mode is read as it is from disk
    stored = BytesIO()
    try:
        if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "P", "PA", "RGBa", "La"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.save(stored, "TIFF" if image.mode == "F" else "PNG")
    except (OSError, ValueError) as error:
        raise UserError(f"a PIL image of mode {image.mode} cannot be used ({error})") from error
    return read_image(BytesIO(stored.getvalue()), f"PIL image of mode {image.mode}")


def _from_pixels(pixels: Tensor) -> tuple[bytes, Tensor]:
    return tensor_digest(pixels), pixels


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
