"""The transform before a head: identity until fitted, saved with its head."""

from __future__ import annotations

import pytest
import torch

from cl_suite.models.heads.class_head import CosineHead
from cl_suite.models.heads.feature_transform import (
    FeatureTransform,
    shrunk,
    unit_power,
    whitening_matrix,
)
from cl_suite.models.heads.offset import OffsetCosineHead


def test_it_is_the_identity_until_fitted() -> None:
    x = torch.randn(4, 3)
    assert FeatureTransform()(x).equal(x)


def test_power_and_unit_length_worked_by_hand() -> None:
    found = unit_power(torch.tensor([[9.0, 16.0], [-9.0, 16.0]]), 0.5)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [-0.6, 0.8]]))


def test_the_power_keeps_signs_and_one_is_no_power() -> None:
    x = torch.randn(20, 5)
    assert unit_power(x, 0.3).sign().equal(x.sign())
    torch.testing.assert_close(unit_power(x, 1.0), torch.nn.functional.normalize(x))


def test_whitened_features_have_the_identity_as_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(4, 4, generator=generator, dtype=torch.float64)
    transform = FeatureTransform().double()
    transform.fit(centre=x.mean(0), whitening=whitening_matrix(torch.cov(x.T)))
    torch.testing.assert_close(torch.cov(transform(x).T), torch.eye(4, dtype=torch.float64))


def test_shrinking_worked_by_hand() -> None:
    found = shrunk(torch.tensor([[4.0, 1.0], [1.0, 2.0]]), 0.5)
    torch.testing.assert_close(found, torch.tensor([[3.5, 0.5], [0.5, 2.5]]))


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.5])
def test_a_singular_covariance_can_be_whitened_after_shrinking(rate: float) -> None:
    singular = torch.ones(3, 3, dtype=torch.float64)
    assert whitening_matrix(shrunk(singular, rate)).isfinite().all()
    assert shrunk(torch.zeros(3, 3), rate).equal(torch.eye(3))


def test_a_fresh_head_takes_the_transform_it_loads() -> None:
    head, fresh = (CosineHead(3, transform=FeatureTransform()) for _ in range(2))
    head.set_rows([2, 0], torch.randn(2, 3))
    assert head.transform is not None
    head.transform.fit(power=0.5, centre=torch.rand(3), whitening=torch.randn(3, 3))
    fresh.load_state_dict(head.state_dict())
    x = torch.rand(5, 3)
    assert fresh(x).equal(head(x))


def test_offsets_favour_a_class_by_a_cosine() -> None:
    head = OffsetCosineHead(2, temperature=10.0)
    head.set_rows([0, 1], torch.eye(2))
    head.set_offset([1], 0.25)
    torch.testing.assert_close(head(torch.tensor([[0.6, 0.8]])), torch.tensor([[6.0, 10.5]]))


def test_offsets_grow_shrink_and_load_with_the_rows() -> None:
    head, fresh = OffsetCosineHead(2), OffsetCosineHead(2)
    head.grow([4, 1])
    head.set_offset([4], 0.5)
    head.grow([0])
    assert head.offsets.tolist() == [0.5, 0, 0]
    fresh.load_state_dict(head.state_dict())
    assert fresh.offsets.equal(head.offsets)
    head.keep_first(1)
    assert head.offsets.tolist() == [0.5]
