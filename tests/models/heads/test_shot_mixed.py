"""The head that mixes Gaussian score and cosine by each class's shots."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.shot_mixed import (
    ShotMixedHead,
    mixed_scores,
    shot_shares,
    standardised,
)

MEANS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
COVARIANCE = torch.tensor([[0.2, 0.05], [0.05, 0.1]])
QUERIES = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


def filled(shots: list[float], **settings: float) -> ShotMixedHead:
    head = ShotMixedHead(2, 3, **settings)  # type: ignore[arg-type]
    head.set_rows([0, 1, 2], MEANS)
    head.set_shared(COVARIANCE, 0.1)
    head.set_shots([0, 1, 2], torch.tensor(shots))
    return head


def test_shares_by_hand() -> None:
    shares = shot_shares(torch.tensor([5.0, 500.0], dtype=torch.float64), 10, 5)
    expected = torch.tensor([0.26894142, 1.0], dtype=torch.float64)
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-8)


def test_many_shots_give_the_ranking_of_the_gaussian_head() -> None:
    alone = GaussianHead(2, 3)
    alone.set_rows([0, 1, 2], MEANS)
    alone.set_shared(COVARIANCE, 0.1)
    found = filled([1e6] * 3)(QUERIES)
    torch.testing.assert_close(found, standardised(alone(QUERIES)))
    assert found.argsort(dim=1).equal(alone(QUERIES).argsort(dim=1))


def test_few_shots_give_the_ranking_of_the_cosine() -> None:
    cosines = F.normalize(QUERIES) @ F.normalize(MEANS).T
    found = filled([0.0] * 3, midpoint=100.0, width=0.5)(QUERIES)
    assert found.argsort(dim=1).equal(cosines.argsort(dim=1))


def test_each_class_has_its_own_share() -> None:
    gaussian = torch.tensor([[3.0, 1.0, 2.0]])
    cosines = torch.tensor([[0.1, 0.3, 0.2]])
    scores = mixed_scores(gaussian, cosines, torch.tensor([1.0, 0.0, 0.5]))
    high = 1.5**0.5
    torch.testing.assert_close(scores, torch.tensor([[high, high, 0.0]]))


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0, 2.0]])
def test_equal_scores_become_zeros(values: list[float]) -> None:
    assert standardised(torch.tensor([values])).equal(torch.zeros(1, len(values)))


def test_a_scale_or_constant_common_to_an_images_scores_changes_nothing() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0]])
    torch.testing.assert_close(standardised(7 * scores - 100), standardised(scores))


def test_shots_are_saved_with_the_head() -> None:
    head, fresh = filled([3.0, 5.0, 90.0]), ShotMixedHead(2, 3)
    fresh.load_state_dict(head.state_dict())
    assert fresh.shots.tolist() == [3.0, 5.0, 90.0]
    assert fresh(QUERIES).equal(head(QUERIES))


def test_before_a_covariance_is_known_the_score_is_the_cosine() -> None:
    head = ShotMixedHead(2, 3)
    head.set_rows([0, 1, 2], MEANS)
    torch.testing.assert_close(head(QUERIES), 16 * F.normalize(QUERIES) @ F.normalize(MEANS).T)
