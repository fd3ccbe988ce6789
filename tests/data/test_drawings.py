"""Omniglot from its own folders: the same samples as those in the package."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_drawings import write_drawings
from helpers.tiny_layouts import write_image
from torch import Tensor

from cl_suite.data.pool import Pool
from cl_suite.data.readers import drawings, omniglot
from cl_suite.data.samples import TensorSamples
from cl_suite.errors import UserError
from cl_suite.scenarios.omniglot import Omniglot

LAYOUTS = (
    "{alphabet}/{character}",
    "{alphabet}.{character}",
    "images_background/{alphabet}/{character}",
)


def inputs(pool: Pool, part: str) -> Tensor:
    samples = pool.load(getattr(pool, part))
    assert isinstance(samples, TensorSamples)
    return samples.inputs


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("image_size", [28, 105, 140])
def test_files_give_the_samples_of_the_package(
    tmp_path: Path, layout: str, image_size: int
) -> None:
    write_drawings(tmp_path, range(3), layout)
    pool, packaged = (omniglot.read(root, image_size=image_size) for root in (str(tmp_path), None))
    for part in ("train", "test"):
        assert inputs(pool, part).equal(inputs(packaged, part)[:30])
        assert getattr(pool, part).targets == [c for c in range(3) for _ in range(10)]
    assert pool.train_transform == packaged.train_transform
    assert pool.eval_transform == packaged.eval_transform
    assert pool.from_picture == packaged.from_picture
    assert not pool.mirror_symmetric
    if layout != LAYOUTS[1]:
        assert pool.class_names == packaged.class_names[:3]


def test_both_of_omniglots_parts_are_read_and_no_other(tmp_path: Path) -> None:
    write_drawings(tmp_path / "images_background", range(2))
    write_drawings(tmp_path / "images_evaluation", range(100, 101))
    write_drawings(tmp_path / "images_background_small1", range(2))
    names = omniglot.read().class_names
    found = omniglot.read(str(tmp_path)).class_names
    assert found == tuple(sorted((names[0], names[1], names[100])))


@pytest.mark.parametrize(("image_size", "kept"), [(20, 20), (105, 105), (224, 105)])
def test_drawings_are_not_kept_larger_than_they_were_made(image_size: int, kept: int) -> None:
    pool = omniglot.read(image_size=image_size)
    sample, _ = pool.train[0]
    assert sample.shape == (1, kept, kept)
    for transform in (pool.train_transform, pool.eval_transform):
        assert transform(sample).shape == (1, image_size, image_size)


def test_a_drawing_used_again_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = omniglot.read(str(write_drawings(tmp_path, range(2))))
    opened: Counter[Any] = Counter()
    really = drawings.read_image
    monkeypatch.setattr(drawings, "read_image", lambda p: (opened.update([p]), really(p))[1])
    first = inputs(pool, "train")
    assert torch.equal(first, inputs(pool, "train"))
    assert set(opened.values()) == {1}
    assert len(opened) == 20


def test_only_used_drawings_are_decoded(tmp_path: Path) -> None:
    write_drawings(tmp_path, range(2))
    broken = sorted(tmp_path.glob("*/*/*_03.png"))[0]
    broken.write_bytes(b"no picture")
    pool = omniglot.read(str(tmp_path))
    assert inputs(pool, "test").shape == (20, 1, 28, 28)
    with pytest.raises(UserError, match=f"image '{broken}' cannot be read"):
        inputs(pool, "train")


def test_pictures_of_any_shape_become_ink_on_a_square(tmp_path: Path) -> None:
    for number in range(11):
        write_image(tmp_path / "Greek" / "character01" / f"{number:02d}.png", size=(30, 20))
    assert inputs(omniglot.read(str(tmp_path)), "train").shape == (10, 1, 28, 28)


def test_a_character_with_too_few_drawings_is_named(tmp_path: Path) -> None:
    write_drawings(tmp_path, range(1))
    for path in sorted(tmp_path.glob("*/*/*.png"))[10:]:
        path.unlink()
    with pytest.raises(UserError, match="has 10 drawings; the first 10 are for training, others"):
        omniglot.read(str(tmp_path))


def test_a_character_in_both_parts_is_refused(tmp_path: Path) -> None:
    for part in ("images_background", "images_evaluation"):
        write_drawings(tmp_path / part, range(1))
    with pytest.raises(UserError, match="is in images_background/ and in images_evaluation/ of"):
        omniglot.read(str(tmp_path))


def test_a_root_without_drawings_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no drawings; Omniglot is read from its"):
        omniglot.read(str(tmp_path))
    for root in ("", str(tmp_path / "nowhere")):
        with pytest.raises(UserError, match=f"root '{root}' is not a folder; Omniglot is read"):
            omniglot.read(root)


def test_the_background_part_comes_first(tmp_path: Path) -> None:
    write_drawings(tmp_path / "images_background", range(50, 56))
    write_drawings(tmp_path / "images_evaluation", range(4))
    names = omniglot.read(str(tmp_path)).class_names
    order = omniglot.order(str(tmp_path), names)
    assert sorted(order) == list(range(10))
    background = {names.index(omniglot.read().class_names[i]) for i in range(50, 56)}
    assert set(order[:6]) == background
    assert order != sorted(order)  # each part is drawn


def test_without_parts_all_characters_are_drawn_alike(tmp_path: Path) -> None:
    write_drawings(tmp_path, range(6))
    names = omniglot.read().class_names[:6]
    assert omniglot.order(str(tmp_path), names) == omniglot.order(None, names)
    stream = Omniglot(root=str(tmp_path), base_classes=4, way=2).build()
    assert [len(c) for c in stream.info.session_classes] == [4, 2]
    assert stream.info.class_names == names
