"""DCL and DCLW: values worked by hand, and their relation to NT-Xent."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import Z1, Z2, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_suite.losses.dcl import dcl_loss
from cl_suite.losses.nt_xent import nt_xent_loss

FEW = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.mark.parametrize(("temperature", "expected"), [(0.5, 1.067406), (0.1, 0.720528)])
def test_values_worked_by_hand(temperature: float, expected: float) -> None:
    value = dcl_loss(Z1, Z2, temperature=temperature).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_the_value_of_each_view() -> None:
    values = dcl_loss(Z1, Z2, temperature=0.5, reduction="none").tolist()
    expected = [0.981145, 0.920270, 1.926665, 0.233532, 1.395004, 0.920270, 1.497675, 0.664686]
    assert values == pytest.approx(expected, abs=1e-6)


def test_the_gradient_worked_by_hand() -> None:
    z1 = Z1.clone().requires_grad_()
    dcl_loss(z1, Z2, temperature=0.5).backward()
    expected = [[0, -0.140902], [-0.004573, 0], [-0.408944, 0.306708], [0.095926, 0.127902]]
    torch.testing.assert_close(z1.grad, torch.tensor(expected).double(), rtol=0, atol=1e-6)


@FEW
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.05, 10))
def test_nt_xent_is_its_softplus(seed: int, temperature: float) -> None:
    z1, z2, _ = draw(seed=seed)
    values = dcl_loss(z1, z2, temperature=temperature, reduction="none")
    expected = nt_xent_loss(z1, z2, temperature=temperature, reduction="none")
    torch.testing.assert_close(F.softplus(values, threshold=1e3), expected, rtol=1e-12, atol=1e-12)


def test_the_factor_that_nt_xent_has_and_it_has_not() -> None:
    shares = (-nt_xent_loss(Z1, Z2, reduction="none")).exp()
    expected = [0.727335, 0.715097, 0.872880, 0.558119, 0.801390, 0.715097, 0.817227, 0.660312]
    assert (1 - shares).tolist() == pytest.approx(expected, abs=1e-6)


@FEW
@given(batch=st.integers(2, 20), temperature=st.floats(0.01, 100))
def test_collapse_gives_the_logarithm_of_the_negatives(batch: int, temperature: float) -> None:
    equal = torch.ones(batch, 3, dtype=torch.float64)
    value = dcl_loss(equal, equal, temperature=temperature).item()
    assert value == pytest.approx(math.log(2 * batch - 2), rel=1e-10)


def test_it_can_be_negative() -> None:
    z = torch.eye(2)
    assert dcl_loss(z, z, temperature=0.1).item() == pytest.approx(math.log(2) - 10, abs=1e-5)


def test_weighted_value_worked_by_hand() -> None:
    value = dcl_loss(Z1, Z2, temperature=0.5, weight_sigma=0.5).item()
    assert value == pytest.approx(1.156879, abs=1e-6)


def test_the_weights_are_constants_of_mean_1_on_the_positive_term() -> None:
    weight = torch.tensor([1.118802, 0.685406, 1.409315, 0.786477]).double()
    assert weight.mean().item() == pytest.approx(1, abs=1e-6)
    plain, weighted = Z1.clone().requires_grad_(), Z1.clone().requires_grad_()
    dcl_loss(weighted, Z2, temperature=0.5, weight_sigma=0.5).backward()
    pull = (1 - weight) * F.cosine_similarity(plain, Z2) / 0.5
    (dcl_loss(plain, Z2, temperature=0.5) + pull.mean()).backward()
    torch.testing.assert_close(weighted.grad, plain.grad, rtol=0, atol=1e-6)


def test_equal_pairs_are_weighted_equally() -> None:
    z1 = torch.eye(4, dtype=torch.float64)
    value = dcl_loss(z1, z1, weight_sigma=0.5).item()
    assert value == pytest.approx(dcl_loss(z1, z1).item(), rel=1e-12)


def test_a_weight_sigma_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="weight_sigma must be above 0, got 0"):
        dcl_loss(Z1, Z2, weight_sigma=0.0)
