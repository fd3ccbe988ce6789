"""Frequency-aware contrast: weights worked by hand, limits, and which view teaches."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.contrast_inputs import Z1, Z2

from cl_suite.losses.fassl import assignments, fassl_loss, frequency_weights, prototype_loss
from cl_suite.losses.nt_xent import nt_xent_loss

FREQUENCIES = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
PROTOTYPES = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)


def test_weights_of_rare_prototypes_are_as_worked_by_hand() -> None:
    # ten samples as frequent as their prototypes: the mean is 1
    assigned = torch.eye(3, dtype=torch.float64)[torch.tensor([0] * 7 + [1] * 2 + [2])]
    found = frequency_weights(assigned, FREQUENCIES, 0.5)
    assert found[[0, 7, 9]].tolist() == pytest.approx([0.746971, 1.397454, 1.976298], abs=1e-6)
    assert found.mean().item() == pytest.approx(1)


def test_an_unused_prototype_has_a_finite_weight() -> None:
    found = frequency_weights(torch.eye(2), torch.tensor([1.0, 0.0]), 0.5)
    assert found.isfinite().all()


def test_without_an_exponent_it_is_nt_xent() -> None:
    assigned = torch.rand(4, 3, dtype=torch.float64).softmax(dim=1)
    weight = frequency_weights(assigned, FREQUENCIES, 0.0)
    value = fassl_loss(Z1, Z2, weight=weight, temperature=0.5)
    assert value.item() == pytest.approx(nt_xent_loss(Z1, Z2).item())


def test_a_weight_counts_for_both_views_of_a_sample() -> None:
    weight = torch.tensor([1.0, 0.5, 2.0, 0.0], dtype=torch.float64)
    found = fassl_loss(Z1, Z2, weight=weight, reduction="none")
    plain = nt_xent_loss(Z1, Z2, reduction="none")
    torch.testing.assert_close(found, plain * weight.repeat(2))


def test_assignments_are_a_softmax_over_cosines() -> None:
    found = assignments(Z1[2:3], PROTOTYPES, temperature=0.5)
    shares = math.exp(0.6 / 0.5), math.exp(0.8 / 0.5)
    assert found[0].tolist() == pytest.approx([share / sum(shares) for share in shares])


def test_the_first_view_teaches_the_second() -> None:
    z1, z2, prototypes = (x.clone().requires_grad_() for x in (Z1, Z2, PROTOTYPES))
    value = prototype_loss(z1, z2, prototypes, temperature=0.5, sharpening=0.5)
    target = assignments(Z1, PROTOTYPES, temperature=0.25)
    expected = -(target * assignments(Z2, PROTOTYPES, temperature=0.5).log()).sum(dim=1).mean()
    assert value.item() == pytest.approx(expected.item())
    value.backward()
    assert z1.grad is None
    assert z2.grad is not None
    assert prototypes.grad is not None
    assert prototypes.grad.abs().max() > 0


def test_autocast_does_not_change_assignments() -> None:
    z, prototypes = Z1.float(), PROTOTYPES.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = assignments(z, prototypes)
        learned = prototype_loss(z, z, prototypes)
    assert mixed.equal(assignments(z, prototypes))
    assert learned.item() == pytest.approx(prototype_loss(z, z, prototypes).item(), rel=1e-6)


def test_a_weight_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight has shape \(2,\); pass \(4,\)"):
        fassl_loss(Z1, Z2, weight=torch.ones(2))
