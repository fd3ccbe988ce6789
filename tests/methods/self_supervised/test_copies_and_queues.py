"""What self-supervised plugins keep: the past copy, the momentum copy, and queues of keys."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.full_ssl_plugin import Everything
from helpers.tiny_ssl import Steps, make_engine, plugin_tensors, train, unequal, weights
from helpers.tiny_streams import make_stream
from torch import Tensor


def test_the_past_copy_is_the_network_at_the_sessions_start_bit_for_bit_to_its_end() -> None:
    plugin = Everything()
    engine = make_engine(plugin, incremental_epochs=5)
    found: list[dict[str, Tensor]] = []

    def note(template: Any) -> None:
        assert plugin.past_ is not None
        found.append({k: v.clone() for k, v in plugin.past_.state_dict().items()})
        assert not any(part.training for part in plugin.past_.modules())
        assert all(p.grad is None and not p.requires_grad for p in plugin.past_.parameters())

    train(engine, 1)
    assert plugin.past_ is None
    start = weights(engine)
    Steps(engine, note, "after_update")
    train(engine, 2, 1)
    assert len(found) == 5
    assert all(unequal(state, start) == [] for state in found)
    assert "projector.0.weight" in unequal(weights(engine), start)
    assert plugin.past_ is None
    second = weights(engine)
    found.clear()
    train(engine, 3, 2)
    assert all(unequal(state, second) == [] for state in found)


def test_momentum_rises_by_half_a_cosine() -> None:
    plugin = Everything()
    assert plugin.momentum(0, 100) == pytest.approx(0.9)
    assert plugin.momentum(50, 100) == pytest.approx(0.945)
    assert plugin.momentum(100, 100) == pytest.approx(0.99)
    quarter = 0.99 - 0.09 * (1 + math.sqrt(0.5)) / 2
    assert plugin.momentum(25, 100) == pytest.approx(quarter)
    assert plugin.momentum(0, 0) == pytest.approx(0.9)


def test_the_momentum_copy_is_the_moving_average_worked_out_step_by_step() -> None:
    plugin = Everything()
    engine = make_engine(plugin)
    start = weights(engine)
    after: list[dict[str, Tensor]] = []
    Steps(engine, lambda s: after.append(weights(engine)), "after_training_iteration")
    for session, steps in ((0, 6), (1, 2)):  # 3 batches of 16, 1 of 6, 2 epochs
        after.clear()
        expected = {k: v.clone() for k, v in start.items()}
        engine.train_session(session)
        assert len(after) == steps
        for step, state in enumerate(after):
            kept = 0.99 - 0.09 * (1 + math.cos(math.pi * step / steps)) / 2
            for name, parameter in engine.model.named_parameters():
                assert parameter.shape == expected[name].shape
                expected[name] = kept * expected[name] + (1 - kept) * state[name]
        assert plugin.momentum_ is not None
        for name, parameter in plugin.momentum_.named_parameters():
            torch.testing.assert_close(parameter, expected[name], atol=1e-6, rtol=1e-5)
        start = {k: v.clone() for k, v in plugin.momentum_.state_dict().items()}
    assert unequal(weights(engine), start) != []


def test_the_momentum_copy_gets_no_gradient_and_has_the_networks_modes() -> None:
    plugin = Everything()
    engine = make_engine(plugin, incremental_batchnorm="eval")
    modes: list[bool] = []

    def note(template: Any) -> None:
        twin = plugin.momentum_
        assert twin is not None
        assert all(p.grad is None for p in twin.parameters())
        ours = [part.training for part in template.model.modules()]
        assert [part.training for part in twin.modules()] == ours
        modes.append(all(ours))

    Steps(engine, note, "after_update")
    train(engine, 2)
    assert modes == [True] * 6 + [False] * 2


def test_queues_hold_the_batches_before_and_forget_the_oldest() -> None:
    plugin = Everything()  # 20 keys a queue, batches of 16
    engine = make_engine(plugin)
    before: list[Tensor] = []
    Steps(engine, lambda s: before.append(plugin.queue("keys", 1)), "before_backward")
    train(engine, 1)
    assert [len(rows) for rows in before] == [0, 16, 20, 20, 20, 20]
    first = [embedded.keys[0] for embedded in plugin.seen if embedded.keys is not None]
    assert before[1].equal(first[0])
    # 48 keys later: the newest 20, written round and round
    newest = torch.cat(first)[-20:]
    assert plugin.queues_ is not None
    queue: Any = plugin.queues_["keys1"]
    assert queue.pointer.item() == 96 % 20
    assert queue.keys[(torch.arange(96 - 20, 96)) % 20].equal(newest)
    assert len(plugin.queue("past", 1)) == 0
    train(engine, 2, 1)
    assert len(plugin.queue("past", 1)) == 12
    pasts = [embedded.past[1] for embedded in plugin.seen if embedded.past is not None]
    assert plugin.queue("past", 2).equal(torch.cat(pasts))


def test_eight_keys_and_batches_of_four_leave_the_pointer_at_four() -> None:
    plugin = Everything()
    plugin.queue_size = 8
    stream = make_stream([[0], [1]], base_shots=12)
    train(make_engine(plugin, stream, base_epochs=1, batch_size=4), 1)
    assert plugin.queues_ is not None
    queue: Any = plugin.queues_["keys2"]
    assert queue.pointer.item() == 4
    third = plugin.seen[2].keys
    assert third is not None
    assert queue.keys[:4].equal(third[1])


def test_plugin_tensors_are_those_of_both_copies_and_all_queues() -> None:
    plugin = Everything()
    train(make_engine(plugin), 2)
    names = {name.split(".")[0] for name in plugin_tensors(plugin)}
    assert names == {"momentum", "queues"}
