"""CWCL: values worked by hand, equality with the naive formula, and the case that is InfoNCE."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import Z1, Z2, Z3, draw, rows

from cl_suite.losses.cwcl import cwcl_loss
from cl_suite.losses.info_nce import clip_loss, info_nce_loss
from cl_suite.losses.kernel import contrast


@pytest.mark.parametrize(("symmetric", "expected"), [(False, 1.677017), (True, 1.332084)])
def test_values_worked_by_hand(symmetric: bool, expected: float) -> None:
    value = cwcl_loss(Z1, Z2, frozen=Z3, temperature=0.5, symmetric=symmetric).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_opposite_frozen_features_make_it_clip() -> None:
    value = cwcl_loss(Z1[:2], Z2[:2], frozen=rows((1, 0), (-1, 0)), temperature=0.5).item()
    assert value == pytest.approx(clip_loss(Z1[:2], Z2[:2], temperature=0.5).item(), rel=1e-12)


def test_weights_of_the_identity_make_it_info_nce() -> None:
    identity = torch.eye(4)
    value = contrast(Z1, Z2, positive=lambda rows: identity[rows], temperature=0.5).item()
    assert value == pytest.approx(0.980124, abs=1e-6)
    assert value == pytest.approx(info_nce_loss(Z1, Z2, temperature=0.5).item(), rel=1e-12)


def test_it_equals_the_formula_written_naively() -> None:
    z1, z2, state = draw()
    log_share = (F.normalize(z1) @ F.normalize(z2).T / 0.3).log_softmax(dim=1)
    expected = 0.0
    for i in range(6):
        weight = [(1 + F.cosine_similarity(state.frozen[i], p, dim=0)) / 2 for p in state.frozen]
        pull = sum(w * log_share[i, j] for j, w in enumerate(weight))
        expected -= (pull / sum(weight)).item() / 6
    value = cwcl_loss(z1, z2, frozen=state.frozen, temperature=0.3, symmetric=False)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_frozen_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"frozen has shape \(3, 2\); pass \(4, dim\)"):
        cwcl_loss(Z1, Z2, frozen=Z3[:3])
