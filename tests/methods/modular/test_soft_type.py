"""Soft types: oracles O1 and O2, shrinkage, and projections."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from cl_suite.methods.modular.soft_type import fit, log_densities, log_prior, project

POINTS = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
ACCURACIES = torch.tensor([0.95, 0.949, 0.90], dtype=torch.float64)


def double(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_o1_prior_at_the_papers_temperature() -> None:
    prior = log_prior(ACCURACIES, 0.001).exp()
    assert prior[:2].tolist() == pytest.approx([0.731059, 0.268941], abs=5e-7)
    assert prior[2].item() == pytest.approx(1.4e-22, rel=0.02)


def test_o1_prior_at_a_higher_temperature() -> None:
    prior = log_prior(ACCURACIES, 0.01).exp()
    assert prior.tolist() == pytest.approx([0.523129, 0.473346, 0.003525], abs=5e-7)


def test_o2_densities_of_the_standard_gaussian() -> None:
    found = log_densities(POINTS, torch.zeros(2).double(), torch.eye(2).double())
    assert found.tolist() == pytest.approx([-1.837877, -2.837877, -3.837877], abs=5e-7)
    assert found.sum().item() == pytest.approx(-8.513631, abs=2e-6)


def test_o2_densities_of_another_gaussian() -> None:
    found = log_densities(POINTS, double([1.0, 0.0])[0], double([1.0, 0.0], [0.0, 4.0]))
    assert found.tolist() == pytest.approx([-3.031024, -2.656024, -3.031024], abs=5e-7)
    assert found.sum().item() == pytest.approx(-8.718073, abs=2e-6)


def test_densities_are_torchs() -> None:
    torch.manual_seed(0)
    mean, root = torch.randn(4).double(), torch.randn(4, 4).double()
    covariance = root @ root.T + torch.eye(4)
    points = torch.randn(7, 4).double()
    expected = MultivariateNormal(mean, covariance).log_prob(points)
    torch.testing.assert_close(log_densities(points, mean, covariance), expected)


def test_of_many_points_the_fit_is_the_sample_covariance() -> None:
    torch.manual_seed(0)
    points = torch.randn(20_000, 3).double() @ torch.diag(double([1.0, 2.0, 3.0])[0])
    mean, covariance = fit(points)
    assert mean.tolist() == pytest.approx(points.mean(0).tolist())
    torch.testing.assert_close(covariance, torch.cov(points.T), rtol=0.01, atol=0.01)


def test_the_share_of_shrinkage_by_hand() -> None:
    # three points of two numbers: covariance [[1, 0], [0, 1/3]], mean variance 2/3, share 2/5
    _, covariance = fit(POINTS)
    expected = double([0.6 + 0.4 * 2 / 3, 0.0], [0.0, 0.6 / 3 + 0.4 * 2 / 3])
    torch.testing.assert_close(covariance, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("num", [1, 2, 10])
def test_few_points_in_many_dimensions_are_no_defect(num: int) -> None:
    torch.manual_seed(0)
    points = torch.randn(num, 20).double()
    mean, covariance = fit(points)
    near, far = log_densities(points, mean, covariance), log_densities(points + 9, mean, covariance)
    assert near.isfinite().all()
    assert (near > far).all()
    if num == 10:
        # a singular one is as dense as rounding makes it; this one is of the order of its kin
        assert near.max() < 20


def test_inputs_that_are_constant_have_a_density() -> None:
    mean, covariance = fit(torch.zeros(50, 20).double())
    assert log_densities(torch.zeros(1, 20).double(), mean, covariance).isfinite().all()


def test_equal_widths_are_projected_alike_and_narrow_points_stay() -> None:
    points = torch.rand(5, 3, 11)
    torch.manual_seed(1)
    first = project(points, 20)
    torch.manual_seed(2)
    assert project(points, 20).equal(first)
    assert first.shape == (5, 20)
    assert project(points[:, :1], 20).equal(points[:, 0].double())


def test_projecting_keeps_squared_lengths_on_average() -> None:
    points = torch.eye(400)
    lengths = project(points, 20).square().sum(1)
    assert lengths.mean().item() == pytest.approx(1, abs=0.1)
