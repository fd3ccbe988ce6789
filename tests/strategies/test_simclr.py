"""SimCLR in sessions: its loss, its state, and resuming where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_ssl import SMALL, Steps, check_resume, make_engine, train, unequal, weights
from helpers.tiny_streams import make_stream

from cl_suite.errors import UserError
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.methods.self_supervised.plugin import Embedded
from cl_suite.plugin import requirements_of
from cl_suite.strategies.simclr import SimCLRPlugin


def make(**parameters: object) -> SimCLRPlugin:
    return SimCLRPlugin(**{**SMALL, **parameters})  # type: ignore[arg-type]


def test_its_loss_is_nt_xent_at_its_temperature() -> None:
    z1, z2 = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    value = make(temperature=0.3).loss(Embedded((z1, z2), None, None, None))
    assert value.equal(nt_xent_loss(z1, z2, temperature=0.3))


def test_it_keeps_weights_alone_so_that_another_run_may_begin_after_its_base_session() -> None:
    plugin = make()
    train(make_engine(plugin))
    assert not requirements_of(plugin).carries_base_state
    assert plugin.past_ is None
    assert plugin.momentum_ is None
    assert plugin.queues_ is not None
    assert len(plugin.queues_) == 0
    assert plugin.kept_data() == (0, 0)


def test_a_stop_in_any_epoch_leaves_no_trace(tmp_path: Path) -> None:
    check_resume(make, tmp_path)


def test_training_lowers_the_loss_of_later_sessions_too() -> None:
    losses: list[float] = []
    stream = make_stream(shots=20)
    engine = make_engine(make(), stream, base_epochs=5, incremental_epochs=5)
    Steps(engine, lambda s: losses.append(s.loss.item()), "after_training_iteration")
    for session in range(3):
        losses.clear()
        engine.train_session(session)
        assert sum(losses[-3:]) < sum(losses[:3])


def test_a_session_is_plain_fine_tuning_of_the_last() -> None:
    engine = train(make_engine(make()), 1)
    before = weights(engine)
    train(engine, 2, 1)
    assert "backbone.body.0.0.weight" in unequal(weights(engine), before)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0), ("projector_dim", 0), ("projection_dim", -1)]
)
def test_a_parameter_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"^{name} must be at least"):
        make(**{name: value})
