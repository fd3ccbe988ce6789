from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_cifar import write_binary
from helpers.tiny_drawings import write_drawings
from helpers.tiny_layouts import write_image

from cl_suite.errors import UserError
from cl_suite.scenarios.class_incremental import ClassIncremental


def test_default_cuts_omniglot_into_equal_sessions_and_a_rest() -> None:
    stream = ClassIncremental().build()
    assert [len(c) for c in stream.info.session_classes] == 24 * [10] + [2]
    assert stream.info.notes == (
        "the last session has 2 instead of 10 classes: way does not divide them",
    )


def test_every_session_has_all_training_images() -> None:
    stream = ClassIncremental(way=22).build()
    assert [len(s) for s in stream.train] == 11 * [220]
    assert [len(s) for s in stream.test] == 11 * [220]
    assert (stream.info.way, stream.info.shots, stream.info.notes) == (22, None, ())


def test_half_of_the_classes_may_come_first() -> None:
    info = ClassIncremental(base_classes=122, way=20).build().info
    assert [len(c) for c in info.session_classes] == [122] + 6 * [20]


def test_customary_order_is_the_default(cub_root: Path) -> None:
    info = ClassIncremental(source="cub200", root=str(cub_root), way=50).build().info
    natural = ClassIncremental(
        source="cub200", root=str(cub_root), way=50, class_order="natural"
    ).build()
    assert natural.info.seen_classes(3) == tuple(range(200))
    assert info.seen_classes(3) != tuple(range(200))
    assert sorted(info.seen_classes(3)) == list(range(200))


def test_hundred_classes_come_as_published(mini_root: Path) -> None:
    scenario = ClassIncremental(source="mini_imagenet", root=str(mini_root), base_classes=50)
    info = scenario.build().info
    assert info.session_classes[0][:10] == (68, 56, 78, 8, 23, 84, 90, 65, 74, 76)
    assert [len(c) for c in info.session_classes] == [50] + 5 * [10]


def test_seeded_order_follows_its_seed() -> None:
    def order(seed: int) -> tuple[tuple[int, ...], ...]:
        scenario = ClassIncremental(class_order="seeded", way=22, seed=seed)
        return scenario.build().info.session_classes

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_own_pictures_can_be_cut(picture_folder: Path) -> None:
    scenario = ClassIncremental(source="image_folder", root=str(picture_folder), way=3)
    assert [len(c) for c in scenario.build().info.session_classes] == [3, 3, 1]


def test_own_pictures_may_be_small_and_divided_by_hand(tmp_path: Path) -> None:
    for part, num in (("learn", 4), ("exam", 2)):
        for class_id in range(4):
            for index in range(num):
                colour = 60 * class_id + 10 * index + (part == "exam")
                write_image(tmp_path / part / f"kind{class_id}" / f"{index}.png", colour)
    stream = ClassIncremental(
        source="image_folder",
        root=str(tmp_path / "learn"),
        test_root=str(tmp_path / "exam"),
        image_size=16,
        way=2,
    ).build()
    assert [len(samples) for samples in (*stream.train, *stream.test)] == [8, 8, 4, 4]
    assert stream.train[0][0][0].shape == (3, 8, 8)
    assert stream.info.input_shape == (3, 16, 16)


def test_own_pictures_can_be_tested_as_they_were_learned(picture_folder: Path) -> None:
    scenario = ClassIncremental(
        source="image_folder", root=str(picture_folder), way=3, test_fraction=0
    )
    stream = scenario.build()
    for train, test in zip(stream.train, stream.test, strict=True):
        assert sorted(train.targets) == sorted(test.targets)
    assert any(note.startswith("test_fraction is 0") for note in stream.info.notes)


def test_cifar10_comes_in_its_own_test_images(tmp_path: Path) -> None:
    scenario = ClassIncremental(source="cifar10", root=str(write_binary(tmp_path)), way=2)
    stream = scenario.build()
    assert [len(samples) for samples in stream.train] == 5 * [20]
    assert [len(samples) for samples in stream.test] == 5 * [4]
    assert stream.info.input_shape == (3, 32, 32)


def test_drawings_in_a_folder_are_shown_as_the_packaged_ones(tmp_path: Path) -> None:
    write_drawings(tmp_path, range(4))
    order: dict[str, Any] = {"class_order": "natural", "way": 4}
    stream = ClassIncremental(root=str(tmp_path), **order).build()
    packaged = ClassIncremental(**order).build()
    assert stream.info.num_sessions == 1
    for part in ("train", "test"):
        own, theirs = getattr(stream, part)[0], getattr(packaged, part)[0]
        assert own.targets == theirs.targets
        assert own.inputs.equal(theirs.inputs)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"source": "cifar1"}, "source must be one of omniglot, cifar10, .*, got 'cifar1'"),
        ({"source": "cifar100"}, "source 'cifar100' needs a root; pass the folder of the data set"),
        ({"source": "cub200", "root": "nowhere"}, "root 'nowhere' is not a folder"),
        ({"class_order": "1992"}, "class_order must be one of natural, 1993, seeded, got '1992'"),
        ({"image_size": 1}, r"image_size must be in \[2, 4096\], or null, got 1"),
        ({"test_fraction": 1.0}, r"test_fraction must be in \[0, 1\), or null, got 1.0"),
        ({"test_fraction": 0.2}, "source 'omniglot' has its own test images, so test_fraction"),
        ({"way": 0}, "way must be at least 1, got 0"),
        ({"base_classes": 243}, "base_classes is 243, but there are 242 classes"),
    ],
)
def test_a_bad_parameter_is_refused(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ClassIncremental(**parameters).build()
