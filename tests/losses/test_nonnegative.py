"""Non-negative embeddings: their values, the gradient of GELU, and dead rows."""

from __future__ import annotations

import pytest
import torch

from cl_suite.losses.nonnegative import nonnegative
from cl_suite.losses.nt_xent import nt_xent_loss


@pytest.mark.parametrize("mode", ["relu", "rep_relu"])
def test_the_value_is_exactly_the_positive_part(mode: str) -> None:
    z = torch.randn(200, generator=torch.Generator().manual_seed(0))
    assert nonnegative(z, mode).equal(z.clamp(min=0))


def test_rep_relu_has_the_gradient_of_gelu() -> None:
    z = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    value = nonnegative(z, "rep_relu")
    value.sum().backward()
    assert value.tolist() == [0, 0.5, 2]
    assert z.grad is not None
    assert z.grad.tolist() == pytest.approx([-0.083315, 0.867495, 1.085232], abs=1e-6)


def test_relu_has_its_own_gradient() -> None:
    z = torch.tensor([-1.0, 0.5], requires_grad=True)
    nonnegative(z, "relu").sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_of_a_dead_row_is_bounded(dtype: torch.dtype) -> None:
    z1 = torch.tensor([[-1, -2], [1, 2], [2, 1]], dtype=dtype, requires_grad=True)
    z2 = torch.tensor([[1, 0.5], [1, 1], [0.2, 1]], dtype=dtype)
    nt_xent_loss(nonnegative(z1), nonnegative(z2)).backward()
    assert z1.grad is not None
    assert 0 < z1.grad[0].abs().max() < 1e4


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode must be relu or rep_relu, got 'gelu'"):
        nonnegative(torch.ones(2), "gelu")
