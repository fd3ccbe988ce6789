from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"source": "cifar10"}, "source must be one of omniglot, cifar100, .*, got 'cifar10'"),
        ({"source": "cifar100"}, "source 'cifar100' needs a root; pass the folder of the data set"),
        ({"source": "cub200", "root": "nowhere"}, "root 'nowhere' is not a folder"),
        ({"class_order": "1992"}, "class_order must be one of natural, 1993, seeded, got '1992'"),
        ({"way": 0}, "way must be at least 1, got 0"),
        ({"base_classes": 243}, "base_classes is 243, but there are 242 classes"),
    ],
)
def test_a_bad_parameter_is_refused(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ClassIncremental(**parameters).build()
