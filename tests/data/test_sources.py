"""Data sets by name: the input size, the test images, and choices that a data set does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_drawings import write_drawings
from helpers.tiny_layouts import write_image, write_mini_imagenet

from cl_suite.data.readers import image_folder
from cl_suite.data.samples import FileSamples
from cl_suite.data.sources import read_source
from cl_suite.errors import UserError


def write_classes(root: Path, num: int, first: int = 0, classes: int = 3) -> Path:
    """Write classes of pictures of one size, each of a colour of its own."""
    for class_id in range(classes):
        for index in range(num):
            write_image(root / f"kind{class_id}" / f"{index}.png", first + 40 * class_id + index)
    return root


def files(samples: Any) -> list[Path]:
    assert isinstance(samples, FileSamples)
    return samples.paths


@pytest.fixture
def two_folders(tmp_path: Path) -> dict[str, Any]:
    """A training and a test folder, four and two pictures of three classes."""
    return {
        "root": str(write_classes(tmp_path / "learn", 4)),
        "test_root": str(write_classes(tmp_path / "exam", 2, first=130)),
    }


def test_a_test_folder_has_the_test_images_and_the_root_the_others(
    two_folders: dict[str, Any],
) -> None:
    pool = read_source("image_folder", **two_folders)
    for part, folder, num in (("train", "root", 4), ("test", "test_root", 2)):
        samples = getattr(pool, part)
        assert sorted(samples.targets) == [c for c in range(3) for _ in range(num)]
        assert {path.parents[1] for path in files(samples)} == {Path(two_folders[folder])}
        assert samples.digest(0).startswith(b"kind0/")  # moved folders keep their digests
    assert pool.notes == ()


def test_notes_on_a_test_folder_name_it(two_folders: dict[str, Any]) -> None:
    (Path(two_folders["test_root"]) / "kind0" / "notes.txt").touch()
    write_image(Path(two_folders["test_root"]) / "kind1" / "copy.png", 40)  # kind1/0.png
    notes = read_source("image_folder", **two_folders).notes
    assert f"({two_folders['test_root']}/kind0/notes.txt)" in notes[0]
    assert f"(kind1/0.png = {two_folders['test_root']}/kind1/copy.png)" in notes[1]
    assert notes[2].startswith("1 of the test images are training images too")
    dropped = read_source("image_folder", **two_folders, duplicates="drop")
    assert len(dropped.test) == 6


def test_a_class_must_be_in_both_folders(two_folders: dict[str, Any]) -> None:
    write_image(Path(two_folders["test_root"]) / "more" / "0.png", 200)
    with pytest.raises(
        UserError, match=r"class 'more' is in '.*exam' but not in '.*learn'; add im"
    ):
        read_source("image_folder", **two_folders)


def test_a_test_folder_that_is_none_is_named(two_folders: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "vacant").mkdir()
    for name, sentence in (("nowhere", "is not a folder"), ("vacant", "has no class folder with")):
        test_root = str(tmp_path / name)
        with pytest.raises(UserError, match=f"test_root '{test_root}' {sentence}"):
            read_source("image_folder", two_folders["root"], test_root=test_root)


def test_a_fraction_of_each_class_is_for_testing(tmp_path: Path) -> None:
    root = str(write_classes(tmp_path, 10))
    for fraction, num in ((None, 3), (0.5, 5), (0.1, 1)):
        assert len(read_source("image_folder", root, test_fraction=fraction).test) == 3 * num


def test_no_fraction_tests_on_what_was_learned_and_says_so(tmp_path: Path) -> None:
    pool = read_source("image_folder", str(write_classes(tmp_path, 3)), test_fraction=0)
    assert pool.test is pool.train
    assert image_folder.SAME_IMAGES in pool.notes


def test_every_source_has_its_own_size_and_takes_another(tmp_path: Path) -> None:
    mini = str(write_mini_imagenet(tmp_path / "mini"))
    folder = str(write_classes(tmp_path / "own", 4))
    for source, root, own in (
        ("mini_imagenet", mini, 84),
        ("image_folder", folder, 84),
        ("omniglot", None, 28),
    ):
        for image_size, side in ((None, own), (20, 20)):
            pool = read_source(source, root, image_size=image_size)  # type: ignore[arg-type]
            sample, _ = pool.load(pool.train.select([0]))[0]
            torch.manual_seed(0)
            assert pool.train_transform(sample).shape[1:] == (side, side)
            assert pool.eval_transform(sample).shape[1:] == (side, side)


def test_omniglot_may_have_a_root(tmp_path: Path) -> None:
    pool = read_source("omniglot", str(write_drawings(tmp_path, range(2))))
    assert (len(pool.train), len(pool.test)) == (20, 20)
    assert read_source("omniglot", str(tmp_path), mirror_symmetric=True).mirror_symmetric


@pytest.mark.parametrize("source", ["omniglot", "cifar10", "cifar100", "mini_imagenet", "cub200"])
@pytest.mark.parametrize("choice", [{"test_fraction": 0.2}, {"test_root": "exam"}])
def test_what_a_source_has_of_its_own_cannot_be_chosen(source: Any, choice: dict[str, Any]) -> None:
    ((name, value),) = choice.items()
    sentence = rf"source '{source}' has its own test images, so {name} \({value}\) cannot be used"
    with pytest.raises(UserError, match=sentence):
        read_source(source, "nowhere", **choice)


def test_two_choices_of_test_images_are_one_too_many(two_folders: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"has the test images, so test_fraction 0.2 has no part"):
        read_source("image_folder", **two_folders, test_fraction=0.2)
