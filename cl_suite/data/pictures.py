"""Reads image files of any depth as 8-bit RGB, with the values that a viewer shows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from cl_suite.data.copies import groups_of_copies
from cl_suite.errors import UserError

# what Pillow raises for a file that is damaged, too large, or of a kind that it cannot convert
REFUSALS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
WHOLE_RANGE = 65_535  # of 16 bits
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # TIFF tags
WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class Look:
    """What a first look into an image file finds.

    Attributes:
        problem: why the image cannot be used; None if it can.
        key: equal for equal pictures. Two JPEGs with equal keys may still differ in details, see
            `same_pictures`.
        highest: highest value of an image of more than 8 bits, as a share of its range; else None.
        pixels: what `read_image` returns, if the look needed all of it; else None.
        size: width and height in pixels, as stored.
    """

    problem: str | None
    key: bytes = b""
    highest: float | None = None
    pixels: Tensor | None = None
    size: tuple[int, int] = (0, 0)


def read_image(path: Path | BytesIO, name: str | None = None) -> Tensor:
    """Return the image as uint8 RGB, `(3, height, width)`; transparent parts show white.

    More than 8 bits are scaled by the range of their type, floats from [0, 1].

    Args:
        name: what a message calls a picture in memory; None for one that a checkpoint holds.

    Raises:
        UserError: if the file cannot be read to its end, or its values have no known range.
    """
    try:
        with Image.open(path) as image:
            pixels = _rgb(image)
    except REFUSALS as error:
        raise UserError(_unreadable(name or path, error)) from error
    return _as_tensor(pixels)


def image_problem(path: Path) -> str | None:
    """Return what is wrong with an image file, or None.

    A PNG's checksums are verified. Every other file is decoded, a JPEG at an eighth of its size:
    that reads all of its data, in less than a third of the time.
    """
    try:
        with Image.open(path) as image:
            if image.format == "PNG":
                image.verify()
            else:
                _decode(image)
    except REFUSALS as error:
        return _unreadable(path, error)
    return None


def look_into(path: Path, *, whole: int = 0) -> Look:
    """Return what is to know of an image file before it is used; it is decoded to its end.

    Args:
        whole: a picture of at most this many pixels is kept as `Look.pixels`.
    """
    try:
        with Image.open(path) as image:
            size = image.size  # before a JPEG is decoded smaller
            kept = size[0] * size[1] <= whole
            pixels = _rgb(image) if kept else _decode(image)
            deep = _is_deep(image)
    except REFUSALS as error:
        return Look(_unreadable(path, error))
    key = hashlib.sha256(f"{size} {pixels.shape}".encode() + pixels.tobytes()).digest()
    highest = float(pixels.max()) / 255 if deep else None
    return Look(None, key, highest, _as_tensor(pixels) if kept else None, size)


def same_pictures(paths: Sequence[Path], keys: Sequence[bytes]) -> list[bytes]:
    """Return keys that are equal for equal pictures alone.

    Args:
        keys: `Look.key` of each path; files with equal keys are compared pixel by pixel.
    """
    doubtful = [row for rows in groups_of_copies(keys) for row in rows]
    exact = list(keys)
    with ThreadPoolExecutor() as pool:
        for row, key in zip(doubtful, pool.map(lambda i: _digest(paths[i]), doubtful), strict=True):
            exact[row] = key
    return exact


def _digest(path: Path) -> bytes:
    image = read_image(path)
    return hashlib.sha256(f"{tuple(image.shape)}".encode() + image.numpy().tobytes()).digest()


def _decode(image: Image.Image) -> NDArray[np.uint8]:
    if image.format != "JPEG":
        return _rgb(image)
    image.draft(None, (1, 1))  # type: ignore[arg-type]  # None keeps the mode
    return np.asarray(image)


def _as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return `(height, width, 3)`."""
    # phones store pictures in the sensor's orientation, with the rotation in a tag
    upright = ImageOps.exif_transpose(image)
    if _is_deep(image):
        grey = _eight_bits(image, np.asarray(upright))
        return np.repeat(grey[..., None], 3, axis=2)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            # viewers differ in the colour behind; white is the most common
            white = Image.new("RGBA", layer.size, "white")
            return np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    return np.asarray(upright.convert("RGB"))


def _eight_bits(image: Image.Image, values: NDArray[Any]) -> NDArray[np.uint8]:
    top = _top(image, values)
    shares = values.astype(np.float64) / top
    if _tags(image).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        shares = 1 - shares
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        shares[values == hidden] = 1
    pixels: NDArray[np.uint8] = np.rint(shares.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def _top(image: Image.Image, values: NDArray[Any]) -> float:
    """Return the value that a viewer shows as white; raise `ValueError` if viewers would differ."""
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"its floats lie between {values.min():g} and {values.max():g}, and viewers agree "
                "on [0, 1] alone: scale them to it"
            )
        return 1.0
    if image.mode.startswith("I;16"):
        bits = _tags(image).get(BITS_PER_SAMPLE, (16,))
        return float(2 ** int(bits[0]) - 1)
    if image.format in ("PNG", "PPM"):
        return WHOLE_RANGE  # Pillow keeps 16 bits in 32
    raise ValueError(
        "its whole numbers of 32 bits have no range on which viewers agree: save it in 8 or 16 bits"
    )


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _unreadable(path: Path | BytesIO | str, error: Exception) -> str:
    if isinstance(path, BytesIO):
        return f"a stored image cannot be read ({error}); its checkpoint is damaged"
    path = Path(path)
    text = re.sub(r" ?<_io\.BytesIO[^>]*>", "", str(error)).replace(str(path), path.name)
    reason = text.splitlines()[0] if text else "no reason"
    return f"image '{path}' cannot be read ({reason}); replace the file or remove it from the data"
