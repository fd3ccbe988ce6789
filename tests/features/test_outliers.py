"""Outliers of a class: which samples are dropped before statistics are taken."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor
from torch import Tensor

from cl_suite.features.outliers import (
    Measure,
    kept_rows,
    local_outlier_factors,
    median_distances,
)
from cl_suite.features.stats import class_stats


def test_local_outlier_factors_are_those_of_scikit_learn() -> None:
    samples = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)).double()
    samples[7] += 6
    reference = LocalOutlierFactor(n_neighbors=20).fit(samples.numpy())
    expected = torch.from_numpy(-reference.negative_outlier_factor_)
    torch.testing.assert_close(local_outlier_factors(samples), expected, rtol=1e-8, atol=1e-8)
    assert int(local_outlier_factors(samples).argmax()) == 7


def test_the_distance_is_that_to_the_median_of_each_coordinate() -> None:
    samples = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 3.0], [100.0, 1.0]])
    # medians 1.5 and 0.5
    expected = [2.5**0.5, 0.5**0.5, 6.5**0.5, (98.5**2 + 0.25) ** 0.5]
    assert median_distances(samples).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("measure", ["distance", "lof"])
def test_a_tenth_of_each_large_class_goes_and_small_classes_stay(measure: Measure) -> None:
    features = torch.randn(49, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([3] * 40 + [5] * 9)
    kept = kept_rows(features, labels, measure)
    assert int(kept[labels == 3].sum()) == 36
    assert bool(kept[labels == 5].all())
    assert int(kept_rows(features, labels, measure, least=5).sum()) < int(kept.sum())


@pytest.mark.parametrize("measure", ["distance", "lof"])
def test_copies_of_one_sample_all_stay(measure: Measure) -> None:
    assert bool(kept_rows(torch.ones(12, 3), torch.zeros(12), measure).all())


def labels_with_noise(num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the classes' true means, and samples of which a fifth has another class's label."""
    generator = torch.Generator().manual_seed(0)
    truth = 4 * torch.eye(num_classes) + 1
    right = torch.arange(200 * num_classes) % num_classes
    features = truth[right] + torch.randn(len(right), num_classes, generator=generator)
    step = torch.randint(1, num_classes, right.shape, generator=generator)
    wrong = torch.rand(len(right), generator=generator) < 0.2
    return truth, features, torch.where(wrong, (right + step) % num_classes, right)


# mislabelled samples of one class are as dense as the right ones, which a local measure accepts
@pytest.mark.parametrize(("measure", "num_classes"), [("distance", 2), ("lof", 12)])
def test_a_trimmed_mean_is_nearer_to_the_truth_under_label_noise(
    measure: Measure, num_classes: int
) -> None:
    truth, features, labels = labels_with_noise(num_classes)
    kept = kept_rows(features, labels, measure, share=0.2)
    plain = class_stats(features, labels).mean
    trimmed = class_stats(features[kept], labels[kept]).mean
    assert bool(((trimmed - truth).norm(dim=1) < (plain - truth).norm(dim=1)).all())


def test_the_order_of_the_samples_does_not_matter() -> None:
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(30) % 2
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    kept = kept_rows(features, labels, "lof")
    assert kept_rows(features[order], labels[order], "lof").equal(kept[order])
