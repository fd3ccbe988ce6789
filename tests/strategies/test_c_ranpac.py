"""C-RanPAC: calibrated moments by hand, draws from them, and what the head learns of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.feature_streams import (
    NUM_BASE,
    accuracy,
    features_of,
    make_feature_stream,
    trained,
)
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.features.stats import class_stats
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.models.heads.ridge import RidgeHead
from cl_suite.strategies import c_ranpac
from cl_suite.strategies.c_ranpac import (
    CRanPACPlugin,
    calibrated_moments,
    covariance_of,
    gaussian_draws,
)
from cl_suite.strategies.ranpac import RIDGES, RanPACPlugin

BASE_MEANS = torch.eye(2, dtype=torch.float64)
BASE_COVARIANCES = torch.tensor(
    [[[0.4, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.3]]], dtype=torch.float64
)
SETTINGS = {"softmax_t": 16.0, "shift_weight": 0.1, "borrowed_share": 0.5}


def shots_with(mean: Tensor, covariance: Tensor) -> Tensor:
    """Return three features with exactly this mean and covariance."""
    root = torch.linalg.cholesky(covariance)
    corners = torch.tensor(
        [[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]], dtype=torch.float64
    )
    unit = corners / (corners.T @ corners / 2).diagonal().sqrt()
    return mean + unit @ root.T


def test_moments_by_hand() -> None:
    own = torch.tensor([[0.05, 0.01], [0.01, 0.02]], dtype=torch.float64)
    shots = shots_with(torch.tensor([0.8, 0.6], dtype=torch.float64), own)
    torch.testing.assert_close(covariance_of(shots), own)
    mean, covariance = calibrated_moments(shots, BASE_MEANS, BASE_COVARIANCES, **SETTINGS)
    expected = torch.tensor([0.81608343, 0.54391657], dtype=torch.float64)
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-8)
    expected = torch.tensor(
        [[0.21912514, 0.05304171], [0.05304171, 0.11195829]], dtype=torch.float64
    )
    torch.testing.assert_close(covariance, expected, rtol=0, atol=1e-8)


def test_one_shot_borrows_its_whole_covariance() -> None:
    shot = torch.tensor([[0.8, 0.6]], dtype=torch.float64)
    _, covariance = calibrated_moments(shot, BASE_MEANS, BASE_COVARIANCES, **SETTINGS)
    w = torch.tensor([0.96083428, 0.03916572], dtype=torch.float64)
    torch.testing.assert_close(covariance, torch.tensordot(w, BASE_COVARIANCES, 1))


def test_a_shared_covariance_is_borrowed_as_it_is() -> None:
    shot = torch.tensor([[0.8, 0.6]], dtype=torch.float64)
    _, covariance = calibrated_moments(shot, BASE_MEANS, BASE_COVARIANCES[:1], **SETTINGS)
    torch.testing.assert_close(covariance, BASE_COVARIANCES[0])


def test_draws_have_the_moments_that_were_asked_for() -> None:
    mean, covariance = torch.tensor([3.0, -1.0], dtype=torch.float64), BASE_COVARIANCES[0]
    num = 100_000
    drawn = gaussian_draws(mean, covariance, num, torch.Generator().manual_seed(0))
    errors = (covariance.diagonal() / num).sqrt()
    assert ((drawn.mean(0) - mean).abs() < 4 * errors).all()
    # a standard error of a covariance of this size is about 0.0018
    torch.testing.assert_close(covariance_of(drawn), covariance, rtol=0, atol=0.008)


def test_without_spread_all_draws_are_the_mean() -> None:
    mean = torch.tensor([3.0, -1.0])
    drawn = gaussian_draws(mean, torch.zeros(2, 2), 5, torch.Generator().manual_seed(0))
    assert drawn.equal(mean.expand(5, -1))


def test_draws_of_a_singular_covariance_stay_in_its_plane() -> None:
    covariance = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    drawn = gaussian_draws(torch.zeros(2), covariance, 50, torch.Generator().manual_seed(0))
    # the jitter adds a ten-thousandth of the variance, so a hundredth of the spread
    assert (drawn[:, 0] - drawn[:, 1]).abs().max() < 0.1
    assert drawn.std() > 0.5


def head_after(stream: Any, **parameters: Any) -> RidgeHead:
    plugin = CRanPACPlugin(num_projections=32, ridge=0.5, **parameters)
    head = trained(plugin, stream).model.head
    assert isinstance(head, RidgeHead)
    return head


def test_base_classes_are_learned_from_their_own_features() -> None:
    stream = make_feature_stream()
    alone = RidgeHead(16, 18, num_projections=32, balanced=False)
    features, labels = features_of(stream, 0)
    alone.learn(features.float(), labels)
    head = head_after(stream, balanced=False)
    torch.testing.assert_close(head.sums[:NUM_BASE], alone.sums, rtol=1e-6, atol=1e-6)


def test_a_new_class_is_learned_from_as_many_draws_as_asked_for() -> None:
    stream = make_feature_stream()
    few, many = (head_after(stream, balanced=False, draws=num) for num in (50, 500))
    ratio = many.sums[NUM_BASE:].norm() / few.sums[NUM_BASE:].norm()
    assert ratio == pytest.approx(10, rel=0.05)


def test_as_many_are_drawn_as_a_base_class_has_images() -> None:
    stream = make_feature_stream(base_images=30)
    plugin = CRanPACPlugin(num_projections=8, ridge=1.0)
    trained(plugin, stream)
    assert plugin.num_draws_ == 30
    fixed = CRanPACPlugin(num_projections=8, ridge=1.0, draws=7)
    trained(fixed, stream)
    assert fixed.num_draws_ == 7


def test_without_draws_the_shots_move_to_the_calibrated_mean() -> None:
    stream = make_feature_stream()
    head = head_after(stream, draws=0, balanced=True)
    base, new = features_of(stream, 0), features_of(stream, 1)
    means, alone = class_stats(*base).mean, RidgeHead(16, 18, num_projections=32)
    for class_id in new[1].unique():
        own = new[0][new[1] == class_id]
        mean, _ = calibrated_moments(own, means, torch.zeros(1, 16, 16).double(), **SETTINGS)
        moved = own + (mean - own.mean(0))
        alone.learn(moved.float(), new[1][new[1] == class_id])
    found = head.sums[head.index(alone.classes)]
    torch.testing.assert_close(found, alone.sums, rtol=1e-5, atol=1e-5)


def test_without_draws_and_calibration_it_is_ranpac() -> None:
    stream = make_feature_stream()
    plain = trained(RanPACPlugin(num_projections=32, ridge=0.5), stream).model.head
    head = head_after(stream, draws=0, shift_weight=0.0, balanced=True)
    queries = torch.randn(7, 16)
    torch.testing.assert_close(head(queries), plain(queries), rtol=1e-4, atol=1e-5)


def test_the_draws_of_a_class_follow_its_id_and_not_the_sessions_before() -> None:
    plugin = CRanPACPlugin(num_projections=32, draws=10)
    features, labels = features_of(make_feature_stream(), 1)
    base = BASE_MEANS.new_ones(3, 16).cumsum(0), torch.eye(16).double()[None]
    both = plugin._calibrated(features, labels, *base, 10)
    last = labels == labels.max()
    alone = plugin._calibrated(features[last], labels[last], *base, 10)
    assert both[0][both[1] == labels.max()].equal(alone[0])
    other = CRanPACPlugin(num_projections=32, draws=10, draw_seed=1)
    assert not other._calibrated(features[last], labels[last], *base, 10)[0].equal(alone[0])


def test_the_ridge_is_chosen_on_streams_whose_new_classes_are_drawn_too() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    task = fake_tasks(labels, generator=torch.Generator().manual_seed(0))[0]
    plugin = CRanPACPlugin(num_projections=32, draws=60, balanced=False)
    columns, dim = task.columns(labels), features.shape[1]

    def head() -> RidgeHead:
        return RidgeHead(dim, len(task.classes), 32, balanced=False).double()

    found = plugin.figures(head(), features, labels, task)
    base = plugin._moments(features[task.train], labels[task.train])
    drawn, ids = plugin._calibrated(features[task.shots], labels[task.shots], *base, 60)
    learned = head()
    learned.learn(features[task.train], columns[task.train])
    learned.learn(drawn, task.columns(ids))
    for ridge, figures in zip(RIDGES, found, strict=True):
        learned.solve(ridge)
        expected = fake_figures(learned(features[task.test]), labels, task)[0]
        torch.testing.assert_close(figures, expected, rtol=1e-6, atol=1e-6)


def test_draws_beat_the_shots_where_classes_are_not_weighed() -> None:
    stream = make_feature_stream()
    plain = accuracy(trained(RanPACPlugin(num_projections=64, balanced=False), stream))
    drawn = accuracy(trained(CRanPACPlugin(num_projections=64, balanced=False, draws=100), stream))
    assert drawn > plain


def test_too_many_covariances_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_ranpac, "LARGEST_FULL", 12 * 16 * 16 - 1)
    stream = make_feature_stream()
    with pytest.raises(UserError, match="covariances of 12 base classes with 16 features exceed"):
        trained(CRanPACPlugin(num_projections=8, ridge=1.0), stream)
    trained(CRanPACPlugin(num_projections=8, ridge=1.0, covariance="shared"), stream)
    trained(CRanPACPlugin(num_projections=8, ridge=1.0, draws=0), stream)
