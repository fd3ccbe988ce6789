"""Folders of images as people have them: deep, copied, divided, linked, and oddly named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_runs import refused
from PIL import Image

from cl_suite.data.pictures import image_problem
from cl_suite.data.readers import image_folder
from cl_suite.data.samples import FileSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.cfsl import CFSL
from cl_suite.scenarios.image_folder import ImageFolder


def write_noise(path: Path, seed: int, size: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_classes(root: Path, names: list[str], num: int = 6, first_seed: int = 0) -> Path:
    for number, name in enumerate(names):
        for index in range(num):
            write_noise(root / name / f"{index}.png", first_seed + 100 * number + index)
    return root


def build(root: Path, **parameters: Any) -> Stream:
    settings: dict[str, Any] = {"base_classes": 1, "way": 1, "shots": 2, "image_size": 14}
    return ImageFolder(root=str(root), **{**settings, **parameters}).build()


def order_of(stream: Stream) -> list[str]:
    info = stream.info
    return [info.class_names[c] for c in info.seen_classes(info.num_sessions - 1)]


# deep and damaged pictures


def test_pictures_of_16_bits_give_the_samples_of_the_same_in_8_bits(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        for index in range(4):
            pixels = generator.integers(0, 256, (16, 16), dtype=np.uint8)
            deep = pixels.astype(np.uint16) * 257
            for kind, values in (("8", pixels), ("16", deep)):
                (tmp_path / kind / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(tmp_path / kind / name / f"{index}.png")
    eight, sixteen = build(tmp_path / "8"), build(tmp_path / "16")
    assert eight.info.fingerprint == sixteen.info.fingerprint
    assert sixteen.info.notes == ()
    assert sixteen.train[0][0][0].float().std() > 10


def test_12_bits_in_16_are_said_to_come_in_dark(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(4):
            values = np.random.default_rng([index, ord(name)]).integers(0, 4096, (16, 16))
            Image.fromarray(values.astype(np.uint16)).save(tmp_path / name / f"{index}.png")
    (note,) = build(tmp_path).info.notes
    assert note.startswith("8 images of more than 8 bits use at most 6.3% of their range")


def test_jpegs_damaged_in_their_middle_are_skipped_before_they_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(6):
            image = Image.open(write_noise(tmp_path / "one.png", 10 * ord(name) + index, 64))
            image.save(tmp_path / name / f"{index}.jpg", quality=90)
    (tmp_path / "one.png").unlink()
    bad = tmp_path / "a" / "3.jpg"
    content, generator = bad.read_bytes(), np.random.default_rng(0)
    while image_problem(bad) is None:  # most damage changes colours alone
        places = generator.integers(len(content) // 4, len(content) - 2, 20)
        bad.write_bytes(bytes(0xFF if i in places else byte for i, byte in enumerate(content)))
    assert bad.read_bytes()[-2:] == b"\xff\xd9"  # it ends as a whole JPEG does
    with pytest.raises(UserError, match=r"a/3\.jpg' cannot be read .*skip_unreadable=True"):
        build(tmp_path)
    assert build(tmp_path, skip_unreadable=True).info.notes == (
        "skipped 1 entry: unreadable image (a/3.jpg)",
    )


# copies


def write_copies(root: Path) -> Path:
    """Write two classes of twelve files that show four pictures each, three times."""
    for number, name in enumerate(("a", "b")):
        for index in range(12):
            write_noise(root / name / f"{index:02d}.png", 100 * number + index // 3)
    return root


@pytest.mark.parametrize("seed", range(5))
def test_no_copy_of_a_learned_picture_is_tested(tmp_path: Path, seed: int) -> None:
    pool = image_folder.read(str(write_copies(tmp_path)), seed=seed)
    assert isinstance(pool.train, FileSamples)
    assert isinstance(pool.test, FileSamples)
    learnt = {path.read_bytes() for path in pool.train.paths}
    assert not learnt & {path.read_bytes() for path in pool.test.paths}
    assert len(pool.train) + len(pool.test) == 24
    assert len(pool.test) >= 6
    assert pool.notes[0].startswith(
        "16 images are copies of others in the same class (a/00.png = a/01.png, a/00.png = a/02.png"
    )


def test_copies_can_be_dropped_or_refused(tmp_path: Path) -> None:
    write_copies(tmp_path)
    stream = build(tmp_path, duplicates="drop", shots=3)
    assert [len(s) for s in (*stream.train, *stream.test)] == [3, 3, 1, 1]
    with pytest.raises(UserError, match=r"16 images are copies .*; remove the copies"):
        build(tmp_path, duplicates="refuse")


def test_a_link_to_a_class_folder_is_noticed_and_divided_alike(tmp_path: Path) -> None:
    write_classes(tmp_path, ["a", "b"])
    (tmp_path / "c").symlink_to(tmp_path / "a")
    stream = build(tmp_path)
    same, copies = stream.info.notes
    assert same.startswith("class folders 'a' and 'c' are the same folder")
    assert copies.startswith("6 images are copies of others in another class (a/0.png = c/0.png,")
    tested = {tuple(stream.test[0][i][0].flatten().tolist()) for i in range(len(stream.test[0]))}
    learnt = {tuple(stream.train[2][i][0].flatten().tolist()) for i in range(len(stream.train[2]))}
    assert not tested & learnt
    dropped = build(tmp_path, duplicates="drop")
    assert dropped.info.class_names == ("a", "b")
    assert "skipped 1 entry: a class folder with copies alone (c)" in dropped.info.notes


def test_a_class_of_copies_of_one_picture_is_refused_with_the_remedy(tmp_path: Path) -> None:
    write_classes(tmp_path, ["a"])
    for index in range(4):
        write_noise(tmp_path / "b" / f"{index}.png", 50)
    with pytest.raises(UserError, match=r"of class 'b' are copies .*duplicates='drop'"):
        build(tmp_path)


def test_a_task_never_tests_a_copy_of_what_it_shows(tmp_path: Path) -> None:
    write_classes(tmp_path, [f"class {c:02d}" for c in range(40)], num=2)
    for folder in tmp_path.iterdir():
        shutil.copy(folder / "0.png", folder / "2.png")
    settings: dict[str, Any] = {"way": 2, "support_sets": 1, "class_change": 1, "targets": 1}
    stream = CFSL(root=str(tmp_path), image_size=14, **settings).build()
    assert "40 images are copies of others in the same class" in stream.info.notes[0]
    for shown, _ in (stream.train[0][i] for i in range(2)):
        assert all(not shown.equal(stream.test[0][i][0]) for i in range(2))


# the division


def test_without_a_test_fraction_the_learned_images_are_tested_and_it_is_said(
    tmp_path: Path,
) -> None:
    stream = build(write_classes(tmp_path, ["a", "b"], num=5), test_fraction=0, shots=5)
    assert [len(s) for s in (*stream.train, *stream.test)] == [5] * 4
    for learnt, tested in zip(stream.train, stream.test, strict=True):
        assert all(learnt[row][0].equal(tested[row][0]) for row in range(5))
    assert stream.info.notes == (
        "test_fraction is 0: accuracies are on the very images that were learned, not on new ones",
    )


def test_too_few_images_for_the_shots_are_counted_with_those_held_out(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"'b' has 5 images: 2 for testing leave 3 to learn from, too few for 5 sh"
    ):
        build(write_classes(tmp_path, ["a", "b"], num=5), shots=5)


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("train", "val"), ("Train", "Val")])
def test_a_training_and_a_test_folder_are_the_division(
    tmp_path: Path, train: str, test: str
) -> None:
    write_classes(tmp_path / train, ["a", "b"], num=4)
    write_classes(tmp_path / test, ["a", "b"], num=3, first_seed=1000)
    write_noise(tmp_path / train / "loose.png", 5)
    (tmp_path / "readme.txt").touch()
    stream = build(tmp_path, shots=4)
    assert stream.info.class_names == ("a", "b")
    assert [len(s) for s in (*stream.train, *stream.test)] == [4, 4, 3, 3]
    assert stream.info.notes == (
        f"skipped 1 entry: neither {train}/ nor {test}/ (readme.txt)",
        f"skipped 1 entry: not in a class folder ({train}/loose.png)",
        f"{train}/ (8 images) and {test}/ (6) are used as the division; test_fraction has no part "
        "in it",
    )


def test_a_validation_folder_is_left_out_beside_a_test_folder(tmp_path: Path) -> None:
    for seed, part in enumerate(("train", "val", "test")):
        write_classes(tmp_path / part, ["a", "b"], num=3, first_seed=1000 * seed)
    info = build(tmp_path).info
    assert info.notes[0] == "skipped 1 entry: neither train/ nor test/ (val)"


def test_test_images_that_are_learned_too_are_counted(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_classes(tmp_path / part, ["a", "b"], num=3)
    write_classes(tmp_path / "test", ["a"], num=4)
    note = build(tmp_path).info.notes[-1]
    assert note.startswith("6 of the test images are training images too")


def test_a_class_of_the_test_folder_alone_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ["a"])
    write_classes(tmp_path / "test", ["a", "b"])
    with pytest.raises(UserError, match=r"class 'b' is in '.*test' but not in '.*train'"):
        build(tmp_path)


def test_classes_may_be_named_train_and_test(tmp_path: Path) -> None:
    assert build(write_classes(tmp_path, ["test", "train"])).info.class_names == ("test", "train")


def test_a_folder_one_level_too_high_names_the_one_below(tmp_path: Path) -> None:
    write_classes(tmp_path / "inner", ["a", "b"])
    with pytest.raises(UserError, match=r"has no class folder .*or is '.*inner' meant\?"):
        build(tmp_path)


# names


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (["1", "6", "10"], [10, 1, 6]),
        (["no", "null", "yes"], [False, True, None]),
        (["no", "null", "yes"], ["no", "yes", "null"]),
        (["1e3", "007", "1.0"], [1.0, 7, "1e3"]),
    ],
)
def test_a_name_is_text_even_if_yaml_reads_a_number(
    tmp_path: Path, names: list[str], given: list[Any]
) -> None:
    write_classes(tmp_path, names)
    order = order_of(build(tmp_path, class_order=given))
    assert sorted(order) == sorted(names)
    assert [name for name in order if name in given] == [g for g in given if g in names]


def test_numbers_give_the_order_that_was_asked(tmp_path: Path) -> None:
    write_classes(tmp_path, ["1", "6", "10"])
    assert order_of(build(tmp_path, class_order=[10, 1, 6])) == ["10", "1", "6"]


def test_a_value_that_stands_for_two_names_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, ["no", "off"])
    with pytest.raises(UserError, match="has false, which stands for each of 'no', 'off'; quote"):
        build(tmp_path, class_order=[False])


def test_the_command_line_takes_names_that_yaml_reads_as_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(tmp_path / "data", ["no", "yes", "10"])
    options = ["--scenario.root", str(tmp_path / "data"), "--scenario.base_classes", "1"]
    error = refused(
        capsys,
        *("run", "image_folder", "finetune", *options, "--out", str(tmp_path / "runs")),
        *("--scenario.class_order", "[no, 10, maybe]"),
    )
    assert "class_order names 'maybe', which is not a folder" in error


def test_numbered_folders_come_as_text_and_it_is_said_or_by_number(tmp_path: Path) -> None:
    write_classes(tmp_path, [str(number) for number in range(12)])
    stream = build(tmp_path)
    assert order_of(stream)[:4] == ["0", "1", "10", "11"]
    (note,) = stream.info.notes
    assert note.startswith("classes come in the order of text (0, 1, 10, 11, 2, 3, ...), not of")
    natural = build(tmp_path, class_order="natural")
    assert order_of(natural) == [str(number) for number in range(12)]
    assert natural.info.notes == ()


def test_names_without_numbers_get_no_note_of_their_order(tmp_path: Path) -> None:
    assert build(write_classes(tmp_path, ["a-b", "a1", "b"])).info.notes == ()


def test_the_samples_of_data_without_copies_are_those_of_earlier_versions(tmp_path: Path) -> None:
    write_classes(tmp_path, ["a", "b"], num=10)
    pool = image_folder.read(str(tmp_path), seed=3)
    assert isinstance(pool.train, FileSamples)
    order = np.random.default_rng([3, 0]).permutation(10)
    names = [path.stem for path in pool.train.paths if path.parent.name == "a"]
    assert names == [str(i) for i in order[3:]]
    assert torch.is_tensor(pool.train[0][0])
