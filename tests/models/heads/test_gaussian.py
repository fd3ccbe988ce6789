"""Gaussian scores: worked by hand, and against torch's own distributions."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from cl_suite.errors import UserError
from cl_suite.models.heads.gaussian import GaussianHead

MEANS = torch.eye(2, dtype=torch.float64)
QUERY = torch.tensor([[0.6, 0.56]], dtype=torch.float64)


def test_lda_scores_worked_by_hand() -> None:
    head = GaussianHead(2).double()
    head.set_rows([0, 1], MEANS)
    head.set_shared(torch.diag(torch.tensor([0.2, 0.1])), shrinkage=0.0)
    # the tolerance is that of the least shrinkage, 1e-5
    torch.testing.assert_close(
        head(QUERY), torch.tensor([[0.5, 0.6]], dtype=torch.float64), atol=1e-4, rtol=0
    )


def test_the_nearest_mean_says_otherwise() -> None:
    distances = torch.cdist(QUERY, MEANS)[0].square()
    assert distances.tolist() == pytest.approx([0.4736, 0.5536])
    assert distances.argmin() == 0


def random_covariances(num: int, dim: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(num, dim, dim, generator=generator, dtype=torch.float64)
    return roots @ roots.transpose(1, 2) + 0.5 * torch.eye(dim, dtype=torch.float64)


def test_full_scores_are_log_likelihoods_up_to_a_constant() -> None:
    covariances, means = random_covariances(3, 4), torch.randn(3, 4, dtype=torch.float64)
    head = GaussianHead(4, shape="full").double()
    head.set_rows([0, 1, 2], means)
    head.set_covariances([0, 1, 2], covariances, shrinkage=0.0)
    x = torch.randn(6, 4, dtype=torch.float64)
    expected = torch.stack(
        [MultivariateNormal(m, c).log_prob(x) for m, c in zip(means, covariances, strict=True)], 1
    )
    difference = head(x) - expected
    # 1e-5 of shrinkage remains
    assert (difference - difference[:, :1]).abs().max() < 1e-2


def test_diagonal_scores_equal_full_ones_of_diagonal_covariances() -> None:
    variances = torch.rand(3, 4, dtype=torch.float64) + 0.1
    means, x = torch.randn(3, 4, dtype=torch.float64) + 5, torch.randn(6, 4, dtype=torch.float64)
    diagonal, full = (GaussianHead(4, shape=s).double() for s in ("diagonal", "full"))
    for head, covariances in ((diagonal, variances), (full, torch.diag_embed(variances))):
        head.set_rows([0, 1, 2], means)
        head.set_covariances([2, 0, 1], covariances[[2, 0, 1]], shrinkage=0.3)
    torch.testing.assert_close(diagonal(x), full(x))


def test_it_scores_by_cosine_before_a_covariance_is_set() -> None:
    head = GaussianHead(2, temperature=10.0)
    head.set_rows([0], torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(head(torch.tensor([[0.6, 0.8]])), torch.tensor([[6.0]]))


@pytest.mark.parametrize("shape", ["shared", "diagonal", "full"])
def test_a_fresh_head_takes_what_it_loads(shape: str) -> None:
    head, fresh = (GaussianHead(3, shape=shape) for _ in range(2))  # type: ignore[arg-type]
    head.set_rows([5, 1], torch.randn(2, 3))
    if shape == "shared":
        head.set_shared(torch.eye(3), 0.1)
    else:
        covariances = torch.rand(2, 3) + 0.1
        full = covariances if shape == "diagonal" else torch.diag_embed(covariances)
        head.set_covariances([5, 1], full, 0.1)
    fresh.load_state_dict(head.state_dict())
    x = torch.randn(4, 3)
    assert fresh(x).equal(head(x))
    assert fresh(x)[:, [1, 5]].isfinite().all()


def test_too_many_full_covariances_are_refused() -> None:
    with pytest.raises(UserError, match="covariance='diagonal' or shared"):
        GaussianHead(1280, shape="full").grow(range(100))
