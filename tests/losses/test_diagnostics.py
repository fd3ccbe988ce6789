"""Figures of collapse: values worked by hand and their extremes."""

from __future__ import annotations

import pytest
import torch
from helpers.contrast_inputs import Z1, Z2, draw

from cl_suite.losses.diagnostics import (
    alignment,
    effective_rank,
    positive_and_hardest_cosine,
    uniformity,
)


def test_alignment_worked_by_hand() -> None:
    assert alignment(Z1, Z2).item() == pytest.approx(0.32, abs=1e-12)
    assert alignment(3 * Z1, -Z1).item() == pytest.approx(4)


@pytest.mark.parametrize(("z", "expected"), [(Z1, -1.907732), (Z2, -1.661743)])
def test_uniformity_worked_by_hand(z: torch.Tensor, expected: float) -> None:
    assert uniformity(z).item() == pytest.approx(expected, abs=1e-6)


def test_collapse_has_uniformity_0_and_rank_1() -> None:
    equal = torch.ones(6, 4)
    assert uniformity(equal).item() == pytest.approx(0, abs=1e-6)
    assert effective_rank(equal).item() == pytest.approx(1, abs=1e-3)


def test_equal_directions_all_count_in_the_effective_rank() -> None:
    assert effective_rank(torch.eye(5).repeat(3, 1)).item() == pytest.approx(5, abs=1e-4)


def test_the_mean_positive_and_hardest_cosine() -> None:
    positive, hardest = positive_and_hardest_cosine(Z1, Z2)
    assert positive.item() == pytest.approx(0.84)
    # hardest other keys: (1, 0) -> 1; (0, 1) -> .8; (.6, .8) -> .96; (-.8, .6) -> .6
    assert hardest.item() == pytest.approx((1 + 0.8 + 0.96 + 0.6) / 4)


def test_none_carries_a_gradient_and_half_precision_is_fine() -> None:
    z1, z2, _ = draw(8, 16)
    z1, z2 = z1.half().requires_grad_(), z2.half()
    figures = [alignment(z1, z2), uniformity(z1), effective_rank(z1)]
    for figure in [*figures, *positive_and_hardest_cosine(z1, z2)]:
        assert figure.dtype == torch.float32
        assert not figure.requires_grad
        assert figure.isfinite()


def test_autocast_does_not_change_them() -> None:
    z1, z2, _ = draw(8, 16)
    z1, z2 = z1.float(), z2.float()

    def figures() -> list[float]:
        cosines = positive_and_hardest_cosine(z1, z2)
        values = (alignment(z1, z2), uniformity(z1), effective_rank(z1), *cosines)
        return [value.item() for value in values]

    expected = figures()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert figures() == pytest.approx(expected, rel=1e-6)
