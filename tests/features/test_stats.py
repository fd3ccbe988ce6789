"""Class statistics: exact means in any order of the samples."""

from __future__ import annotations

import pytest
import torch

from cl_suite.features.stats import ClassStats, Covariance, class_stats


def test_means_worked_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [5.0, 5.0], [3.0, 4.0]])
    stats = class_stats(features, torch.tensor([8, 2, 8]))
    assert stats.classes == [2, 8]
    assert stats.count.tolist() == [1, 2]
    assert stats.mean.tolist() == [[5, 5], [2, 3]]


def test_the_order_of_samples_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 5, generator=generator)
    labels = torch.randint(0, 4, (200,), generator=generator)
    order = torch.randperm(200, generator=generator)
    torch.testing.assert_close(
        class_stats(features, labels).mean,
        class_stats(features[order], labels[order]).mean,
        rtol=1e-13,  # sums of float64
        atol=1e-13,
    )


def test_a_mean_equals_torchs_own() -> None:
    features = torch.randn(50, 3, dtype=torch.float64)
    labels = torch.arange(50) % 5
    stats = class_stats(features, labels)
    for row, class_id in enumerate(stats.classes):
        torch.testing.assert_close(stats.mean[row], features[labels == class_id].mean(0))


def test_statistics_survive_their_state_dict() -> None:
    stats = class_stats(torch.randn(6, 2), torch.tensor([0, 0, 3, 3, 3, 1]))
    copy = ClassStats.from_state_dict(stats.state_dict())
    assert copy.mean.equal(stats.mean)
    assert copy.classes == stats.classes


def test_covariances_worked_by_hand() -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    labels = torch.zeros(3, dtype=torch.long)
    assert class_stats(features, labels, kind="diagonal").covariance.tolist() == [[1, 3]]
    assert class_stats(features, labels, kind="full").covariance.tolist() == [[[1, 0], [0, 3]]]
    assert class_stats(features, labels, kind="shared").covariance.tolist() == [[1, 0], [0, 3]]


@pytest.mark.parametrize("kind", ["diagonal", "shared", "full"])
def test_merged_parts_equal_the_whole_in_any_split(kind: Covariance) -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(90, 4, generator=generator)
    labels = torch.randint(0, 3, (90,), generator=generator)
    whole = class_stats(features, labels, kind=kind)
    parts = [
        class_stats(f, y, kind=kind)
        for f, y in zip(features.split(25), labels.split(25), strict=True)
    ]
    merged = parts[3].merge(parts[0]).merge(parts[2]).merge(parts[1])
    torch.testing.assert_close(merged.covariance, whole.covariance, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-10, atol=1e-10)


def test_weights_count_as_repetitions() -> None:
    features, labels = torch.tensor([[1.0], [4.0]]), torch.tensor([0, 0])
    weighted = class_stats(features, labels, weights=torch.tensor([2.0, 1.0]))
    repeated = class_stats(features[[0, 0, 1]], labels[[0, 0, 1]])
    assert weighted.mean.equal(repeated.mean)


def test_statistics_of_different_kinds_do_not_merge() -> None:
    one = class_stats(torch.ones(2, 1), torch.tensor([0, 1]))
    other = class_stats(torch.ones(2, 1), torch.tensor([0, 1]), kind="diagonal")
    with pytest.raises(ValueError, match="cannot merge none with diagonal"):
        one.merge(other)
    with pytest.raises(ValueError, match="no second moments"):
        _ = one.covariance


def test_selected_classes_keep_their_statistics() -> None:
    stats = class_stats(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([4, 0, 9]))
    assert stats.select([9, 4]).mean.tolist() == [[1], [5]]
