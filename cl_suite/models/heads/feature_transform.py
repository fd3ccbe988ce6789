"""Transforms features before a head scores them: power, centring, whitening, random features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureTransform(nn.Module):
    """`(unit(sign(x) |x|^p) - centre) W`, with the fitted steps only; the identity before `fit`.

    Its numbers are buffers, so they are saved with the model. The power acts on the magnitude:
    signed features keep their sign, and for non-negative ones it is the plain power.
    """

    power: Tensor
    centre: Tensor
    whitening: Tensor

    def __init__(self) -> None:
        super().__init__()
        # a step that was not fitted is an empty tensor
        self.register_buffer("power", torch.empty(0))
        self.register_buffer("centre", torch.empty(0))
        self.register_buffer("whitening", torch.empty(0, 0))

    def fit(
        self,
        *,
        power: float | None = None,
        centre: Tensor | None = None,
        whitening: Tensor | None = None,
    ) -> None:
        """Set the steps; None leaves one out.

        Args:
            power: exponent of the magnitudes; unit length follows.
            centre: `(dim,)` vector to subtract.
            whitening: `(dim, dim)` matrix to multiply by from the right.
        """
        power_ = self.power.new_empty(0) if power is None else self.power.new_tensor([power])
        self.power = power_
        self.centre = self.centre.new_empty(0) if centre is None else centre.to(self.centre)
        self.whitening = (
            self.whitening.new_empty(0, 0) if whitening is None else whitening.to(self.whitening)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return transformed features `(batch, dim)`."""
        if self.power.numel():
            features = unit_power(features, self.power)
        if self.centre.numel():
            features = features - self.centre
        return features @ self.whitening if self.whitening.numel() else features

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        take_sizes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]  # a dict


class FourierFeatures(FeatureTransform):
    """`sqrt(2 / D) cos(Omega (x - centre) / sigma + b)`, random features of a Gaussian kernel.

    `z(x) z(y)` is near `exp(-|x - y|^2 / 2 sigma^2)` (Rahimi and Recht, NeurIPS 2007). The centre
    changes nothing in that, but keeps angles small, which round less.

    Args:
        dim: width of a feature.
        num_features: `D`.
        seed: of `Omega` and `b`.
    """

    omega: Tensor
    phase: Tensor
    sigma: Tensor
    mean: Tensor

    def __init__(self, dim: int, num_features: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("omega", torch.randn(dim, num_features, generator=generator))
        phase = 2 * math.pi * torch.rand(num_features, generator=generator)
        self.register_buffer("phase", phase)
        # features of a network from scratch are of unit order in each direction
        self.register_buffer("sigma", torch.tensor([dim**0.5]))
        # subtracted: distances stay, and numbers near zero round less
        self.register_buffer("mean", torch.zeros(num_features))

    def fit_width(self, sigma: float, features: Tensor) -> None:
        """Set the width of the kernel; the mean of these features' random features becomes 0."""
        self.sigma = self.sigma.new_tensor([sigma])
        self.mean = torch.zeros_like(self.mean)
        self.mean = self(features.to(self.omega)).mean(0)

    def forward(self, features: Tensor) -> Tensor:
        """Return random features `(batch, D)`."""
        if self.centre.numel():
            features = features - self.centre
        angles = features @ (self.omega / self.sigma) + self.phase
        return torch.cos(angles) * math.sqrt(2 / len(self.phase)) - self.mean


def unit_power(features: Tensor, power: float | Tensor) -> Tensor:
    """Return `sign(x) |x|^p` of features `(n, dim)`, scaled to unit length."""
    return F.normalize(features.sign() * features.abs() ** power)


def shrunk(covariance: Tensor, rate: float) -> Tensor:
    """Return `(1 - g) S + g (tr S / dim) I` of a covariance `(dim, dim)`, positive definite.

    Args:
        rate: `g` in [0, 1], raised to at least 1e-5, so the result can be inverted.
    """
    rate = max(rate, 1e-5)
    scale = covariance.diagonal().mean()
    if not scale > 0:
        # one sample a class: the spread is unknown, so no direction is preferred
        return torch.eye(len(covariance)).to(covariance)
    ridge = rate * scale * torch.eye(len(covariance)).to(covariance)
    return (1 - rate) * covariance + ridge


def whitening_matrix(covariance: Tensor) -> Tensor:
    """Return `W` `(dim, dim)` with `W W^T` the inverse of a positive definite covariance."""
    identity = torch.eye(len(covariance)).to(covariance)
    lower = torch.linalg.cholesky(covariance)
    root: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return root.T.contiguous()


def take_sizes(module: nn.Module, state: Mapping[str, Any], prefix: str) -> None:
    """Resize each of a module's own buffers to the tensor about to be loaded into it."""
    for name, buffer in module.named_buffers(recurse=False):
        loaded = state.get(f"{prefix}{name}")
        if loaded is not None and loaded.shape != buffer.shape:
            setattr(module, name, buffer.new_empty(loaded.shape))
