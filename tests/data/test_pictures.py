"""Values of pictures of every depth, checked by arithmetic and by decoders other than ours."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from cl_suite.data.pictures import image_problem, look_into, read_image, same_pictures
from cl_suite.errors import UserError

DEEP = np.random.default_rng(0).integers(0, 65_536, (12, 10)).astype(np.uint16)


def write_png(path: Path, samples: NDArray[np.uint16], *, colour: int = 0, clear: int = -1) -> Path:
    """Write a PNG of 16 bits by hand: grey `(height, width)` or RGB `(height, width, 3)`."""
    rows = samples.reshape(len(samples), -1).astype(">u2")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", samples.shape[1], len(samples), 16, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    if clear >= 0:
        chunks.insert(1, (b"tRNS", struct.pack(">H", clear)))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )
    return path


def grey(path: Path) -> NDArray[np.uint8]:
    """Return the only channel of a grey picture."""
    image = read_image(path)
    assert image.dtype == torch.uint8
    assert image[0].equal(image[1])
    assert image[0].equal(image[2])
    return np.asarray(image[0].numpy())


def test_a_png_of_16_bits_has_the_values_of_its_raw_samples(tmp_path: Path) -> None:
    assert np.array_equal(grey(write_png(tmp_path / "a.png", DEEP)), np.rint(DEEP / 257))


def test_a_png_of_16_bits_has_the_values_of_torchvisions_decoder(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", DEEP)
    other = decode_image(str(path), ImageReadMode.UNCHANGED)
    assert other.dtype == torch.uint16
    expected = np.rint(other[0].numpy().astype(np.float64) * 255 / 65_535)
    assert np.array_equal(grey(path), expected)


def test_the_same_picture_in_8_and_in_16_bits_is_the_same(tmp_path: Path) -> None:
    eight = (DEEP // 257).astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "8.png")
    write_png(tmp_path / "16.png", eight.astype(np.uint16) * 257)
    assert read_image(tmp_path / "8.png").equal(read_image(tmp_path / "16.png"))


def test_a_colour_png_of_16_bits_differs_from_its_raw_samples_by_one_at_most(
    tmp_path: Path,
) -> None:
    samples = np.random.default_rng(1).integers(0, 65_536, (5, 4, 3)).astype(np.uint16)
    read = read_image(write_png(tmp_path / "a.png", samples, colour=2)).permute(1, 2, 0).numpy()
    assert np.abs(read - samples / 257).max() <= 1  # Pillow keeps the higher byte


def test_a_transparent_grey_of_16_bits_shows_white(tmp_path: Path) -> None:
    samples = np.array([[0, 1000], [65_535, 1000]], dtype=np.uint16)
    path = write_png(tmp_path / "a.png", samples, clear=1000)
    assert grey(path).tolist() == [[0, 255], [255, 255]]


def write_tiff(path: Path, samples: NDArray[np.uint16], *, photometric: int = 1) -> Path:
    """Write a grey TIFF of 16 bits by hand, uncompressed and little-endian."""
    height, width = samples.shape
    data = samples.astype("<u2").tobytes()
    tags = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 3, height),
        (279, 4, len(data)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    return path


@pytest.mark.parametrize("photometric", [0, 1])
def test_a_tiff_of_16_bits_has_the_values_of_its_raw_samples(
    tmp_path: Path, photometric: int
) -> None:
    read = grey(write_tiff(tmp_path / "a.tif", DEEP, photometric=photometric))
    shown = DEEP if photometric else 65_535 - DEEP.astype(np.int64)  # 0 is white there
    assert np.array_equal(read, np.rint(shown / 257))


def test_a_pgm_of_16_bits_has_the_values_of_its_raw_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 10 12 65535\n" + DEEP.astype(">u2").tobytes())
    assert np.array_equal(grey(path), np.rint(DEEP / 257))


def test_floats_from_zero_to_one_are_scaled(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.array_equal(grey(tmp_path / "a.tif").ravel(), np.arange(256))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.array([[0, 800]], dtype=np.float32), "its floats lie between 0 and 800, and viewers"),
        (np.array([[-1, 1]], dtype=np.float32), "its floats lie between -1 and 1, and viewers"),
        (np.array([[0, np.nan]], dtype=np.float32), "its floats lie between nan and nan"),
        (np.array([[0, 800]], dtype=np.int32), "its whole numbers of 32 bits have no range"),
    ],
)
def test_values_without_a_known_range_are_refused_by_name(
    tmp_path: Path, values: NDArray[np.float32], sentence: str
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    for problem in (image_problem(tmp_path / "a.tif"), look_into(tmp_path / "a.tif").problem):
        assert problem is not None
        assert f"a.tif' cannot be read ({sentence}" in problem
    with pytest.raises(UserError, match=sentence):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_other_mode_comes_in_as_a_viewer_shows_it(tmp_path: Path, mode: str) -> None:
    """A left dark and a right bright half must come in as such."""
    path = tmp_path / "a.tif"
    halves = np.zeros((4, 8), dtype=np.uint8)
    halves[:, 4:] = 255
    picture = Image.fromarray(halves)
    if mode == "LAB":
        neutral = Image.new("L", picture.size, 128)
        picture = Image.merge("LAB", [picture, neutral, neutral])
    else:
        picture = picture.convert("RGB").convert("P" if mode == "PA" else mode)
    try:
        picture.save(path)
    except OSError:
        picture.convert("RGBA").save(path)
    image = read_image(path)
    assert image[:, :, :4].float().mean() < 5
    assert image[:, :, 4:].float().mean() > 250


def test_a_transparent_background_is_white_and_not_what_is_hidden_in_it(tmp_path: Path) -> None:
    drawing = np.zeros((3, 4, 4), dtype=np.uint8)  # black on transparent black
    drawing[1, 1:3, 3] = 255
    drawing[2, 0, 3] = 51
    for kind in ("png", "webp"):
        options = {"lossless": True, "exact": True} if kind == "webp" else {}
        Image.fromarray(drawing).save(tmp_path / f"a.{kind}", **options)
        image = read_image(tmp_path / f"a.{kind}")[0]
        assert image[0].tolist() == [255] * 4
        assert image[1].tolist() == [255, 0, 0, 255]
        assert image[2, 0] == 204  # a fifth black


def test_an_opaque_picture_keeps_its_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), pixels[..., :3])


def photo(seed: int) -> Image.Image:
    down, right = np.mgrid[:96, :128]
    wave = 128 + 60 * (np.sin(right / 11 + seed) + np.cos(down / 13))
    noise = np.random.default_rng(seed).normal(0, 8, (96, 128, 3))
    return Image.fromarray((wave[..., None] + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_damaged_in_its_middle_is_a_problem_whenever_it_cannot_be_read(
    tmp_path: Path, progressive: bool
) -> None:
    path = tmp_path / "a.jpg"
    photo(0).save(path, quality=90, progressive=progressive)
    content, generator = path.read_bytes(), np.random.default_rng(3)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in generator.integers(20, len(content) - 2, 8):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read_image(path)
            readable = True
        except UserError:
            readable = False
        refused += not readable
        assert (image_problem(path) is None) == readable
        assert (look_into(path).problem is None) == readable
    assert 10 < refused < 290


def test_keys_are_equal_for_equal_pictures_alone(tmp_path: Path) -> None:
    first = photo(0)
    nearly = first.copy()
    colour = nearly.getpixel((5, 5))
    assert isinstance(colour, tuple)
    nearly.putpixel((5, 5), (255 - colour[0], *colour[1:]))
    first.save(tmp_path / "0.png")
    first.save(tmp_path / "1.bmp")
    first.save(tmp_path / "2.png", optimize=True)
    nearly.save(tmp_path / "3.png")
    first.save(tmp_path / "4.jpg")
    first.save(tmp_path / "5.jpg", comment="a copy with a note")
    nearly.save(tmp_path / "6.jpg", quality=75)
    turned = Image.Exif()
    turned[0x0112] = 3
    first.save(tmp_path / "7.jpg", exif=turned)
    paths = sorted(tmp_path.iterdir())
    keys = same_pictures(paths, [look_into(path).key for path in paths])
    same = [[a for a in range(8) if keys[a] == keys[b]] for b in range(8)]
    assert same == [[0, 1, 2]] * 3 + [[3], [4, 5], [4, 5], [6], [7]]
