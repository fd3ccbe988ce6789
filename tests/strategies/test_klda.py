"""KLDA: random Fourier features, their width, and LDA on them."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.feature_streams import accuracy, features_of, make_feature_stream, trained

from cl_suite.errors import UserError
from cl_suite.features.stats import class_stats
from cl_suite.models.heads.feature_transform import FourierFeatures
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.strategies.klda import WIDTHS, KLDAPlugin, median_distance
from cl_suite.strategies.prototype import PrototypePlugin


def test_random_features_by_hand() -> None:
    features = FourierFeatures(2, 3)
    features.omega = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]]).T
    features.phase = torch.tensor([0.0, math.pi / 2, 1.0])
    features.sigma = torch.ones(1)
    found = features(torch.tensor([[0.3, -0.5]]))
    torch.testing.assert_close(found, torch.tensor([[0.78002898, 0.68705818, -0.18550973]]))


def test_products_approach_the_gaussian_kernel() -> None:
    features = FourierFeatures(4, 40_000)
    features.sigma = torch.tensor([1.5])
    x, y = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    kernel = torch.exp(-torch.cdist(x, y).square() / (2 * 1.5**2))
    torch.testing.assert_close(features(x) @ features(y).T, kernel, rtol=0, atol=0.03)


def test_the_head_is_lda_on_the_random_features_of_all_sessions() -> None:
    stream = make_feature_stream()
    plugin = KLDAPlugin(num_features=32, width=1.0, shrinkage=0.1, shift_weight=0.0)
    head = trained(plugin, stream).model.head
    assert isinstance(head, GaussianHead)
    parts = [features_of(stream, session) for session in range(4)]
    x, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    stats = class_stats(head.transformed(x.float()), labels, kind="shared")
    alone = GaussianHead(32, 14)
    alone.set_rows(stats.classes, stats.mean)
    alone.set_shared(stats.covariance, 0.1)
    queries = torch.randn(7, 16)
    expected = alone(head.transformed(queries))
    torch.testing.assert_close(head(queries)[:, :14], expected[:, :14], rtol=1e-3, atol=1e-3)


def test_the_width_is_chosen_in_medians_of_the_distance() -> None:
    stream = make_feature_stream()
    plugin = KLDAPlugin(num_features=48)
    transform = trained(plugin, stream, num_sessions=1).model.head.transform
    width = plugin.parameters_["width"]
    assert width in WIDTHS
    median = median_distance(features_of(stream, 0)[0])
    assert isinstance(transform, FourierFeatures)
    assert float(transform.sigma) == pytest.approx(width * median, rel=1e-5)
    assert set(plugin.choice_["table"][:, 0].tolist()) == set(WIDTHS)


def test_it_beats_class_means_where_spread_differs_by_direction() -> None:
    stream = make_feature_stream()
    means = accuracy(trained(PrototypePlugin(), stream))
    assert accuracy(trained(KLDAPlugin(num_features=256), stream)) > means


def test_equal_features_have_a_width_all_the_same() -> None:
    assert median_distance(torch.ones(5, 3)) == 1.0
    assert median_distance(torch.ones(1, 3)) == 1.0


def test_another_covariance_is_refused() -> None:
    with pytest.raises(UserError, match=r"covariance must be shared in klda, got 'full'"):
        KLDAPlugin(covariance="full")


def test_mixing_by_shots_is_refused() -> None:
    with pytest.raises(UserError, match=r"shot_midpoint must be null in klda, got 10"):
        KLDAPlugin(shot_midpoint=10.0)
