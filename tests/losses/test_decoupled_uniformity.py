"""Decoupled uniformity: values worked by hand, its bounds, and the kernel of prior knowledge."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import LABELS, Z1, Z2, Z3, draw, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_suite.losses.decoupled_uniformity import decoupled_uniformity_loss

FEW = settings(max_examples=25, deadline=None, derandomize=True)
SAME_LABEL = (LABELS[:, None] == LABELS).double()


def test_the_value_worked_by_hand() -> None:
    assert decoupled_uniformity_loss(Z1, Z2).item() == pytest.approx(-0.940451, abs=1e-6)


def test_a_kernel_of_the_identity_changes_nothing() -> None:
    value = decoupled_uniformity_loss(Z1, Z2, prior=torch.eye(4), ridge=0.0).item()
    assert value == pytest.approx(-0.940451, abs=1e-6)


def test_a_kernel_of_labels_worked_by_hand() -> None:
    value = decoupled_uniformity_loss(Z1, Z2, prior=SAME_LABEL, ridge=0.01).item()
    assert value == pytest.approx(-0.105914, abs=1e-6)


def test_two_opposite_points_reach_the_lower_bound() -> None:
    z = rows((1, 0), (-1, 0))
    assert decoupled_uniformity_loss(z, z).item() == pytest.approx(-4, abs=1e-12)


@FEW
@given(seed=st.integers(0, 10**6), batch=st.integers(2, 9))
def test_it_lies_between_its_bounds(seed: int, batch: int) -> None:
    z1, z2, _ = draw(batch, seed=seed)
    assert -4 <= decoupled_uniformity_loss(z1, z2).item() <= 0


def test_collapse_gives_zero() -> None:
    assert decoupled_uniformity_loss(*torch.ones(2, 5, 3)).item() == pytest.approx(0, abs=1e-6)


def test_three_views_equal_the_formula_written_naively() -> None:
    means = (Z1 + Z2 + Z3) / 3
    terms = [
        math.exp(-((means[i] - means[j]) ** 2).sum()) for i in range(4) for j in range(4) if i != j
    ]
    value = decoupled_uniformity_loss(Z1, Z2, Z3).item()
    assert value == pytest.approx(math.log(sum(terms) / 12), rel=1e-12)


def test_views_that_agree_better_have_a_lower_loss() -> None:
    z1, _, _ = draw(8, 8)
    noise = draw(8, 8, seed=1)[0]
    values = [decoupled_uniformity_loss(z1, z1 + scale * noise).item() for scale in (0, 1, 100)]
    assert values == sorted(values)


def test_smoothing_is_kernel_ridge_regression() -> None:
    z1, z2, state = draw()
    prior = F.normalize(state.frozen) @ F.normalize(state.frozen).T
    means = (F.normalize(z1) + F.normalize(z2)) / 2
    smooth = prior @ torch.linalg.inv(prior + 6 * 0.2 * torch.eye(6).double()) @ means
    squared = torch.pdist(smooth).square()
    value = decoupled_uniformity_loss(z1, z2, prior=prior, ridge=0.2).item()
    assert value == pytest.approx((-squared).exp().mean().log().item(), rel=1e-10)


def test_with_a_kernel_gradients_equal_finite_differences_and_the_kernel_gets_none() -> None:
    z1, z2 = Z1.clone().requires_grad_(), Z2.clone().requires_grad_()
    prior = SAME_LABEL.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *z: decoupled_uniformity_loss(*z, prior=prior.detach(), chunk_size=3), (z1, z2)
    )
    decoupled_uniformity_loss(z1, z2, prior=prior).backward()
    assert prior.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": torch.eye(3)}, r"prior has shape \(3, 3\); pass \(4, 4\)"),
        ({"prior": -torch.eye(4), "ridge": 0.01}, "is not positive definite"),
        ({"prior": torch.eye(4), "ridge": -1.0}, "ridge must be at least 0, got -1"),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoupled_uniformity_loss(Z1, Z2, **options)
