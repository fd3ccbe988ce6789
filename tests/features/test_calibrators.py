"""Calibration of few-shot statistics: every oracle of its specification."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cl_suite.features.calibrators import Calibrator, draw, similarity_weights
from cl_suite.features.stats import ClassStats, class_stats, typical


def stats_of(mean: list[list[float]], covariance: list[list[float]], count: float) -> ClassStats:
    means = torch.tensor(mean, dtype=torch.float64)
    counts = torch.full((len(mean),), count, dtype=torch.float64)
    empty = ClassStats(torch.arange(len(mean)), counts[:, None] * means, counts)
    return empty.with_moments(means, torch.tensor(covariance, dtype=torch.float64))


BASE = stats_of([[1.0, 0.0], [0.0, 1.0]], [[0.2, 0.1], [0.1, 0.3]], count=100)
SHOT = stats_of([[0.8, 0.6]], [[0.0, 0.0]], count=1)


def close(*values: float) -> object:
    return pytest.approx(values, abs=5e-7)  # the oracles have six digits


def test_weights_over_base_classes() -> None:
    assert similarity_weights(SHOT.mean, BASE.mean, 16.0)[0].tolist() == close(0.960834, 0.039166)


def test_the_calibrated_mean() -> None:
    found = Calibrator(softmax_t=16.0, shift_weight=0.5).calibrate(SHOT, BASE)
    assert found.mean[0].tolist() == close(0.880417, 0.319583)


def test_one_shot_borrows_its_whole_covariance() -> None:
    found = Calibrator(softmax_t=16.0).calibrate(SHOT, BASE)
    assert found.covariance[0].tolist() == close(0.196083, 0.107833)


def test_no_shift_leaves_the_mean() -> None:
    found = Calibrator(shift_weight=0.0).calibrate(SHOT, BASE)
    torch.testing.assert_close(found.mean, SHOT.mean)


def test_one_base_class_has_all_the_weight() -> None:
    assert similarity_weights(SHOT.mean, BASE.mean[:1], 16.0).tolist() == [[1.0]]


def test_only_the_most_similar_base_classes_count() -> None:
    assert similarity_weights(SHOT.mean, BASE.mean, 16.0, top_k=1).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_covariance_with_a_prior(kind: str) -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    new = class_stats(features, torch.zeros(3, dtype=torch.long), kind=kind)  # type: ignore[arg-type]
    prior = torch.full((1, 2), 0.5, dtype=torch.float64)
    base = ClassStats(torch.tensor([7]), torch.tensor([[900.0, 900.0]]), torch.tensor([900.0]))
    base = base.with_moments(base.mean, prior if kind == "diagonal" else torch.diag_embed(prior))
    found = Calibrator(prior_count=5.0).calibrate(new, base).covariance[0]
    diagonal = found if kind == "diagonal" else found.diagonal()
    assert diagonal.tolist() == close(0.6875, 1.4375)


def test_statistics_keep_the_moments_they_are_given() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    roots = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    covariance = roots @ roots.transpose(1, 2)
    counts = torch.tensor([1.0, 5.0, 20.0], dtype=torch.float64)
    stats = ClassStats(torch.arange(3), torch.zeros(3, 4), counts).with_moments(mean, covariance)
    torch.testing.assert_close(stats.mean, mean)
    torch.testing.assert_close(stats.covariance, covariance)


@pytest.mark.parametrize("full", [False, True])
def test_virtual_features_have_the_mean_of_their_gaussian(full: bool) -> None:
    mean = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    shape = torch.diag_embed(covariance) if full else covariance
    drawn = draw(mean, shape, 100_000, torch.Generator().manual_seed(0))
    assert drawn.shape == (1, 100_000, 2)
    error = (drawn.mean(1) - mean).abs()
    assert (error < 4 * (covariance / 100_000).sqrt()).all()
    # four standard errors of a variance
    assert ((drawn.var(1) - covariance).abs() < 4 * covariance * (2 / 100_000) ** 0.5).all()


@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 2)])
def test_without_spread_all_virtual_features_equal_the_mean(shape: tuple[int, ...]) -> None:
    mean = torch.tensor([[1.0, -2.0]])
    drawn = draw(mean, torch.zeros(shape), 7)
    assert drawn.equal(mean[:, None].expand(1, 7, 2))


def two_classes(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    truth = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    labels = torch.arange(200) % 2
    features = truth[labels] + torch.randn(200, 2, generator=generator)
    flipped = torch.rand(200, generator=generator) < 0.2
    return features, torch.where(flipped, 1 - labels, labels), truth


def test_means_of_typical_samples_withstand_wrong_labels() -> None:
    features, labels, truth = two_classes(torch.Generator().manual_seed(0))
    kept = typical(features, labels, rate=0.8)
    plain = class_stats(features, labels).mean
    trimmed = class_stats(features[kept], labels[kept]).mean
    assert (trimmed - truth).norm(dim=1).lt((plain - truth).norm(dim=1)).all()


def test_classes_of_few_samples_keep_them_all() -> None:
    features, labels = torch.randn(12, 2), torch.tensor([0] * 9 + [1] * 3)
    assert typical(features, labels).tolist() == list(range(12))
