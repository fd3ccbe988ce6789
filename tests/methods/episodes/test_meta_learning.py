"""Inner loops: the numbers of a network of four parameters, and rules of its gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.methods.episodes.meta_episodes import EpisodePlan
from cl_suite.methods.episodes.meta_learning import (
    Stage,
    Tensors,
    UnitNetwork,
    adapt,
    add_spare_units,
    full_batch_step,
    present_cross_entropy,
    spare_units,
    take_spare_units,
)
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig


def toy(tensors: Tensors, x: Tensor) -> Tensor:
    """Return `relu(w x) v_c` for three units, `(batch, 3)`."""
    return torch.relu(tensors["w"] * x)[:, None] * tensors["v"]


def theta() -> Tensors:
    return {
        "w": torch.tensor(1.0, dtype=torch.float64, requires_grad=True),
        "v": torch.zeros(3, dtype=torch.float64, requires_grad=True),
    }


def stage(x: list[float], y: list[int], num_present: int, steps: int = 1) -> Stage:
    present = torch.arange(3) < num_present
    return Stage(torch.tensor(x, dtype=torch.float64), torch.tensor(y), present, steps)


FIRST, SECOND = stage([1, 2], [0, 1], 2), stage([3], [2], 3)
TEMPLATES = QUERY = stage([1, 2, 3], [0, 1, 2], 3)


def loss_at(tensors: Tensors, on: Stage) -> Tensor:
    return present_cross_entropy(toy(tensors, on.inputs), on.units, on.present)


def after(stages: list[Stage], **settings: Any) -> Tensors:
    return adapt(toy, theta(), stages, lr=0.1, **settings)


def close(*values: float, tolerance: float = 5e-7) -> object:
    return pytest.approx(values, abs=tolerance)


def outer(stages: list[Stage], *, first_order: bool) -> tuple[float, list[float]]:
    """Return the gradient of the query's loss after the stages, with respect to w and v."""
    start = theta()
    end = adapt(toy, start, stages, lr=0.1, first_order=first_order)
    dw, dv = torch.autograd.grad(loss_at(end, QUERY), [start["w"], start["v"]])
    return dw.item(), dv.tolist()


def test_the_first_stage_by_hand() -> None:
    assert loss_at(theta(), FIRST).item() == pytest.approx(0.693147, abs=5e-7)
    end = after([FIRST])
    assert end["v"].tolist() == close(-0.025, 0.025, 0)
    assert end["w"].item() == 1


def test_the_second_stage_by_hand() -> None:
    assert loss_at(after([FIRST]), SECOND).item() == pytest.approx(1.100486, abs=5e-7)
    end = after([FIRST, SECOND])
    assert end["v"].tolist() == close(-0.1176, -0.0826, 0.2002, tolerance=5e-5)
    assert end["w"].item() == pytest.approx(0.9996, abs=5e-5)


def test_the_template_step_by_hand() -> None:
    end = after([FIRST, SECOND, TEMPLATES])
    assert end["v"].tolist() == close(-0.1321, -0.0677, 0.1998, tolerance=5e-5)
    assert end["w"].item() == pytest.approx(1.0, abs=5e-5)


def test_the_template_step_lowers_the_loss_of_the_query() -> None:
    without, with_it = after([FIRST, SECOND]), after([FIRST, SECOND, TEMPLATES])
    assert loss_at(without, QUERY).item() == pytest.approx(1.042771, abs=5e-7)
    assert loss_at(with_it, QUERY).item() == pytest.approx(1.038687, abs=5e-7)


def test_the_outer_gradient_of_first_order() -> None:
    dw, dv = outer([FIRST, SECOND, TEMPLATES], first_order=True)
    assert dw == pytest.approx(-0.007848, abs=5e-7)
    assert dv == close(0.129632, -0.131509, 0.001877)


def test_the_outer_gradient_of_second_order() -> None:
    dw, dv = outer([FIRST, SECOND, TEMPLATES], first_order=False)
    assert dw == pytest.approx(-0.011629, abs=5e-7)
    assert dv == close(0.072805, -0.069587, -0.003217)


def test_the_outer_gradient_without_the_template_step() -> None:
    dw, dv = outer([FIRST, SECOND], first_order=True)
    assert dw == pytest.approx(-0.004125, abs=5e-7)
    assert dv == close(0.145296, -0.148703, 0.003408)


@pytest.mark.parametrize("first_order", [True, False])
def test_without_inner_steps_the_outer_gradient_is_the_plain_one(first_order: bool) -> None:
    start = theta()
    plain = torch.autograd.grad(loss_at(start, QUERY), [start["w"], start["v"]])
    none = [stage([1, 2], [0, 1], 2, steps=0), stage([3], [2], 3, steps=0)]
    assert outer(none, first_order=first_order) == (plain[0].item(), plain[1].tolist())


def test_a_unit_to_come_gets_no_gradient_unless_the_softmax_is_full() -> None:
    begin = theta()
    begin["v"] = torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64)
    moved = adapt(toy, begin, [FIRST], lr=0.1)["v"]
    assert moved[2].item() == 0.7
    full = adapt(toy, begin, [stage([1, 2], [0, 1], 3)], lr=0.1)["v"]
    assert full[2].item() != 0.7


def test_an_inner_loop_on_the_units_leaves_the_encoder_bitwise_unchanged() -> None:
    begin = theta()
    begin["w"] = torch.tensor(1.1, dtype=torch.float64)
    end = adapt(toy, begin, [FIRST, SECOND], lr=0.1, adapted=["v"])
    assert end["w"] is begin["w"]
    assert not end["v"].equal(begin["v"])


def test_steps_of_first_order_end_where_those_of_second_order_end() -> None:
    stages = [stage([1, 2], [0, 1], 2, steps=4), SECOND, TEMPLATES]
    first, second = after(stages, first_order=True), after(stages)
    assert first["v"].equal(second["v"])
    assert first["w"].equal(second["w"])


def test_second_order_is_the_derivative_of_the_loss_after_the_loop() -> None:
    stages = [FIRST, SECOND, TEMPLATES]
    dw, _ = outer(stages, first_order=False)

    def loss(w: float) -> float:
        start = theta() | {"w": torch.tensor(w, dtype=torch.float64)}
        return loss_at(adapt(toy, start, stages, lr=0.1), QUERY).item()

    assert dw == pytest.approx((loss(1 + 1e-5) - loss(1 - 1e-5)) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("first_order", [True, False])
def test_episodes_at_once_are_as_one_after_another(first_order: bool) -> None:
    inputs = torch.rand(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(start: Tensors, x: Tensor) -> Tensor:
        stages = [Stage(x, FIRST.units, FIRST.present, 2), SECOND, TEMPLATES]
        return loss_at(adapt(toy, start, stages, lr=0.1, first_order=first_order), QUERY)

    start = theta()
    together = torch.func.vmap(loss, in_dims=(None, 0))(start, inputs)
    alone = torch.stack([loss(start, x) for x in inputs])
    torch.testing.assert_close(together, alone)
    gradients = [torch.autograd.grad(losses.sum(), start["v"])[0] for losses in (together, alone)]
    torch.testing.assert_close(*gradients)


def network(kind: str, *, num_spare: int = 2) -> UnitNetwork:
    torch.manual_seed(0)
    model: nn.Module
    if kind == "foreign":
        model = nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.ReLU(), nn.Linear(6, 5))
    else:
        model = build_classifier(ModelConfig(head=kind), (1, 16, 16), 5)  # type: ignore[arg-type]
        model.head.grow([3, 1, 4])
    add_spare_units(model.eval(), num_spare)
    return UnitNetwork(model)


KINDS = ("linear", "cosine", "foreign")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_classifiers_own_with_those_of_spare_units_behind(kind: str) -> None:
    found = network(kind)
    model, x = found.model, torch.rand(4, 1, 16, 16)
    units = found.units(torch.tensor([1, 3, 4]))
    scores = found(found.tensors(spare_units(model)), x)
    assert scores.shape == (4, found.num_units + 2)
    torch.testing.assert_close(scores[:, units], model(x)[:, [1, 3, 4]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_begins_with_the_spare_unit_it_takes(kind: str) -> None:
    found = network(kind)
    model, x = found.model, torch.rand(4, 1, 16, 16)
    scores = found(found.tensors(spare_units(model)), x)[:, -2:]
    take_spare_units(model, [4, 1], [0, 1])
    torch.testing.assert_close(model(x)[:, [4, 1]], scores)


def test_spare_units_are_added_once_and_saved_with_the_network() -> None:
    model = network("linear").model
    before = spare_units(model)["weight"]
    add_spare_units(model, 7)
    assert spare_units(model)["weight"] is before
    assert model.state_dict()["spare_unit_weight"].equal(before)


def test_a_foreign_network_without_linear_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="has no linear layer"):
        add_spare_units(nn.Conv2d(1, 1, 1), 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("only_units", [True, False])
def test_a_step_on_a_networks_own_tensors_is_that_of_the_inner_loop(
    kind: str, only_units: bool
) -> None:
    found = network(kind)
    x, classes = torch.rand(7, 1, 16, 16), [4, 1]
    labels = torch.tensor([1, 4, 4, 1, 1, 4, 1])
    adapted = found.unit_names if only_units else list(found.tensors())
    step = Stage(x, found.units(labels), found.present(classes), 1)
    expected = adapt(
        found, {k: v.detach().clone() for k, v in found.tensors().items()}, [step], lr=0.1,
        adapted=adapted,
    )  # fmt: skip
    others = found.model.state_dict().keys() - expected.keys()
    untouched = {k: found.model.state_dict()[k].clone() for k in others}
    batches = [[x[:3], labels[:3]], [x[3:], labels[3:]]]
    full_batch_step(found, batches, classes, lr=0.1, adapted=adapted, device=torch.device("cpu"))
    for name, tensor in found.tensors().items():
        torch.testing.assert_close(tensor.detach(), expected[name].detach(), msg=name)
    assert all(found.model.state_dict()[k].equal(v) for k, v in untouched.items())


def test_second_order_through_a_convolutional_network_has_the_slope_of_its_loss() -> None:
    found = network("linear")
    model = found.model.double()
    x, labels = torch.rand(4, 1, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 3, 4])
    present = torch.tensor([True, True, False, True, True])
    stages = [Stage(x, labels, present, 2)]

    def loss() -> Tensor:
        end = adapt(found, found.tensors(spare_units(model)), stages, lr=0.05)
        return F.cross_entropy(found(end, x.flip(0))[:, present], torch.tensor([0, 0, 1, 1]))

    weight = model.backbone.body[0][0].weight
    (slope,) = torch.autograd.grad(loss(), weight)
    direction = torch.randn_like(weight)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            original = weight.clone()
            weight += sign * 1e-6 * direction
            values.append(loss().item())
            weight.copy_(original)
    numeric = (values[0] - values[1]) / 2e-6
    assert (slope * direction).sum().item() == pytest.approx(numeric, rel=1e-4)


def test_second_order_goes_through_a_vision_transformers_attention() -> None:
    small = {"img_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": 8}
    config = ModelConfig(backbone="vit_tiny_patch16_224", head="linear", backbone_args=small)
    model = build_classifier(config, (3, 16, 16), 2).eval()
    model.head.grow([0, 1])
    found = UnitNetwork(model)
    stages = [Stage(torch.rand(2, 3, 16, 16), torch.tensor([0, 1]), torch.ones(2) > 0, 1)]
    slopes = []
    for first_order in (True, False):
        end = adapt(found, found.tensors(), stages, lr=0.1, first_order=first_order)
        loss = F.cross_entropy(found(end, stages[0].inputs), stages[0].units)
        slopes.append(torch.autograd.grad(loss, model.backbone.body.patch_embed.proj.weight)[0])
    assert not torch.allclose(*slopes, rtol=1e-3)


def test_a_plan_is_a_sequence_of_stages_with_growing_softmax() -> None:
    plan = EpisodePlan((2, 1), 2, 1, initial_steps=3, steps=1, template_step="each")
    inputs, units = torch.arange(6.0), torch.tensor([5, 5, 6, 6, 7, 7])
    present = plan.present(torch.empty(0, dtype=torch.long), torch.arange(3), 5, 4)
    stages = plan.stages(inputs, units, present)
    found = [(s.inputs.tolist(), s.steps, s.present.nonzero().flatten().tolist()) for s in stages]
    assert found == [
        ([0, 1, 2, 3], 3, [5, 6]),
        ([0, 2], 1, [5, 6]),
        ([4, 5], 1, [5, 6, 7]),
        ([0, 2, 4], 1, [5, 6, 7]),
    ]


def test_a_copy_of_a_network_keeps_its_spare_units() -> None:
    model = network("cosine").model
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    assert spare_units(twin)["weight"].equal(spare_units(model)["weight"])
