from __future__ import annotations

import pytest
import torch

from cl_suite.data.label_noise import LOOKED_AT, nearest, noisy_labels, others
from cl_suite.data.samples import TensorSamples, relabelled
from cl_suite.data.transforms import ToFloat

TARGETS = [0] * 40 + [1] * 40 + [2] * 20


def wrong(labels: list[int], class_id: int) -> list[int]:
    return [new for old, new in zip(TARGETS, labels, strict=True) if old == class_id != new]


def test_a_share_of_each_class_gets_labels_of_other_classes() -> None:
    labels = noisy_labels(TARGETS, 0.25, others([0, 1, 2]))
    assert [len(wrong(labels, c)) for c in range(3)] == [10, 10, 5]
    assert set(wrong(labels, 0)) == {1, 2}


def test_a_share_that_is_no_whole_number_is_met_on_average() -> None:
    found = [
        sum(label != 0 for label in noisy_labels([0] * 5 + [1] * 5, 0.1, {0: [1]}, [seed])) - 5
        for seed in range(400)
    ]
    assert set(found) == {0, 1}
    # half of 400 draws, give or take four standard deviations of 10
    assert abs(sum(found) - 200) < 40


def test_every_class_keeps_a_right_label() -> None:
    assert noisy_labels([0, 1], 0.9, others([0, 1])) == [0, 1]
    labels = noisy_labels(TARGETS, 0.99, others([0, 1, 2]))
    assert {0, 1, 2} <= {a for a, b in zip(TARGETS, labels, strict=True) if a == b}


def test_a_class_without_wrong_labels_keeps_its_own() -> None:
    assert noisy_labels([0] * 9, 0.5, others([0])) == [0] * 9
    assert noisy_labels([0] * 9, 0.5, {}) == [0] * 9


def test_a_seed_draws_the_samples_and_the_labels() -> None:
    first, again, other = (noisy_labels(TARGETS, 0.25, others([0, 1, 2]), [s]) for s in (3, 3, 4))
    assert first == again != other


def test_no_share_changes_nothing() -> None:
    assert noisy_labels(TARGETS, 0, others([0, 1, 2])) == TARGETS


# towards the nearest class


def grey(*levels: int) -> TensorSamples:
    """Return an image of one grey level for each class 10, 11, ..."""
    pixels = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    return TensorSamples(pixels, range(10, 10 + len(levels)))


def test_each_class_goes_to_the_one_with_the_nearest_mean() -> None:
    found = nearest(grey(0, 50, 60, 255), ToFloat((0.5,), (0.5,)))
    assert found == {10: [11], 11: [12], 12: [11], 13: [12]}


def test_a_lone_class_has_no_nearest() -> None:
    assert nearest(grey(7), ToFloat((0.5,), (0.5,))) == {}


def test_only_the_first_samples_of_a_class_give_its_mean() -> None:
    levels = [0] * LOOKED_AT + [255] * 200
    pixels = torch.tensor([*levels, 60, 200], dtype=torch.uint8)[:, None, None, None]
    samples = TensorSamples(pixels, [*([0] * len(levels)), 1, 2])
    assert nearest(samples, ToFloat((0.5,), (0.5,)))[0] == [1]


def test_other_labels_leave_the_samples_alone() -> None:
    samples = grey(1, 2)
    changed = relabelled(samples, [11, 11])
    assert changed.targets == [11, 11]
    assert samples.targets == [10, 11]
    assert changed[0][0].equal(samples[0][0])
    assert changed.digest(0) != samples.digest(0)
    with pytest.raises(ValueError, match="1 labels for 2 samples"):
        relabelled(samples, [11])
