"""Large contrastive batches in little memory (Gao et al., RepL4NLP 2021, arXiv 2101.06983).

The encoder takes most of the memory, not the matrix of the loss. First all embeddings are computed
without a graph, then the gradient of the loss for each embedding. Last, each micro-batch runs again
and propagates its part of the gradient. The result is that of one large batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def grad_cache(
    encoder: nn.Module,
    x1: Tensor,
    x2: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    micro_batch: int,
) -> Tensor:
    """Add the loss's gradients to the encoder's parameters; return the loss, detached.

    Replaces `loss(encoder(x1), encoder(x2)).backward()`; the optimiser step is the caller's.
    Dropout draws the same masks in both passes. Parameters of the loss get their gradients too.

    Args:
        encoder: returns `(n, dim)` embeddings.
        x1: `(batch, ...)` first views.
        x2: `(batch, ...)` second views.
        loss: function of two `(batch, dim)` embeddings that returns a scalar.
        micro_batch: samples per pass through the encoder.

    Raises:
        ValueError: if `micro_batch` is below 1, or the encoder normalises over its batch.
    """
    if micro_batch < 1:
        raise ValueError(f"micro_batch must be at least 1, got {micro_batch}")
    for name, module in encoder.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise ValueError(
                f"encoder's {name!r} normalises over the batch, which micro-batches change; put "
                "it in eval mode, or use another normalisation"
            )
    parts = [part for view in (x1, x2) for part in torch.split(view, micro_batch)]
    states, embeddings = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(part))
            embeddings.append(encoder(part))
    z1 = torch.cat(embeddings[: len(parts) // 2]).requires_grad_()
    z2 = torch.cat(embeddings[len(parts) // 2 :]).requires_grad_()
    value = loss(z1, z2)
    after = _random_state(x1)
    value.backward()  # type: ignore[no-untyped-call]  # no types there
    gradients = [
        part
        for z in (z1, z2)
        for part in torch.split(torch.zeros_like(z) if z.grad is None else z.grad, micro_batch)
    ]
    for part, state, gradient in zip(parts, states, gradients, strict=True):
        _restore(part, state)
        encoder(part).backward(gradient)
    _restore(x1, after)
    return value.detach()


def _random_state(batch: Tensor) -> tuple[Tensor, Tensor | None]:
    on_gpu = batch.device.type == "cuda"
    return torch.get_rng_state(), torch.cuda.get_rng_state(batch.device) if on_gpu else None


def _restore(batch: Tensor, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], batch.device)
