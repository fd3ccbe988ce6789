"""The recipe: schedules worked by hand, and bad values refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cl_suite.errors import UserError
from cl_suite.training import TrainingConfig


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


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_asked_for(name: str, kind: type) -> None:
    recipe = TrainingConfig(optimizer=name, lr=0.5, incremental_lr=0.2)  # type: ignore[arg-type]
    optimizer = recipe.make_optimizer([nn.Parameter(torch.zeros(1))], session=1)
    assert isinstance(optimizer, kind)
    assert optimizer.param_groups[0]["lr"] == 0.2


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
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"--training\.{name} must"):
        TrainingConfig(**{name: value}).check()  # type: ignore[arg-type]
