"""LARS: steps worked by hand, equality with the published wrapper of SGD, and what vectors do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm.optim
import torch
import yaml
from torch import Tensor, nn

from cl_suite import registry
from cl_suite.engine.lars import Lars
from cl_suite.engine.training import TrainingConfig
from cl_suite.methods.optimizer_groups import own_group
from cl_suite.storage import checkpoint


def make(*parameters: nn.Parameter, **settings: Any) -> Lars:
    return Lars(parameters, **{"momentum": 0.0, "trust_coefficient": 0.02, **settings})


def stepped(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """Return a parameter after one step along a gradient."""
    parameter.grad = gradient.clone()
    optimizer.step()  # type: ignore[no-untyped-call]
    return parameter.detach()


def weight() -> nn.Parameter:
    return nn.Parameter(torch.tensor([[3.0, 4.0]]))  # of norm 5


@pytest.mark.parametrize(
    ("clip", "lr", "step"),
    [
        # trust 0.02 * 5 / (2 + 0.1 * 5) = 0.04 and g + d w = (0.3, 2.4)
        (True, 0.2, 0.04),  # the share is 0.04 / 0.2, so the step is that of any larger rate
        (True, 0.8, 0.04),
        (True, 0.01, 0.01),  # 0.04 / 0.01 is clipped to 1: plain SGD
        (False, 0.2, 0.2 * 0.04),
        (False, 0.01, 0.01 * 0.04),
    ],
)
def test_a_step_with_and_without_the_clip_by_hand(clip: bool, lr: float, step: float) -> None:
    parameter = weight()
    optimizer = make(parameter, lr=lr, weight_decay=0.1, trust_clip=clip)
    found = stepped(optimizer, parameter, torch.tensor([[0.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[3 - step * 0.3, 4 - step * 2.4]]))


def test_momentum_gathers_adapted_gradients_by_hand() -> None:
    parameter = nn.Parameter(torch.tensor([[5.0, 0.0]]))
    optimizer = make(parameter, lr=0.1, momentum=0.5, trust_coefficient=0.1)
    # trust 0.1 * 5 / 10 = 0.05, share 0.5: buffer (5, 0)
    assert stepped(optimizer, parameter, torch.tensor([[10.0, 0.0]])).tolist() == [[4.5, 0.0]]
    # trust 0.1 * 4.5 / 4.5 = 0.1, share 1: buffer 0.5 * 5 + 4.5 = 7
    found = stepped(optimizer, parameter, torch.tensor([[4.5, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[3.8, 0.0]]))


def test_vectors_take_plain_sgd_without_decay() -> None:
    for shape in ((2,), ()):
        parameter = nn.Parameter(torch.full(shape, 3.0))
        optimizer = make(parameter, lr=0.1, weight_decay=0.5)
        found = stepped(optimizer, parameter, torch.full(shape, 2.0))
        torch.testing.assert_close(found, torch.full(shape, 3 - 0.1 * 2))


def test_vectors_are_adapted_and_decayed_if_not_excluded() -> None:
    parameter = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = make(parameter, lr=0.2, weight_decay=0.1, exclude_vectors=False)
    found = stepped(optimizer, parameter, torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(found, torch.tensor([3 - 0.04 * 0.3, 4 - 0.04 * 2.4]))


def test_a_tensor_at_zero_leaves_it_and_none_without_a_gradient_decays() -> None:
    zero = nn.Parameter(torch.zeros(1, 2))
    optimizer = make(zero, lr=0.1, weight_decay=0.5)
    found = stepped(optimizer, zero, torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(found, torch.tensor([[-0.1, 0.1]]))
    still = weight()
    assert stepped(make(still, lr=0.1, weight_decay=0.5), still, torch.zeros(1, 2)).equal(weight())


def wrapped_step(
    optimizer: torch.optim.SGD, decay: float, *, clip: bool, exclude: bool, trust: float
) -> None:
    """Take a step of SGD (made without decay) as the published wrapper does, written naively."""
    for parameter in optimizer.param_groups[0]["params"]:
        if exclude and parameter.dim() == 1:
            continue
        w, g = float(parameter.detach().norm()), float(parameter.grad.norm())
        if w == 0 or g == 0:
            continue
        rate = trust * w / (g + w * decay + 1e-8)
        if clip:
            rate = min(rate / optimizer.param_groups[0]["lr"], 1)
        parameter.grad = (parameter.grad + decay * parameter.detach()) * rate
    optimizer.step()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def trained(clip: bool, exclude: bool, *, naive: bool) -> nn.Sequential:
    """Return a small network after 20 steps of a made-up task, with a rate that falls."""
    model, generator = network(), torch.Generator().manual_seed(1)
    settings: dict[str, Any] = {"lr": 0.6, "momentum": 0.9}
    optimizer = (
        torch.optim.SGD(model.parameters(), **settings)
        if naive
        else Lars(
            model.parameters(),
            **settings,
            weight_decay=0.01,
            trust_coefficient=0.02,
            trust_clip=clip,
            exclude_vectors=exclude,
        )
    )
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.6 * (1 - step / 20) ** 3  # at last below the trust
        inputs = torch.randn(16, 6, generator=generator)
        loss = nn.functional.cross_entropy(model(inputs), inputs[:, :3].argmax(1))
        optimizer.zero_grad()
        loss.backward()
        if naive:
            assert isinstance(optimizer, torch.optim.SGD)
            wrapped_step(optimizer, 0.01, clip=clip, exclude=exclude, trust=0.02)
        else:
            optimizer.step()
    return model


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("exclude", [True, False])
def test_twenty_steps_are_those_of_the_published_wrapper(clip: bool, exclude: bool) -> None:
    ours, theirs = (trained(clip, exclude, naive=naive) for naive in (False, True))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_biases_move_further_if_they_are_excluded() -> None:
    def moved(clip: bool, exclude: bool) -> float:
        bias, start = trained(clip, exclude, naive=False)[3].bias, network()[3].bias
        assert isinstance(bias, Tensor)
        assert isinstance(start, Tensor)
        return float((bias - start).detach().norm())

    assert moved(True, True) > 3 * moved(False, False)


@pytest.mark.parametrize("nesterov", [True, False])
def test_matrices_are_stepped_as_timm_does_with_its_clip(nesterov: bool) -> None:
    settings = {"lr": 0.3, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.01}
    ours = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    theirs = copy.deepcopy(ours)
    mine = Lars([ours], **settings, trust_coefficient=0.02)  # type: ignore[arg-type]
    other = timm.optim.Lars(
        [theirs], **settings, trust_coeff=0.02, trust_clip=True, always_adapt=True
    )
    for seed in range(5):
        gradient = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(stepped(mine, ours, gradient), stepped(other, theirs, gradient))


def test_the_recipe_hands_both_options_on() -> None:
    for clip, exclude in ((True, True), (False, True), (True, False)):
        recipe = TrainingConfig(optimizer="lars", trust_clip=clip, exclude_vectors=exclude)
        (group,) = recipe.make_optimizer([weight()], 0).param_groups
        assert (group["trust_clip"], group["exclude_vectors"]) == (clip, exclude)
    (group,) = TrainingConfig(optimizer="lars").make_optimizer([weight()], 0).param_groups
    assert (group["trust_clip"], group["exclude_vectors"]) == (True, True)


@pytest.mark.parametrize("strategy", ["simclr", "moco", "cassle", "sycon"])
def test_the_published_form_is_in_the_recipes_of_the_strategies_without_labels(
    strategy: str,
) -> None:
    path = Path(registry.__file__).parent / "configs/strategy" / f"{strategy}.yaml"
    recipe = TrainingConfig(**yaml.safe_load(path.read_text())["training"])
    (group,) = recipe.make_optimizer([weight()], 0).param_groups
    names = ("trust_coefficient", "trust_clip", "exclude_vectors", "momentum", "nesterov")
    assert [group[name] for name in names] == [0.02, True, True, 0.9, False]


def test_a_group_of_its_own_is_stepped_alike() -> None:
    parameters = [weight(), weight()]
    optimizer = make(*parameters, lr=0.2)
    own_group(optimizer, parameters[1:])
    for parameter in parameters:
        parameter.grad = torch.tensor([[0.0, 2.0]])
    optimizer.step()
    assert parameters[0].equal(parameters[1])
    assert not parameters[0].equal(weight())


def test_it_goes_on_from_its_checkpoint_with_its_options(tmp_path: Path) -> None:
    parameter = weight()
    optimizer = make(parameter, lr=0.2, momentum=0.9, trust_clip=False, exclude_vectors=False)
    stepped(optimizer, parameter, torch.tensor([[50.0, -60.0]]))
    checkpoint.save(tmp_path / "state", {"optimizer": optimizer.state_dict()})
    again = copy.deepcopy(parameter)
    restored = make(again, lr=0.2, momentum=0.9)
    restored.load_state_dict(checkpoint.load(tmp_path / "state")["optimizer"])
    gradient = torch.tensor([[1.0, 2.0]])
    assert stepped(restored, again, gradient).equal(stepped(optimizer, parameter, gradient))


def test_a_checkpoint_of_timms_optimiser_goes_on_with_the_recipes_options() -> None:
    parameter = weight()
    older = timm.optim.Lars([parameter], lr=0.2, momentum=0.9, always_adapt=True)
    stepped(older, parameter, torch.tensor([[1.0, 2.0]]))
    optimizer = make(parameter, lr=0.5, exclude_vectors=False)
    optimizer.load_state_dict(older.state_dict())
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["exclude_vectors"]) == (0.2, 0.9, False)
    before = parameter.detach().clone()
    assert not stepped(optimizer, parameter, torch.tensor([[1.0, 2.0]])).equal(before)
