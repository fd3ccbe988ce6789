"""The recipe: schedules worked by hand, and bad values refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm.optim
import torch
from torch import nn

from cl_suite.engine.lars import Lars
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.storage import checkpoint


def test_cosine_starts_at_one_and_would_reach_zero_after_the_last_epoch() -> None:
    recipe = TrainingConfig(schedule="cosine")
    assert [recipe.factor(e, 4) for e in range(5)] == pytest.approx(
        [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0], abs=1e-12
    )


def test_steps_act_at_their_milestones() -> None:
    recipe = TrainingConfig(schedule="step", milestones=[2, 3], gamma=0.1)
    assert [recipe.factor(e, 9) for e in range(5)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_constant_is_constant() -> None:
    assert TrainingConfig(schedule="constant").factor(7, 9) == 1


def test_null_means_as_in_the_base_session() -> None:
    recipe = TrainingConfig(base_epochs=7, incremental_epochs=None, lr=0.3, incremental_lr=None)
    assert (recipe.epochs(0), recipe.epochs(4)) == (7, 7)
    assert (recipe.learning_rate(0), recipe.learning_rate(4)) == (0.3, 0.3)


def test_warm_up_rises_in_even_steps_and_a_cosine_fills_the_rest() -> None:
    recipe = TrainingConfig(schedule="cosine", warmup_epochs=3)
    assert [recipe.factor(e, 7) for e in range(7)] == pytest.approx(
        [1 / 4, 2 / 4, 3 / 4, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2], abs=1e-12
    )


def test_milestones_count_the_epochs_of_the_warm_up() -> None:
    recipe = TrainingConfig(schedule="step", milestones=[1, 4], gamma=0.1, warmup_epochs=2)
    assert [recipe.factor(e, 5) for e in range(5)] == pytest.approx([1 / 3, 2 / 3, 0.1, 0.1, 0.01])


def test_warm_up_comes_before_a_constant_rate() -> None:
    recipe = TrainingConfig(schedule="constant", warmup_epochs=1)
    assert [recipe.factor(e, 4) for e in range(4)] == [0.5, 1, 1, 1]


def test_warm_up_takes_half_of_a_short_session_at_most() -> None:
    recipe = TrainingConfig(schedule="constant", warmup_epochs=10)
    assert recipe.factor(0, 1) == 1
    assert [recipe.factor(e, 5) for e in range(5)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])


KINDS = {
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
    "lion": timm.optim.Lion,
    "lars": Lars,
}


def make(name: str, parameter: nn.Parameter, **settings: Any) -> torch.optim.Optimizer:
    recipe = TrainingConfig(**{"optimizer": name, "lr": 0.5, "incremental_lr": 0.2, **settings})
    return recipe.make_optimizer([parameter], session=1)


def step(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: list[float]) -> None:
    parameter.grad = torch.tensor(gradient)
    optimizer.step()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", KINDS)
def test_the_optimiser_asked_for(name: str) -> None:
    optimizer = make(name, nn.Parameter(torch.zeros(1)))
    assert isinstance(optimizer, KINDS[name])
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert optimizer.param_groups[0]["weight_decay"] == 5e-4


def test_lion_steps_by_the_sign_alone() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    optimizer = make("lion", parameter, weight_decay=0.5)
    step(optimizer, parameter, [100.0, -0.01, 0.0])
    # decay 1 - 0.2 * 0.5, then 0.2 against the sign
    assert parameter.tolist() == pytest.approx([0.7, 1.1, 0.9])


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lars_steps_by_a_share_of_the_norm(weight_decay: float) -> None:
    parameter = nn.Parameter(torch.tensor([3.0, 4.0]))
    settings = {"momentum": 0.0, "weight_decay": weight_decay, "trust_coefficient": 0.02}
    of_the_paper = {"trust_clip": False, "exclude_vectors": False}
    optimizer = make("lars", parameter, **settings, **of_the_paper)
    step(optimizer, parameter, [0.0, 2.0])
    # You et al., equation 6: 0.02 * |w| / (|g| + decay * |w|), with |w| = 5 and |g| = 2
    ratio = 0.02 * 5 / (2 + weight_decay * 5)
    expected = [3 - 0.2 * ratio * weight_decay * 3, 4 - 0.2 * ratio * (2 + weight_decay * 4)]
    assert parameter.tolist() == pytest.approx(expected, rel=1e-6)


def test_lars_has_the_momentum_asked_for() -> None:
    group = make("lars", nn.Parameter(torch.ones(1)), momentum=0.8).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.8, True)
    assert not make("lars", nn.Parameter(torch.ones(1)), momentum=0.0).param_groups[0]["nesterov"]


@pytest.mark.parametrize("name", KINDS)
def test_an_optimiser_goes_on_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    # large at first, so that what an optimiser remembers outweighs the later ones
    gradients = 3 * [[40.0, -50.0, 60.0]] + 3 * [[-1.0, 2.0, -3.0]]
    parameter = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = make(name, parameter)
    for gradient in gradients[:3]:
        step(optimizer, parameter, gradient)
    checkpoint.save(tmp_path / "state", {"optimizer": optimizer.state_dict()})
    again = nn.Parameter(parameter.detach().clone())
    restored = make(name, again)
    restored.load_state_dict(checkpoint.load(tmp_path / "state")["optimizer"])
    fresh = nn.Parameter(parameter.detach().clone())
    without_memory = make(name, fresh)
    for gradient in gradients[3:]:
        step(optimizer, parameter, gradient)
        step(restored, again, gradient)
        step(without_memory, fresh, gradient)
    assert again.equal(parameter)
    assert not fresh.equal(parameter)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_epochs", -1),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("incremental_lr", math.inf),
        ("weight_decay", -1e-3),
        ("momentum", 1.0),
        ("warmup_epochs", -1),
        ("trust_coefficient", 0.0),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^training\.{name} must"):
        TrainingConfig(**{name: value})  # type: ignore[arg-type]
