"""MoCo in sessions: its loss with a queue for each view, its copy, resuming."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_ssl import QUEUE, SMALL, Steps, check_resume, make_engine, train, unequal, weights
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.losses.moco import moco_loss
from cl_suite.methods.self_supervised.plugin import Embedded
from cl_suite.plugin import requirements_of
from cl_suite.strategies.moco import MoCoPlugin


def make(**parameters: object) -> MoCoPlugin:
    return MoCoPlugin(**{**SMALL, **QUEUE, **parameters})  # type: ignore[arg-type]


def unit(seed: int, num: int = 5) -> Tensor:
    return F.normalize(torch.randn(num, 8, generator=torch.Generator().manual_seed(seed)))


def test_its_loss_is_mocos_of_both_views_each_with_the_other_ones_queue() -> None:
    plugin = make(temperature=0.3)
    make_engine(plugin)
    assert plugin.queues_ is not None
    queues = {1: unit(1, 7), 2: unit(2, 7)}
    for view, rows in queues.items():
        plugin.queues_[f"keys{view}"].push(rows)  # type: ignore[operator]
    z1, z2, keys1, keys2 = (unit(seed) for seed in range(3, 7))
    value = plugin.loss(Embedded((z1, z2), (keys1, keys2), None, None))
    forth = moco_loss(z1, keys2, queue=queues[2], temperature=0.3)
    back = moco_loss(z2, keys1, queue=queues[1], temperature=0.3)
    assert value.item() == pytest.approx((forth + back).item() / 2, rel=1e-6)


def test_copy_and_queues_are_carried_into_the_next_session() -> None:
    plugin = make(first_momentum=1.0, last_momentum=1.0)
    engine = make_engine(plugin)
    train(engine, 1)
    twin, rows = plugin.momentum_, plugin.queue("keys", 1)
    assert twin is not None
    before = {k: v.clone() for k, v in twin.named_parameters()}
    sizes: list[int] = []
    Steps(engine, lambda s: sizes.append(len(plugin.queue("keys", 1))), "before_backward")
    engine.train_session(1)
    assert plugin.momentum_ is twin
    assert sizes == [20, 20]
    assert all(before[k].equal(v) for k, v in twin.named_parameters())  # it keeps all of itself
    assert not plugin.queue("keys", 1).equal(rows)
    assert unequal(weights(engine), before) != []


def test_it_keeps_more_than_weights_and_no_sample() -> None:
    plugin = make()
    train(make_engine(plugin))
    assert requirements_of(plugin).carries_base_state
    assert plugin.kept_data() == (0, 0)


def test_a_stop_in_any_epoch_leaves_no_trace_in_copy_and_queues(tmp_path: Path) -> None:
    check_resume(make, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("queue_size", 0), ("first_momentum", 1.1), ("last_momentum", -0.1)]
)
def test_a_parameter_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^{name} must be"):
        make(**{name: value})
