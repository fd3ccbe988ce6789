"""Networks from random weights start plainly; arguments, weights files and draws stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from cl_suite.models.backbones import create_backbone
from cl_suite.models.plain_start import start_plainly


def made(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return create_backbone(name, (3, 32, 32), arguments=arguments).body


def test_a_resnet_starts_as_timms_does_without_zeros_in_its_last_norms() -> None:
    found = made("test_resnet").state_dict()
    torch.manual_seed(0)
    plain = timm.create_model("test_resnet", num_classes=0, zero_init_last=False).state_dict()
    assert all(found[name].equal(value) for name, value in plain.items())
    norms = [value for name, value in found.items() if "bn" in name and name.endswith(".weight")]
    assert norms
    assert all(value.eq(1).all() for value in norms)


def test_an_argument_decides_first() -> None:
    body = made("test_resnet", zero_init_last=True)
    assert any(not p.any() for n, p in body.named_parameters() if n.endswith("weight"))


def test_scales_start_at_one_unless_an_argument_says_how() -> None:
    def scales(**arguments: Any) -> list[float]:
        body = made("test_convnext", **arguments)
        return [float(p.detach()[0]) for n, p in body.named_parameters() if n.endswith("gamma")]

    assert set(scales()) == {1.0}
    assert {round(scale, 4) for scale in scales(ls_init_value=0.01)} == {0.01}


def test_nothing_is_dropped_unless_an_argument_says_so() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.path = DropPath()
            self.dropout = nn.Dropout(0.2)
            self.drop_rate = 0.2

    class DropPath(nn.Module):
        drop_prob = 0.1

    network = Network()
    start_plainly(network, {"drop_path_rate": 0.1, "drop_rate": 0.2})
    assert (network.path.drop_prob, network.dropout.p, network.drop_rate) == (0.1, 0.2, 0.2)
    start_plainly(network, {"drop_path_rate": 0.1})
    assert (network.path.drop_prob, network.dropout.p, network.drop_rate) == (0.1, 0.0, 0.0)
    start_plainly(network, {})
    assert network.path.drop_prob == 0.0


def test_a_network_with_a_weights_file_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=0)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    weights = str(tmp_path / "weights.safetensors")
    body = create_backbone("test_resnet", (3, 32, 32), weights=weights).body
    assert all(body.state_dict()[name].equal(value) for name, value in state.items())


@pytest.mark.parametrize("name", ["conv4", "resnet20"])
def test_our_own_networks_have_nothing_to_undo(name: str) -> None:
    body = made(name)
    before = {key: value.clone() for key, value in body.state_dict().items()}
    start_plainly(body, {})
    assert all(body.state_dict()[key].equal(value) for key, value in before.items())
    assert not any(isinstance(part, nn.Dropout) and part.p for part in body.modules())
