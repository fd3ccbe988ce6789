from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_layouts import write_image

from cl_suite.avalanche import benchmark
from cl_suite.data.samples import UNLABELLED, Samples, TensorSamples
from cl_suite.data.stream import Stream
from cl_suite.errors import UserError
from cl_suite.scenarios.data_incremental import DataIncremental, deal, withheld


def contents(sets: tuple[Samples, ...]) -> list[bytes]:
    """Return what identifies each image, labels aside."""
    found = []
    for samples in sets:
        assert isinstance(samples, TensorSamples)
        found += [image.numpy().tobytes() for image in samples.inputs]
    return found


def build(**parameters: Any) -> Stream:
    return DataIncremental(**parameters).build()


def test_every_session_has_an_equal_part_of_every_class() -> None:
    stream = build(num_sessions=5)
    assert stream.info.kind == "data"
    assert stream.info.session_classes == 5 * (tuple(range(242)),)
    for samples in (*stream.train, *stream.test):
        assert Counter(samples.targets) == dict.fromkeys(range(242), 2)


def test_sessions_and_parts_differ_by_one_image_where_it_does_not_come_out_even() -> None:
    stream = build(num_sessions=3)
    for samples in (*stream.train, *stream.test):
        assert set(Counter(samples.targets).values()) <= {3, 4}
        assert len(samples) in (806, 807)


def test_each_image_comes_in_exactly_one_session() -> None:
    stream, whole = build(num_sessions=4), build(num_sessions=1)
    assert sorted(contents(stream.train)) == sorted(contents(whole.train))
    assert sorted(contents(stream.test)) == sorted(contents(whole.test))


def test_dealing_follows_its_seed() -> None:
    first, again, other = build(), build(), build(seed=1)
    assert first.info.fingerprint == again.info.fingerprint
    assert first.info.fingerprint != other.info.fingerprint


def test_dealing_goes_on_where_the_class_before_ended() -> None:
    sessions = deal({0: [0, 1, 2], 1: [3, 4, 5], 2: [6]}, 2, 0)
    assert [len(rows) for rows in sessions] == [4, 3]
    assert [sum(row in (3, 4, 5) for row in rows) for rows in sessions] == [1, 2]
    assert sorted(sessions[0] + sessions[1]) == list(range(7))


def test_a_classes_draw_is_free_of_the_other_classes() -> None:
    alone, beside = deal({4: [5, 6, 7]}, 3, 0), deal({0: [0, 1, 2], 4: [5, 6, 7]}, 3, 0)
    assert [rows[0] for rows in alone] == [rows[1] for rows in beside]


def test_classes_are_dealt_by_draws_of_their_own() -> None:
    sessions = deal({0: range(9), 1: range(9, 18)}, 9, 0)
    assert [rows[1] - 9 for rows in sessions] != [rows[0] for rows in sessions]


def test_half_of_the_labels_are_withheld_and_said() -> None:
    stream = build(num_sessions=2, unlabelled_fraction=0.5)
    for train, test in zip(stream.train, stream.test, strict=True):
        assert train.targets.count(UNLABELLED) == len(train) // 2
        assert set(train.targets) == {UNLABELLED, *range(242)}
        assert set(test.targets) == set(range(242))
    assert stream.info.notes == ("withheld the labels of 1210 of 2420 training images",)


def test_withholding_labels_moves_no_image() -> None:
    part, whole = build(unlabelled_fraction=0.3), build()
    assert contents(part.train) == contents(whole.train)
    changed = zip(part.train[0].targets, whole.train[0].targets, strict=True)
    assert all(target in (UNLABELLED, label) for target, label in changed)


def test_a_small_share_is_not_lost_in_small_classes() -> None:
    # two images a class in each session: a tenth of two is none
    stream = build(unlabelled_fraction=0.1)
    assert [train.targets.count(UNLABELLED) for train in stream.train] == 5 * [48]


def test_every_class_keeps_a_label_a_session() -> None:
    stream = build(num_sessions=5, unlabelled_fraction=0.99)
    for train in stream.train:
        counts = Counter(train.targets)
        assert counts.pop(UNLABELLED) == 242
        assert counts == dict.fromkeys(range(242), 1)


def test_labels_withheld_by_hand() -> None:
    # classes of 4 and 2: half of 4 is 2, half of all 6 is 3
    assert withheld([9, 8, 7, 6, 1, 0], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0], 0.5) == [7, 6, 0]
    assert withheld([0, 1], [3, 4], 0.9) == []
    assert withheld([0, 1, 2], [3, 3, 3], 0.0) == []


def test_the_benchmark_brings_every_class_again() -> None:
    experiences = benchmark(build(num_sessions=2)).train_stream
    assert [e.classes_in_this_experience for e in experiences] == 2 * [set(range(242))]


def test_files_can_be_dealt(mini_root: Path, cub_root: Path) -> None:
    mini = build(source="mini_imagenet", root=str(mini_root), num_sessions=2)
    assert [len(test) for test in mini.test] == [100, 100]
    birds = build(
        source="cub200", root=str(cub_root), num_sessions=2, unlabelled_fraction=0.4, seed=3
    )
    assert birds.train[0].targets.count(UNLABELLED) > 0


def test_own_pictures_can_be_dealt(picture_folder: Path) -> None:
    stream = build(source="image_folder", root=str(picture_folder), num_sessions=3)
    assert [len(test) for test in stream.test] == 3 * [7]
    assert [len(train) for train in stream.train] == [17, 16, 16]


def test_a_larger_share_of_own_pictures_can_be_for_testing(picture_folder: Path) -> None:
    folder = {"source": "image_folder", "root": str(picture_folder), "image_size": 16}
    stream = build(**folder, num_sessions=5, test_fraction=0.5)
    assert [len(samples) for samples in (*stream.train, *stream.test)] == 10 * [7]
    assert stream.info.input_shape == (3, 16, 16)


@pytest.mark.parametrize("unlabelled_fraction", [0.0, 0.5])
def test_a_session_can_be_tested_on_what_it_showed(
    picture_folder: Path, unlabelled_fraction: float
) -> None:
    stream = build(
        source="image_folder",
        root=str(picture_folder),
        num_sessions=5,
        test_fraction=0,
        unlabelled_fraction=unlabelled_fraction,
    )
    for train, test in zip(stream.train, stream.test, strict=True):
        assert contents((train,)) == contents((test,))
        assert UNLABELLED not in test.targets


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"source": "omniglots"}, "source must be one of omniglot, .*, got 'omniglots'"),
        ({"source": "cifar100"}, "source 'cifar100' needs a root; pass the folder of the data set"),
        ({"num_sessions": 0}, "num_sessions must be at least 1, got 0"),
        (
            {"num_sessions": 11},
            "has too few training images, 10 for 11 sessions; choose fewer sessions or add images",
        ),
        ({"unlabelled_fraction": 1.0}, r"unlabelled_fraction must be in \[0, 1\), got 1.0"),
        (
            {"unlabelled_fraction": float("nan")},
            "unlabelled_fraction must be a finite number, got nan",
        ),
    ],
)
def test_a_bad_parameter_is_refused(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(**parameters)


def test_too_few_test_images_are_named(picture_folder: Path) -> None:
    for index in range(4):
        write_image(picture_folder / "rare" / f"{index}.png", index)
    with pytest.raises(UserError, match="class 'rare' has too few test images, 1 for 2 sessions"):
        build(source="image_folder", root=str(picture_folder), num_sessions=2)
