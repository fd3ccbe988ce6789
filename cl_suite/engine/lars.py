"""LARS: SGD whose step on a tensor is a share of the tensor's norm.

You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017, arXiv 1708.03888. For
a tensor `w` with gradient `g`, rate `r`, weight decay `d` and trust coefficient `c`:

    trust = c |w| / (|g| + d |w| + 1e-8)         (equation 6)
    share = min(trust / r, 1)                    with `trust_clip`, else trust
    SGD with momentum at rate r takes            share (g + d w)  in place of g

So with `trust_clip` a step is `min(trust, r)` times `g + d w`: the rate is only an upper limit.
With `exclude_vectors`, tensors of fewer than two dimensions (biases, and weights of normalisation
layers) take `g` itself, without decay. A bias begins near zero, and an adapted step is a share of
its norm, so it could hardly leave zero.

The paper has neither option. CaSSLe's script, whose optimiser is that of solo-learn, has both on;
Sy-CON's has the clip. Without both, it is the paper's. As in solo-learn, `g` itself is taken if the
tensor or its gradient is zero. Single numbers count as vectors here, and as tensors there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

EPSILON = 1e-8  # keeps the trust ratio of a tiny gradient finite


class Lars(torch.optim.Optimizer):
    """SGD with momentum and layer-wise adaptive rates.

    Args:
        parameters: parameters, or groups of them.
        lr: rate `r`.
        momentum: momentum; `nesterov` for Nesterov's form of it.
        weight_decay: weight decay `d`.
        trust_coefficient: trust coefficient `c`.
        trust_clip: clip the trust ratio by the rate.
        exclude_vectors: no adaptation and no decay for biases and normalisation parameters.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        trust_clip: bool = True,
        exclude_vectors: bool = True,
    ) -> None:
        settings = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "trust_clip": trust_clip,
            "exclude_vectors": exclude_vectors,
        }
        super().__init__(parameters, settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # a checkpoint of version 0.1.0 has rate, momentum and decay, but not the other settings
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]  # torch overloads it
        """Take a step; return the closure's loss, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step(group)
        return loss

    def _step(self, group: dict[str, Any]) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        adapted = [p for p in parameters if p.ndim > 1 or not group["exclude_vectors"]]
        found = dict(zip(map(id, adapted), adapted_gradients(adapted, group), strict=True))
        gradients = [found.get(id(p), p.grad) for p in parameters]
        buffers = [self.state[p].get("momentum_buffer") for p in parameters]
        sgd(
            parameters,
            gradients,
            buffers,
            weight_decay=0.0,
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
        )
        if group["momentum"]:
            for parameter, buffer in zip(parameters, buffers, strict=True):
                self.state[parameter]["momentum_buffer"] = buffer


def adapted_gradients(parameters: list[nn.Parameter], group: dict[str, Any]) -> list[Tensor]:
    """Return `share (g + d w)` of each parameter, and `g` if the parameter or `g` is zero.

    Args:
        parameters: parameters with gradients, on one device.
        group: the settings `lr`, `weight_decay`, `trust_coefficient` and `trust_clip`.
    """
    if not parameters:
        return []
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(p) for p in parameters])
    lengths = torch.stack([torch.linalg.vector_norm(g) for g in gradients])
    decay, both = group["weight_decay"], (norms > 0) & (lengths > 0)
    shares = group["trust_coefficient"] * norms / (lengths + decay * norms + EPSILON)
    if group["trust_clip"]:
        shares = (shares / group["lr"]).clamp(max=1)
    shares, decays = torch.where(both, shares, 1.0), torch.where(both, decay, 0.0)
    return [
        (g + d * p) * s for g, p, s, d in zip(gradients, parameters, shares, decays, strict=True)
    ]
