"""Model-aware loss: values worked by hand, its temperature, and the gradient of DCL."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.contrast_inputs import Z1, Z2, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_suite.losses.dcl import dcl_loss
from cl_suite.losses.macl import macl_loss
from cl_suite.losses.nt_xent import nt_xent_loss

FEW = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("temperature", "reweight", "expected"),
    [(0.5, True, 1.919499), (0.5, False, 1.477530), (0.1, True, 1.940816)],
)
def test_values_worked_by_hand(temperature: float, reweight: bool, expected: float) -> None:
    value = macl_loss(Z1, Z2, temperature=temperature, reweight=reweight).item()
    assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("start", "reached"), [(0.5, 0.71), (0.1, 0.142)])
def test_the_temperature_follows_the_alignment(start: float, reached: float) -> None:
    # the mean cosine of the pairs is 0.84
    value = macl_loss(Z1, Z2, temperature=start, reweight=False).item()
    assert value == pytest.approx(nt_xent_loss(Z1, Z2, temperature=reached).item(), rel=1e-12)
    at_neutral = macl_loss(
        Z1, Z2, temperature=start, alpha=1.0, neutral_alignment=0.84, reweight=False
    )
    expected = nt_xent_loss(Z1, Z2, temperature=start).item()
    assert at_neutral.item() == pytest.approx(expected, rel=1e-12)


def test_without_both_changes_it_is_nt_xent() -> None:
    value = macl_loss(Z1, Z2, temperature=0.5, alpha=0.0, reweight=False).item()
    assert value == pytest.approx(1.385715, abs=1e-6)


@FEW
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.1, 10))
def test_its_gradient_at_a_fixed_temperature_is_that_of_dcl(seed: int, temperature: float) -> None:
    z1, z2, _ = draw(seed=seed)
    found = []
    for loss, options in ((macl_loss, {"alpha": 0.0}), (dcl_loss, {})):
        leaf = z1.clone().requires_grad_()
        loss(leaf, z2, temperature=temperature, **options).backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_neither_the_temperature_nor_the_weights_carry_a_gradient() -> None:
    found = []
    for moving in (True, False):
        z1 = Z1.clone().requires_grad_()
        values = nt_xent_loss(z1, Z2, temperature=0.71, reduction="none")
        fixed = (values / -torch.expm1(-values.detach())).mean()
        (macl_loss(z1, Z2, temperature=0.5) if moving else fixed).backward()
        found.append(z1.grad)
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_perfect_pairs_at_a_low_temperature_are_finite() -> None:
    z1 = torch.eye(4).requires_grad_()
    value = macl_loss(z1, torch.eye(4), temperature=0.01)
    value.backward()
    assert value.isfinite()
    assert z1.grad is not None
    assert z1.grad.isfinite().all()


@pytest.mark.parametrize("name", ["alpha", "neutral_alignment"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_settings_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be from 0 to 1"):
        macl_loss(Z1, Z2, **{name: value})
