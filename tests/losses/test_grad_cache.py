"""Gradients of a large batch in micro-batches equal those of the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cl_suite.losses.grad_cache import grad_cache
from cl_suite.losses.nt_xent import nt_xent_loss


def encoder(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(5, 8), nn.LayerNorm(8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))
    return nn.Sequential(*layers).double()


def views(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x1, x2 = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    return x1, x2


@pytest.mark.parametrize("micro_batch", [1, 3, 7, 50])
def test_it_equals_one_large_batch(micro_batch: int) -> None:
    whole, parts = encoder(), encoder()
    x1, x2 = views()
    expected = nt_xent_loss(whole(x1), whole(x2))
    expected.backward()
    value = grad_cache(parts, x1, x2, nt_xent_loss, micro_batch=micro_batch)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-14)


def test_dropout_draws_the_same_masks_twice_and_leaves_the_generator_as_after_one_pass() -> None:
    def noisy(z1: Tensor, z2: Tensor) -> Tensor:
        return nt_xent_loss(z1, z2 + torch.rand(3))

    x1, x2 = views()
    whole, parts = encoder(0.5), encoder(0.5)
    torch.manual_seed(3)
    z = [whole(part) for view in (x1, x2) for part in torch.split(view, 3)]
    noisy(torch.cat(z[:3]), torch.cat(z[3:])).backward()
    expected = torch.rand(1)
    torch.manual_seed(3)
    grad_cache(parts, x1, x2, noisy, micro_batch=3)
    assert torch.rand(1).equal(expected)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-14)


def test_parameters_of_the_loss_receive_their_gradient() -> None:
    log_temperature = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)

    def loss(z1: Tensor, z2: Tensor) -> Tensor:
        return nt_xent_loss(z1, z2, temperature=log_temperature.exp())

    grad_cache(encoder(), *views(), loss, micro_batch=2)
    assert log_temperature.grad is not None
    assert log_temperature.grad != 0


def test_a_loss_of_one_view_leaves_the_other_without_gradient() -> None:
    model = encoder()
    x1, x2 = views()
    grad_cache(model, x1, x2, lambda z1, z2: z1.square().sum(), micro_batch=2)
    alone = encoder()
    alone(x1).square().sum().backward()
    for a, b in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_normalising_over_the_batch_is_refused_in_training_only() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).double()
    with pytest.raises(ValueError, match="encoder's '1' normalises over the batch"):
        grad_cache(model, *views(), nt_xent_loss, micro_batch=2)
    assert grad_cache(model.eval(), *views(), nt_xent_loss, micro_batch=2).isfinite()


def test_micro_batches_of_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="micro_batch must be at least 1, got 0"):
        grad_cache(encoder(), *views(), nt_xent_loss, micro_batch=0)
