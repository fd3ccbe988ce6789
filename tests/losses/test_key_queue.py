"""Queue and moving teacher: order of the keys, wrapping, saving, and the moving average."""

from __future__ import annotations

import pytest
import torch
from helpers.contrast_inputs import Z1, Z2
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cl_suite.losses.info_nce import info_nce_loss
from cl_suite.losses.key_queue import KeyQueue, ema_update_
from cl_suite.losses.moco import moco_loss


def keys(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None].repeat(1, 2)


def test_only_what_was_pushed_is_read() -> None:
    queue = KeyQueue(4, 2)
    assert queue.filled_keys.shape == (0, 2)
    queue.push(keys(1, 2), torch.tensor([7, 8]))
    assert queue.filled_keys[:, 0].tolist() == [1, 2]
    assert queue.filled_labels.tolist() == [7, 8]


def test_an_empty_queue_makes_moco_use_the_batch() -> None:
    value = moco_loss(Z1, Z2, queue=KeyQueue(4, 2).filled_keys, temperature=0.5)
    assert value.item() == pytest.approx(info_nce_loss(Z1, Z2, temperature=0.5).item())


def test_a_batch_that_does_not_divide_the_size_wraps() -> None:
    queue = KeyQueue(5, 2)
    queue.push(keys(1, 2, 3))
    queue.push(keys(4, 5, 6))
    assert queue.filled_keys[:, 0].tolist() == [6, 2, 3, 4, 5]
    assert int(queue.pointer) == 1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(size=st.integers(1, 6), batches=st.lists(st.integers(0, 9), max_size=8))
def test_it_holds_the_newest_keys_with_their_labels(size: int, batches: list[int]) -> None:
    queue, pushed = KeyQueue(size, 2), 0
    for num in batches:
        numbers = torch.arange(pushed, pushed + num)
        queue.push(numbers[:, None].float().repeat(1, 2), numbers)
        pushed += num
    newest = set(range(max(0, pushed - size), pushed))
    assert set(queue.filled_labels.tolist()) == newest
    assert queue.filled_keys[:, 1].long().equal(queue.filled_labels)


def test_a_saved_queue_goes_on_where_it_was() -> None:
    first, second = KeyQueue(3, 2), KeyQueue(3, 2)
    first.push(keys(1, 2))
    second.load_state_dict(first.state_dict())
    for queue in (first, second):
        queue.push(keys(3, 4), torch.tensor([0, 1]))
    assert first.filled_keys.equal(second.filled_keys)
    assert first.filled_labels.equal(second.filled_labels)
    assert first.filled_labels.tolist() == [1, -1, 0]


def test_what_was_read_outlives_a_push_and_needs_no_gradient() -> None:
    queue = KeyQueue(2, 2)
    queue.push(keys(1, 2))
    read = queue.filled_keys
    queue.push(keys(3).requires_grad_())
    assert read[:, 0].tolist() == [1, 2]
    assert not queue.filled_keys.requires_grad


def test_keys_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"this queue needs \(n, 2\)"):
        KeyQueue(3, 2).push(torch.ones(2, 3))
    with pytest.raises(ValueError, match="do not fit 2 keys"):
        KeyQueue(3, 2).push(torch.ones(2, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="size and dim must be at least 1, got 0 and 2"):
        KeyQueue(0, 2)


def network(value: float) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.fill_(value)
    return module


def test_the_teacher_moves_a_part_of_the_way_and_takes_the_statistics() -> None:
    teacher, student = network(1.0), network(2.0)
    ema_update_(teacher, student, 0.9)
    assert all(p.allclose(torch.tensor(1.1)) for p in teacher.parameters())
    assert all((b == 2).all() for b in teacher.buffers())
    assert all((p == 2).all() for p in student.parameters())
    assert all(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize(("momentum", "expected"), [(0.0, 2.0), (1.0, 1.0)])
def test_the_ends_of_the_momentum(momentum: float, expected: float) -> None:
    teacher = network(1.0)
    ema_update_(teacher, network(2.0), momentum)
    assert all((p == expected).all() for p in teacher.parameters())


def test_a_bad_momentum_and_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="momentum must be from 0 to 1"):
        ema_update_(network(1.0), network(1.0), 1.5)
    with pytest.raises(ValueError, match="only one of teacher and student has"):
        ema_update_(network(1.0), nn.Sequential(nn.Linear(2, 2)), 0.9)
