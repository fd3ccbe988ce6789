"""Partial tuning: a few parameters change, all others stay identical bit for bit."""

from __future__ import annotations

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.methods.partial_tuning import (
    balanced_rows,
    check_groups,
    named_group,
    phase_steps,
    tune,
)
from cl_suite.methods.replay.logits import logit_distance
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig


def counted(model: nn.Module, groups: str) -> int:
    names = named_group(model, groups)  # type: ignore[arg-type]
    return sum(p.numel() for name, p in model.named_parameters() if name in names)


@pytest.mark.parametrize(
    ("num_classes", "total", "small", "with_first"),
    [
        (10, 11_173_962, 14_730, 16_458),
        (100, 11_220_132, 60_900, 62_628),
        (200, 11_271_432, 112_200, 113_928),
    ],
)
def test_the_papers_network_has_the_counts_of_its_groups(
    num_classes: int, total: int, small: int, with_first: int
) -> None:
    network = timm.create_model("resnet18", num_classes=num_classes)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    assert counted(network, "all") == total
    assert counted(network, "bn+fc") == small
    assert counted(network, "bn+fc+conv1") == with_first
    assert counted(network, "fc") == 513 * num_classes
    assert "layer1.0.bn1.running_mean" in named_group(network, "bn+fc")
    assert "layer1.0.bn1.num_batches_tracked" not in named_group(network, "bn+fc")


def test_a_network_without_batchnorm_has_its_other_normalising_layers() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    assert named_group(network, "bn+fc") == {"1.weight", "1.bias", "2.weight", "2.bias"}


@pytest.mark.parametrize(
    ("num", "phases", "expected"),
    [(1000, 4, [250, 500, 750, 1000]), (7, 3, [3, 5, 7]), (5, 0, []), (0, 3, [])],
)
def test_phases_are_spread_and_the_last_is_at_the_end(
    num: int, phases: int, expected: list[int]
) -> None:
    assert phase_steps(num, phases) == expected


def test_the_logit_distance_by_hand() -> None:
    logits, kept = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.5, 2.0, 1.0]])
    assert logit_distance(logits, kept).item() == pytest.approx(1.25 / 3)


def test_a_centred_distance_by_hand_leaves_out_a_constant_and_other_units() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0, 9.0], [4.0, 9.0, 9.0, 1.0]])
    kept = torch.tensor([[0.5, 2.0, 1.0, -math.inf], [2.0, -math.inf, -math.inf, 3.0]])
    # rows differ by (1/2, 0, -1) and (2, -2): less their means, (2/3, 1/6, -5/6) and (2, -2)
    wanted = (4 / 9 + 1 / 36 + 25 / 36 + 4 + 4) / 5
    assert logit_distance(logits, kept, centred=True).item() == pytest.approx(wanted)
    shifted = logits + torch.tensor([[7.0], [-3.0]])
    assert logit_distance(shifted, kept, centred=True).item() == pytest.approx(wanted)
    one_unit = torch.tensor([[5.0, -math.inf, -math.inf, -math.inf]])
    assert logit_distance(logits[:1], one_unit, centred=True).item() == 0.0


def test_units_that_came_later_have_no_distance_and_no_gradient() -> None:
    logits = torch.tensor([[1.0, 2.0, 5.0]], requires_grad=True)
    distance = logit_distance(logits, torch.tensor([[0.0, 2.0, -math.inf]]))
    assert distance.item() == 0.5
    distance.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, 0.0, 0.0]]


def test_classes_are_drawn_evenly() -> None:
    torch.manual_seed(0)
    labels = [0] * 90 + [1] * 9 + [2]
    drawn = [labels[row] for row in balanced_rows(labels, 3000)]
    assert all(900 < drawn.count(c) < 1100 for c in range(3))


def test_one_step_of_a_linear_head_by_hand() -> None:
    head = nn.Linear(2, 2)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    batch = torch.tensor([[1.0, 0.0]]), torch.tensor([0]), None
    tune(head, {"weight", "bias"}, lambda: batch, iterations=1, lr=0.1)
    torch.testing.assert_close(head.weight.detach(), torch.tensor([[0.05, 0.0], [-0.05, 0.0]]))
    torch.testing.assert_close(head.bias.detach(), torch.tensor([0.05, -0.05]))


def test_statistics_are_estimated_anew_by_hand() -> None:
    norm = nn.BatchNorm1d(1)
    batch = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]), None
    norm.eval()
    names = {"weight", "bias", "running_mean", "running_var"}
    tune(norm, names, lambda: batch, iterations=1, lr=0.1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.item() == pytest.approx(0.2)
    assert norm.running_var.item() == pytest.approx(1.1)
    assert not norm.training


def small() -> nn.Module:
    torch.manual_seed(0)
    model = build_classifier(ModelConfig(), (1, 16, 16), 4)
    model.head.grow(range(4))
    return model.train()


def images() -> tuple[Tensor, Tensor, None]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(8, 1, 16, 16, generator=generator), torch.arange(8) % 4, None


@pytest.mark.parametrize("groups", ["bn+fc", "fc", "bn+fc+conv1", "all"])
def test_what_is_not_named_stays_bit_for_bit_and_modes_come_back(groups: str) -> None:
    model = small()
    next(model.parameters()).requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    names = named_group(model, groups)  # type: ignore[arg-type]
    tune(model, names, images, iterations=3, lr=0.1)
    moved = {k for k, v in model.state_dict().items() if not v.equal(before[k])}
    counters = {k for k in moved if k.endswith("num_batches_tracked")}
    assert moved - counters <= names
    assert "head.weight" in moved
    assert ("backbone.body.0.1.running_mean" in moved) == (groups != "fc")
    assert [part.training for part in model.modules()] == modes
    assert not next(model.parameters()).requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_tuning_fits_the_samples() -> None:
    model = small()
    inputs, labels, _ = images()
    losses = []
    for _ in range(2):
        with torch.no_grad():
            losses.append(F.cross_entropy(model.eval()(inputs), labels).item())
        tune(model.train(), named_group(model, "bn+fc"), images, iterations=60, lr=0.1)
    assert losses[1] < 0.7 * losses[0]


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(UserError, match="bn\\+fc"):
        check_groups("everything")


def test_what_is_frozen_is_in_no_group_statistics_included() -> None:
    model = small()
    body = model.backbone.body  # type: ignore[union-attr]
    body[0].requires_grad_(False)  # type: ignore[operator,index]
    for groups in ("bn+fc", "bn+fc+conv1", "all"):
        names = named_group(model, groups)  # type: ignore[arg-type]
        assert not any(name.startswith("backbone.body.0.") for name in names)
        assert "backbone.body.1.1.running_mean" in names
