"""Squares of image files: no file is opened twice, and what is kept has a limit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cl_suite.data.pictures import look_into, read_image
from cl_suite.data.readers import image_folder, squares
from cl_suite.data.readers.squares import Squares
from cl_suite.data.samples import FileSamples, TensorSamples
from cl_suite.data.transforms import ResizeCenterCrop
from cl_suite.scenarios.image_folder import ImageFolder


def write_pictures(root: Path, sizes: list[tuple[int, int]], ending: str = "jpg") -> list[Path]:
    """Write pictures of two classes in turn, of these sizes (width, height)."""
    draws = np.random.default_rng(0)
    paths = []
    for row, (width, height) in enumerate(sizes):
        path = root / f"kind{row % 2}" / f"{row}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


def build(root: Path) -> Any:
    return ImageFolder(root=str(root), base_classes=2, shots=5, image_size=28).build()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often Pillow opened each file, by name."""
    found: Counter[str] = Counter()
    really = Image.open

    def count(path: Any, *args: Any, **more: Any) -> Any:
        found[Path(path).name] += 1
        return really(path, *args, **more)

    monkeypatch.setattr(Image, "open", count)
    return found


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_each_small_file_is_decoded_once(tmp_path: Path, opened: Counter[str], ending: str) -> None:
    paths = write_pictures(tmp_path, [(20, 24)] * 12, ending)
    stream = build(tmp_path)
    assert len(stream.train[0]) + len(stream.test[0]) == 12
    assert opened == {path.name: 1 for path in paths}


def test_a_picture_larger_than_its_square_is_not_kept(tmp_path: Path, opened: Counter[str]) -> None:
    small, large = write_pictures(tmp_path, [(32, 32), (33, 32)])
    kept = Squares(ResizeCenterCrop(32, 32))
    looks = list(kept.look_into([small, large]))
    assert looks[0].pixels is not None
    assert torch.equal(looks[0].pixels, read_image(small))
    assert looks[1].pixels is None
    opened.clear()
    kept(FileSamples([small, large], [0, 1], tmp_path))
    assert opened == {large.name: 1}


def test_pixels_past_the_limit_are_read_again(
    tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_pictures(tmp_path, [(20, 20)] * 6)
    unlimited = build(tmp_path)
    opened.clear()
    monkeypatch.setattr(squares, "SEEN_LIMIT_BYTES", 2 * 3 * 20 * 20)
    assert build(tmp_path).info.fingerprint == unlimited.info.fingerprint
    assert sorted(opened[path.name] for path in paths) == [1, 1, 2, 2, 2, 2]


def test_squares_of_many_at_once_are_those_of_each_alone(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, [(20, 24)] * 40 + [(24, 20), (9, 30)])
    square = ResizeCenterCrop(32, 32)
    found = Squares(square)(FileSamples(paths, [0] * len(paths), tmp_path))
    assert isinstance(found, TensorSamples)
    for row, path in enumerate(paths):
        assert torch.equal(found.inputs[row], square(read_image(path)))


def test_a_look_at_the_whole_picture_finds_copies_in_other_formats(tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, [(16, 16)], "png")
    Image.open(path).save(copy := tmp_path / "copy.bmp")
    assert look_into(path, whole=256).key == look_into(copy, whole=256).key


@pytest.mark.parametrize("augment", [True, False])
def test_small_squares_of_one_size_are_kept_as_they_are_and_shown_as_before(
    tmp_path: Path, augment: bool
) -> None:
    paths = write_pictures(tmp_path, [(16, 16)] * 12)
    pool = image_folder.read(str(tmp_path), image_size=28, augment=augment)
    kept = pool.load(pool.train)
    assert isinstance(kept, TensorSamples)
    assert kept.inputs.shape[1:] == (3, 16, 16)
    enlarged = Squares(ResizeCenterCrop(32, 32))(FileSamples(paths, [0] * 12, tmp_path))
    rows = [paths.index(path) for path in pool.train.paths]  # type: ignore[attr-defined]
    for transform in (pool.train_transform, pool.eval_transform):
        torch.manual_seed(0)
        shown = transform(kept.inputs)
        torch.manual_seed(0)
        assert torch.equal(shown, transform(enlarged.select(rows).inputs))  # type: ignore[attr-defined]


@pytest.mark.parametrize("sizes", [[(16, 16), (17, 17)], [(16, 18)] * 2, [(32, 32)] * 2])
def test_other_pictures_are_kept_as_squares_of_one_size(
    tmp_path: Path, sizes: list[tuple[int, int]]
) -> None:
    write_pictures(tmp_path, sizes * 6)
    assert build(tmp_path).train[0].inputs.shape[1:] == (3, 32, 32)


def test_a_larger_square_of_small_pictures_keeps_them_too(tmp_path: Path) -> None:
    write_pictures(tmp_path, [(16, 16)] * 12)
    pool = image_folder.read(str(tmp_path), image_size=8)
    assert pool.load(pool.train)[0][0].shape == (3, 9, 9)
    assert isinstance(pool.load, Squares)
    larger = pool.load.cut_by(ResizeCenterCrop(64, 64))
    assert larger(pool.train)[0][0].shape == (3, 16, 16)
