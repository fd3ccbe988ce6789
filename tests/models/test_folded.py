"""BatchNorm folded into convolutions: the same features, fewer layers, or the network as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import timm
import torch
from torch import Tensor, nn

from cl_suite.models.folded import folded
from cl_suite.models.networks import OWN_BACKBONES


def norms(network: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def shaken(network: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics and weights that matter."""
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_var, part.weight, part.running_mean, part.bias):
                assert tensor is not None
                tensor.data.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_timm_s_networks_keep_their_features(name: str) -> None:
    network = shaken(timm.create_model(name, num_classes=0)).train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    found = folded(network, torch.randn(2, 3, 64, 64))
    assert norms(found) == 0 < norms(network)
    assert network.training
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    network.eval()
    images = torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        expected = network(images)
        error = (found(images) - expected).abs().max() / expected.abs().max()
    assert error < 1e-4


@pytest.mark.parametrize("name", ["conv4", "resnet20"])
def test_our_networks_keep_their_features(name: str) -> None:
    network = shaken(OWN_BACKBONES[name](3)).eval()
    found = folded(network, torch.randn(2, 3, 32, 32))
    assert norms(found) == 0
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found(images), network(images), rtol=1e-4, atol=1e-4)


class TwoReaders(nn.Module):
    """A convolution whose output is read by a BatchNorm and by the sum after it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        total: Tensor = self.norm(y) + y
        return total.flatten(1)


class Shared(nn.Module):
    """One convolution that two BatchNorms follow in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.convolution(self.first(self.convolution(x))))
        return found.flatten(1)


class Reads(nn.Module):
    """Its code reads a BatchNorm's field."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm(self.convolution(x)) * self.norm.eps).flatten(1)


def awkward() -> Iterator[nn.Module]:
    yield TwoReaders()
    yield Shared()
    yield Reads()
    yield nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))


@pytest.mark.parametrize("network", awkward(), ids=lambda n: type(n).__name__)
def test_a_network_that_cannot_be_folded_stays_as_it_is(network: nn.Module) -> None:
    assert folded(shaken(network), torch.randn(2, 3, 8, 8)) is network
