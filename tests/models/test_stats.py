"""Class statistics: exact means, whatever the order of the samples."""

from __future__ import annotations

import torch

from cl_suite.models.stats import ClassStats, class_stats


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
