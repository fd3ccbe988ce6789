"""Networks with a projector behind their features, and copies of them that follow or stay."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function


class Wrapped(nn.Module):
    """A network that is not ours, and beside it what is trained on its features.

    To the network itself no layer can be added without knowing how it runs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def make_projector(width: int, hidden_dim: int, projection_dim: int) -> nn.Module:
    """Return a linear layer, ReLU, and a linear layer."""
    return nn.Sequential(
        nn.Linear(width, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, projection_dim)
    )


def make_predictor(dim: int, hidden_dim: int) -> nn.Module:
    """Return a linear layer, BatchNorm, ReLU, and a linear layer back to the same width.

    Making it leaves the global random numbers where they were, so that a method with a predictor
    begins as the one without.
    """
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(
            nn.Linear(dim, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, dim),
        )


def add_projector(
    network: Classifier | Wrapped,
    width: int,
    *,
    hidden_dim: int,
    projection_dim: int,
    predictor_dim: int | None = None,
) -> None:
    """Give a network what it lacks of a projector, and of a predictor behind it.

    Args:
        width: of the network's features.
        hidden_dim: of the projector's hidden layer.
        projection_dim: of what the projector makes of a feature.
        predictor_dim: of the predictor's hidden layer; None for no predictor.
    """
    device = next(network.parameters()).device
    if not hasattr(network, "projector"):
        network.projector = make_projector(width, hidden_dim, projection_dim).to(device)
    if predictor_dim is not None and not hasattr(network, "predictor"):
        network.predictor = make_predictor(projection_dim, predictor_dim).to(device)


def embed(network: nn.Module, x: Tensor) -> Tensor:
    """Return the projections `(batch, projection_dim)` of a batch, by its network's projector."""
    inner = network.network if isinstance(network, Wrapped) else network
    features = feature_function(inner)(x)
    projector = network.projector
    assert isinstance(projector, nn.Module), "see add_projector"
    projections: Tensor = projector(features)
    return projections


def still_copy(network: nn.Module) -> nn.Module:
    """Return a copy that shares no tensor and has no gradients; modes are the network's."""
    return copy.deepcopy(network).requires_grad_(False)


def follow_modes(twin: nn.Module, network: nn.Module) -> None:
    """Put each part of a copy into the mode, training or not, of its original."""
    for part, original in zip(twin.modules(), network.modules(), strict=True):
        part.training = original.training
