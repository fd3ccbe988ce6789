from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cl_suite.data.readers import image_folder, squares
from cl_suite.data.samples import FileSamples, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.image_folder import ImageFolder


def build(root: Path, **parameters: Any) -> Stream:
    settings: dict[str, Any] = {"base_classes": 3, "way": 2, "shots": 3, "image_size": 14}
    return ImageFolder(root=str(root), **{**settings, **parameters}).build()


def test_sessions_and_test_images_are_as_asked(picture_folder: Path) -> None:
    stream = build(picture_folder)
    assert [len(s) for s in stream.train] == [21, 6, 6]
    assert [len(s) for s in stream.test] == [9, 6, 6]
    assert stream.info.class_names == tuple(f"kind{i}" for i in range(7))
    assert (stream.info.way, stream.info.shots, stream.info.notes) == (2, 3, ())


def test_the_same_seed_gives_the_same_stream(picture_folder: Path) -> None:
    assert build(picture_folder).info.fingerprint == build(picture_folder).info.fingerprint


def test_another_seed_divides_the_images_otherwise(picture_folder: Path) -> None:
    first, second = build(picture_folder, seed=0), build(picture_folder, seed=1)
    assert first.info.session_classes == second.info.session_classes
    assert first.info.fingerprint != second.info.fingerprint


def test_no_image_is_both_learned_and_tested(picture_folder: Path) -> None:
    pool = image_folder.read(str(picture_folder))
    assert isinstance(pool.train, FileSamples)
    assert isinstance(pool.test, FileSamples)
    assert not set(pool.train.paths) & set(pool.test.paths)
    assert len(pool.train) + len(pool.test) == 70


def test_sessions_own_their_data_alone(picture_folder: Path) -> None:
    stream = build(picture_folder)
    for samples in (*stream.train, *stream.test):
        assert isinstance(samples, TensorSamples)
        assert samples.inputs.untyped_storage().nbytes() == len(samples) * 3 * 16 * 16


def test_files_and_kept_squares_give_the_model_the_same(
    picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = build(picture_folder)
    monkeypatch.setattr(squares, "MEMORY_LIMIT_BYTES", 0)
    files = build(picture_folder)
    assert isinstance(files.test[0], FileSamples)
    transform = kept.info.eval_transform
    for index in range(len(kept.test[0])):
        assert torch.equal(transform(kept.test[0][index][0]), transform(files.test[0][index][0]))
    assert kept.info.preprocessing == files.info.preprocessing


def test_classes_may_come_in_random_order(picture_folder: Path) -> None:
    info = build(picture_folder, class_order="random", seed=1).info
    assert sorted(info.seen_classes(2)) == list(range(7))
    assert info.seen_classes(2) != tuple(range(7))


def test_a_list_gives_the_order_and_leaves_others_out(picture_folder: Path) -> None:
    order = ["kind6", "kind1", "kind4", "kind2"]
    info = build(picture_folder, class_order=order, base_classes=2).info
    assert [info.class_names[c] for c in info.seen_classes(1)] == order
    assert info.notes == ("skipped 3 entries: not in class_order (kind0, kind3, kind5)",)


def test_a_remainder_is_kept_and_said(picture_folder: Path) -> None:
    info = build(picture_folder, base_classes=4).info
    assert [len(c) for c in info.session_classes] == [4, 2, 1]
    assert "the last session has 1 instead of 2 classes" in info.notes[0]


def test_skipped_files_are_said_with_the_reason(picture_folder: Path) -> None:
    (picture_folder / "kind0" / "readme.txt").write_text("no image")
    (picture_folder / "loose.jpg").write_bytes(b"")
    (picture_folder / "kind1" / "inner").mkdir()
    (picture_folder / "empty").mkdir()
    (picture_folder / ".cache").mkdir()
    notes = "\n".join(build(picture_folder).info.notes)
    assert "1 entry: no image ending (.bmp .gif" in notes
    assert "(kind0/readme.txt)" in notes
    assert "skipped 1 entry: not in a class folder (loose.jpg)" in notes
    assert "skipped 1 entry: a folder within a class folder (kind1/inner)" in notes
    assert "skipped 1 entry: a class folder without images (empty)" in notes
    assert "skipped 1 entry: hidden folder (.cache)" in notes


def test_many_skipped_files_are_abbreviated(picture_folder: Path) -> None:
    for index in range(20):
        (picture_folder / "kind0" / f"{index:02d}.txt").touch()
    (note,) = build(picture_folder).info.notes
    assert note.startswith("skipped 20 entries: ")
    assert note.endswith("(kind0/00.txt, kind0/01.txt, kind0/02.txt, ...)")


def test_endings_count_in_any_case(picture_folder: Path) -> None:
    (picture_folder / "kind0" / "0.png").rename(picture_folder / "kind0" / "0.PNG")
    assert build(picture_folder).info.notes == ()


def test_links_are_followed_but_not_in_a_circle_or_to_nowhere(
    picture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for index in range(10):
        Image.new("RGB", (9, 9), (200, 0, index)).save(outside / f"{index}.png")
    (picture_folder / "linked").symlink_to(outside)
    (picture_folder / "above").symlink_to(picture_folder)
    (picture_folder / "ring").symlink_to(picture_folder / "ring")
    (picture_folder / "kind0" / "gone.png").symlink_to(outside / "missing.png")
    stream = build(picture_folder)
    assert stream.info.class_names[-1] == "linked"
    assert stream.train[3].targets.count(7) == 3
    assert stream.info.notes[:2] == (
        "skipped 1 entry: a link to a folder above it (above)",
        "skipped 2 entries: a link that leads nowhere (kind0/gone.png, ring)",
    )


def test_a_folder_of_links_alone_is_a_folder_of_classes(
    picture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    links = tmp_path_factory.mktemp("links")
    for name in ("kind1", "kind4"):
        (links / name).symlink_to(picture_folder / name)
    info = build(links, base_classes=1, way=1).info
    assert (info.class_names, info.notes) == (("kind1", "kind4"), ())


def test_an_unreadable_image_is_named(picture_folder: Path) -> None:
    bad = picture_folder / "kind3" / "4.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(UserError, match=r"kind3/4.png' cannot be read .*skip_unreadable=True"):
        build(picture_folder)


def test_unreadable_images_can_be_skipped_and_are_said(picture_folder: Path) -> None:
    (picture_folder / "kind3" / "4.png").write_bytes(b"no picture")
    stream = build(picture_folder, skip_unreadable=True)
    assert stream.info.notes == ("skipped 1 entry: unreadable image (kind3/4.png)",)
    assert Counter(stream.train[1].targets)[3] == 3


def test_transforms_give_the_asked_size(picture_folder: Path) -> None:
    stream = build(picture_folder)
    image = stream.train[0][0][0]
    assert stream.info.input_shape == (3, 14, 14)
    assert stream.info.train_transform(image).shape == (3, 14, 14)
    plain = build(picture_folder, augment=False).info
    assert plain.train_transform == plain.eval_transform


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"base_classes": 8}, "base_classes is 8, but there are 7 classes; choose fewer"),
        ({"shots": 8}, "'kind3' has 10 images: 3 for testing leave 7 to learn from, too few for 8"),
        ({"way": 0}, "way must be at least 1, got 0"),
        ({"test_fraction": -0.1}, r"test_fraction must be in \[0, 1\), got -0.1"),
        ({"test_fraction": 1.0}, r"test_fraction must be in \[0, 1\), got 1.0"),
        ({"seed": -1}, r"seed must be in \[0, 4294967295\], got -1"),
        ({"image_size": 100_000}, r"image_size must be in \[2, 4096\], got 100000"),
        ({"image_size": 0}, r"image_size must be in \[2, 4096\], got 0"),
        ({"class_order": "names"}, "class_order must be one of name, natural, random, got 'names'"),
        (
            {"class_order": ["kid1"]},
            "'kid1', which is not a folder with images; did you mean 'kind1'",
        ),
        ({"class_order": ["kind1", "kind1"]}, "class_order names 'kind1' twice"),
    ],
)
def test_a_bad_parameter_is_refused(
    picture_folder: Path, parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        build(picture_folder, **parameters)


def test_a_class_of_one_image_is_refused(picture_folder: Path) -> None:
    (picture_folder / "lone").mkdir()
    Image.new("RGB", (9, 9)).save(picture_folder / "lone" / "only.png")
    with pytest.raises(UserError, match="'lone' has 1 usable image; a class needs at least two"):
        build(picture_folder)


def test_a_missing_folder_says_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere' is not a folder; it must hold one folder of"):
        build(tmp_path / "nowhere")


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "loose.png")
    with pytest.raises(UserError, match="has no class folder with images"):
        build(tmp_path)


def test_an_empty_root_is_not_the_current_folder() -> None:
    with pytest.raises(UserError, match="root '' is not a folder"):
        ImageFolder(root="", base_classes=1).build()


def test_two_images_leave_one_to_learn_and_one_to_test(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.new("RGB", (9, 9), (index, 0, 0)).save(tmp_path / name / f"{index}.png")
    stream = build(tmp_path, base_classes=1, way=1, shots=1, test_fraction=0.9)
    assert [len(s) for s in (*stream.train, *stream.test)] == [1, 1, 1, 1]
