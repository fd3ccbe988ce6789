"""InfoNCE and CLIP: values worked by hand, limits, extra negatives, equality with cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import Z1, Z2, Z3, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_suite.losses.info_nce import clip_loss, info_nce_loss

FEW = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("temperature", "forth", "back", "clip"),
    [(0.5, 0.980124, 0.987150, 0.983637), (0.1, 1.526046, 1.538094, 1.532070)],
)
def test_values_worked_by_hand(temperature: float, forth: float, back: float, clip: float) -> None:
    def value(loss: float) -> float:
        return pytest.approx(loss, abs=1e-6)

    assert info_nce_loss(Z1, Z2, temperature=temperature).item() == value(forth)
    assert info_nce_loss(Z2, Z1, temperature=temperature).item() == value(back)
    assert clip_loss(Z1, Z2, temperature=temperature).item() == value(clip)


def test_three_towers_is_the_mean_over_the_pairs() -> None:
    pairs = [clip_loss(*pair, temperature=0.5).item() for pair in ((Z1, Z2), (Z1, Z3), (Z2, Z3))]
    assert pairs == pytest.approx([0.983637, 1.122794, 1.638511], abs=1e-6)
    assert sum(pairs) / 3 == pytest.approx(1.248314, abs=1e-6)


@FEW
@given(batch=st.integers(2, 20), temperature=st.floats(0.01, 100))
def test_collapse_gives_the_logarithm_of_the_batch(batch: int, temperature: float) -> None:
    equal = torch.ones(batch, 3, dtype=torch.float64)
    value = clip_loss(equal, equal, temperature=temperature).item()
    assert value == pytest.approx(math.log(batch), rel=1e-12)


def test_a_high_temperature_gives_the_logarithm_of_the_batch() -> None:
    assert info_nce_loss(Z1, Z2, temperature=1e6).item() == pytest.approx(1.386294, abs=1e-5)


def test_a_low_temperature_gives_the_margin_to_the_hardest_negative() -> None:
    assert info_nce_loss(Z1, Z2, temperature=1e-3).item() == pytest.approx(140.0, abs=1e-6)


@FEW
@given(seed=st.integers(0, 10**6))
def test_the_low_temperature_limit_is_a_hinge_on_the_hardest_negative(seed: int) -> None:
    z1, z2, _ = draw(seed=seed)
    cosine = F.normalize(z1) @ F.normalize(z2).T
    positive = cosine.diagonal().clone()
    hardest = cosine.fill_diagonal_(-math.inf).amax(dim=1)
    expected = (hardest - positive).clamp(min=0).mean().item()
    value = 1e-5 * info_nce_loss(z1, z2, temperature=1e-5).item()
    assert value == pytest.approx(expected, abs=1e-5 * math.log(6))


def test_it_equals_the_cross_entropy_of_the_similarities() -> None:
    z1, z2, _ = draw()
    logits = F.normalize(z1) @ F.normalize(z2).T / 0.3
    target = torch.arange(6)
    forth, back = F.cross_entropy(logits, target), F.cross_entropy(logits.T, target)
    value = clip_loss(z1, z2, temperature=0.3).item()
    assert value == pytest.approx((forth + back).item() / 2, rel=1e-12)


def test_extra_negatives_are_more_columns_of_one_anchor() -> None:
    z1, z2, state = draw()
    shared = F.normalize(z1) @ F.normalize(z2).T
    own = torch.einsum("bd,bmd->bm", F.normalize(z1), F.normalize(state.extra, dim=2))
    logits = torch.cat([shared, own], dim=1) / 0.3
    expected = F.cross_entropy(logits, torch.arange(6), reduction="none")
    values = info_nce_loss(z1, z2, temperature=0.3, extra_negatives=state.extra, reduction="none")
    torch.testing.assert_close(values, expected)


def test_one_sample_with_extra_negatives_has_a_loss() -> None:
    value = info_nce_loss(Z1[:1], Z2[:1], temperature=0.5, extra_negatives=Z3[None, :2])
    logits = torch.tensor([[0.8, 0.6, -0.6]]) / 0.5
    assert value.item() == pytest.approx(F.cross_entropy(logits, torch.tensor([0])).item())


def test_extra_negatives_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pass \(4, extra, 2\)"):
        info_nce_loss(Z1, Z2, extra_negatives=Z3)


def test_a_locked_tower_gets_no_gradient_and_the_other_its_share() -> None:
    z2 = Z2.clone().requires_grad_()
    clip_loss(Z1, z2, temperature=0.5).backward()
    assert z2.grad is not None
    assert z2.grad.abs().max() > 0.01
