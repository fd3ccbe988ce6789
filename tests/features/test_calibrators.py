"""Calibration of few-shot statistics: all oracles of its specification."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cl_suite.features.calibrators import Calibrator, similarity_weights
from cl_suite.features.stats import ClassStats, class_stats


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


def two_classes(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    truth = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])
    labels = torch.arange(200) % 2
    features = truth[labels] + torch.randn(200, 2, generator=generator)
    flipped = torch.rand(200, generator=generator) < 0.2
    return features, torch.where(flipped, 1 - labels, labels), truth
