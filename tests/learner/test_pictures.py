"""Pictures come as files, folders, globs, images, arrays and tensors, whatever they hold."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.learners import pictures, tiny_learner
from PIL import Image

from cl_suite.data.transforms import Identity
from cl_suite.errors import UserError
from cl_suite.learner.pictures import Picture, Skipped, read, sources

COLOUR = pictures(1, of=3)[0]


def pixels(images: Any) -> list[torch.Tensor]:
    found = [one for part in read(sources(images), Identity(), strict=True) for one in part]
    return [one.prepared for one in found if isinstance(one, Picture)]


def as_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    "given",
    [
        COLOUR,
        COLOUR[None],
        Image.fromarray(COLOUR),
        torch.from_numpy(COLOUR).permute(2, 0, 1),
        torch.from_numpy(COLOUR).permute(2, 0, 1)[None],
        torch.from_numpy(COLOUR).permute(2, 0, 1) / 255,
        [COLOUR],
        (each for each in [Image.fromarray(COLOUR)]),
    ],
    ids=["array", "batch", "PIL", "tensor", "tensors", "floats", "list", "generator"],
)
def test_every_form_of_a_picture_is_the_same_picture(given: Any) -> None:
    (found,) = pixels(given)
    assert np.array_equal(as_array(found), COLOUR)


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("a.png", "b.PNG", "inner/c.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(COLOUR).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    assert [Path(s.name).name for s in sources(tmp_path)] == ["a.png", "b.PNG", "c.bmp"]
    assert len(sources(str(tmp_path / "*.png"))) == 1
    assert len(sources(str(tmp_path / "**" / "*.[pb][nm][gp]"))) == 2
    assert len(sources([tmp_path / "a.png", str(tmp_path / "b.PNG"), COLOUR])) == 3
    assert sources([tmp_path / "a.png", COLOUR])[1].name == "picture 2"
    content = (tmp_path / "a.png").read_bytes()
    by_path, by_bytes = sources(tmp_path / "a.png")[0].read(), sources(content)[0].read()
    assert by_path[0] == by_bytes[0]
    assert torch.equal(by_path[1], by_bytes[1])


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    path = tmp_path / "a[1].png"
    Image.fromarray(COLOUR).save(path)
    assert [source.name for source in sources(str(path))] == [str(path)]


def test_orientation_tags_are_respected(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR[:12])
    exif = Image.Exif()
    exif[274] = 6  # shown rotated by a quarter turn
    image.save(tmp_path / "turned.png", exif=exif)
    (found,) = pixels(tmp_path / "turned.png")
    assert np.array_equal(as_array(found), np.rot90(COLOUR[:12], -1))
    image.info["exif"] = exif.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_mode_comes_in(mode: str) -> None:
    grey = Image.fromarray(COLOUR).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = Image.fromarray(COLOUR).convert(mode)
    (found,) = pixels(image)
    assert found.shape == (3, 20, 20)
    if mode in ("L", "LA", "I;16"):
        assert np.array_equal(found[0].numpy(), np.asarray(grey))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "no pictures were given"),
        ("nowhere.png", "'nowhere.png' does not exist"),
        ("nowhere/*.png", "no file matches 'nowhere/\\*.png'"),
        (3, "a int is no picture"),
        ({"a": 1}, "a dict is no picture"),
        (np.zeros((4, 4)), "type float64 is no picture"),
        (torch.zeros(2, 4, 4), "shape \\(2, 4, 4\\) is no picture"),
        (torch.full((3, 4, 4), 2.0), "must lie in \\[0, 1\\]"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "type torch.int64"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        pixels(given)


def test_an_empty_folder_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no pictures"):
        sources(tmp_path)


def damaged_folder(root: Path) -> Path:
    good = BytesIO()
    Image.fromarray(COLOUR).resize((64, 64)).save(good, "JPEG")
    (root / "good.jpg").write_bytes(good.getvalue())
    (root / "cut.jpg").write_bytes(good.getvalue()[:-200])
    (root / "empty.png").write_bytes(b"")
    (root / "text.png").write_text("hello")
    return root


def test_damaged_files_are_named_and_skipped(tmp_path: Path) -> None:
    folder = damaged_folder(tmp_path)
    found = [one for part in read(sources(folder), Identity()) for one in part]
    assert [Path(one.name).name for one in found if isinstance(one, Picture)] == ["good.jpg"]
    for one in found:
        if isinstance(one, Skipped):
            assert one.name in one.reason
            assert "BytesIO" not in one.reason
    learner = tiny_learner()
    learned = learner.learn(folder, "mixed")
    assert (learned.added, len(learned.skipped)) == (1, 3)
    answers = learner.predict(folder)
    assert [answer.error is None for answer in answers] == [False, False, True, False]


def test_strict_refuses_them_and_changes_nothing(tmp_path: Path) -> None:
    folder, learner = damaged_folder(tmp_path), tiny_learner()
    with pytest.raises(UserError, match=r"cut.jpg' cannot be read"):
        learner.learn(folder, "mixed", strict=True)
    with pytest.raises(UserError, match=r"no picture could be used: .*empty.png"):
        learner.learn(folder / "empty.png", "mixed")
    assert learner.labels == ()
