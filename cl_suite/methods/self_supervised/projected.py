"""Networks with a projector on their features, and copies of them that follow or stay fixed."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError, option
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import feature_function


class Wrapped(nn.Module):
    """A foreign network together with the layers trained on its features.

    No layer can be added to the network itself without knowing how it runs.
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

    Does not advance the global random state, so a method with a predictor starts like the one
    without.
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
    """Add a projector, and a predictor after it, to a network that does not have them yet.

    Args:
        width: width of the network's features.
        hidden_dim: width of the projector's hidden layer.
        projection_dim: width of a projection.
        predictor_dim: width of the predictor's hidden layer; None for no predictor.
    """
    device = next(network.parameters()).device
    if not hasattr(network, "projector"):
        network.projector = make_projector(width, hidden_dim, projection_dim).to(device)
    if predictor_dim is not None and not hasattr(network, "predictor"):
        network.predictor = make_predictor(projection_dim, predictor_dim).to(device)


def refuse_frozen(network: Classifier, method: str) -> None:
    """Raise `UserError` for a frozen backbone, which the method would train."""
    if network.backbone.frozen:
        raise UserError(
            f"{method} trains the backbone, but {option('model.frozen')} freezes it; pass "
            f"{option('model.frozen', 'false')}"
        )


def embed(network: nn.Module, x: Tensor) -> Tensor:
    """Return the projections `(batch, projection_dim)` of a batch."""
    inner = network.network if isinstance(network, Wrapped) else network
    features = feature_function(inner)(x)
    projector = network.projector
    assert isinstance(projector, nn.Module), "see add_projector"
    projections: Tensor = projector(features)
    return projections


def still_copy(network: nn.Module) -> nn.Module:
    """Return a copy that shares no tensors and has no gradients; modes are the network's."""
    return copy.deepcopy(network).requires_grad_(False)


def follow_modes(twin: nn.Module, network: nn.Module) -> None:
    """Set each part of a copy to the mode (train or eval) of its original."""
    for part, original in zip(twin.modules(), network.modules(), strict=True):
        part.training = original.training
