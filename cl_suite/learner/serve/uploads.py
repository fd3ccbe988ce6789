"""Pictures that arrive in requests; they are measured before any pixel is decoded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import NoReturn

from PIL import Image

from cl_suite.data.pictures import REFUSALS
from cl_suite.learner.pictures import Source, in_memory
from cl_suite.learner.serve.limits import MIB, Limits, RefusedError

# no format whose reader starts another program, such as EPS
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
LONGEST_NAME = 200


@dataclass(frozen=True)
class Upload:
    """A file in a request."""

    name: str
    content: bytes


def checked(uploads: Sequence[Upload], limits: Limits) -> list[Source]:
    """Return the pictures in files, still to be decoded.

    A file that is no picture stays among them: reading it says so in its place.

    Raises:
        RefusedError: for too many files, or one that is too large.
    """
    if not uploads:
        raise RefusedError(422, "no pictures were given; send at least one as 'files'")
    if len(uploads) > limits.files:
        raise RefusedError(
            422,
            f"{len(uploads)} pictures are too many for a request; send at most {limits.files}",
        )
    pixels = 0
    for upload in uploads:
        if len(upload.content) > limits.file_bytes:
            raise RefusedError(
                413,
                f"picture '{plain_name(upload.name)}' has {len(upload.content) / MIB:.1f} MiB, and "
                f"{limits.file_bytes / MIB:.1f} are allowed; send a smaller one",
            )
        size = num_pixels(upload.content) or 0
        pixels += size
        if size > limits.pixels:
            raise RefusedError(
                413,
                f"picture '{plain_name(upload.name)}' has {size:,} pixels, and {limits.pixels:,} "
                "are allowed; send a smaller one",
            )
    if pixels > limits.request_pixels:
        raise RefusedError(
            413,
            f"the pictures have {pixels:,} pixels together, and {limits.request_pixels:,} are "
            "allowed; send fewer at once",
        )
    return [_source(upload) for upload in uploads]


def num_pixels(content: bytes) -> int | None:
    """Return how many pixels a picture's header announces; None if it is no picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Pillow refuses the largest itself, without telling their size
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                return image.width * image.height
    except Image.DecompressionBombError:
        return 2 * int(Image.MAX_IMAGE_PIXELS or 0) + 1
    except REFUSALS:
        return None


def plain_name(name: str) -> str:
    """Return a file's name as answers show it: without folders and what cannot be printed.

    Example:
        >>> plain_name("C:\\\\photos\\\\oak\\x07.jpg")
        'oak.jpg'
    """
    base = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in base if letter.isprintable())[:LONGEST_NAME] or "picture"


def _source(upload: Upload) -> Source:
    name = plain_name(upload.name)
    if num_pixels(upload.content) is None:
        return Source(name, lambda: _refuse(name))
    return in_memory(upload.content, name)


def _refuse(name: str) -> NoReturn:
    raise RefusedError(
        415, f"file '{name}' is no picture of a known kind ({', '.join(FORMATS)}); send another"
    )
