"""The reservoir: algorithm R by hand and by counts, extras, and a restart."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from helpers.kept_samples import data_of, saved_and_loaded, values

from cl_suite.errors import UserError
from cl_suite.methods.replay.buffer import ReservoirBuffer


def test_the_first_items_fill_the_slots_in_order() -> None:
    buffer = ReservoirBuffer(3)
    buffer.insert(data_of([0, 1, 2]), range(3))
    assert values(buffer) == [0, 1, 2]
    assert buffer.exemplars.targets == [0, 1, 2]


def test_later_items_replace_the_slot_that_is_drawn() -> None:
    """Algorithm R, written out with the same draws."""
    torch.manual_seed(5)
    buffer, data = ReservoirBuffer(3), data_of([0] * 40)
    for rows in torch.arange(40).split(7):  # batches change nothing
        buffer.insert(data, rows)
    torch.manual_seed(5)
    slots = [0.0, 1.0, 2.0]
    for n in range(3, 40):
        if (r := int(torch.randint(n + 1, ()))) < 3:
            slots[r] = n
    assert values(buffer) == slots
    assert buffer.num_seen == 40


def test_the_next_item_is_kept_with_probability_3_in_n_plus_1() -> None:
    torch.manual_seed(0)
    data, last, any_slot = data_of([0] * 8), 0, torch.zeros(8)
    for _ in range(2000):
        buffer = ReservoirBuffer(3)
        buffer.insert(data, range(8))
        kept = [int(v) for v in values(buffer)]
        last += 7 in kept
        any_slot[kept] += 1
    # item n = 7: 3/8 of 2000 = 750, standard deviation 21.7; the same for every item by then
    assert abs(last - 750) < 90
    assert (any_slot - 750).abs().max() < 90


def test_extras_go_with_their_samples() -> None:
    buffer, data = ReservoirBuffer(4), data_of(list(range(30)))
    for rows in torch.arange(30).split(10):
        buffer.insert(data, rows, {"double": 2.0 * rows})
    inputs, labels, extras = buffer.draw(4)
    assert extras["double"].equal(2 * labels.float())
    assert inputs[:, 0].equal(labels.float())


def test_a_draw_is_without_replacement_and_from_the_global_generator() -> None:
    buffer = ReservoirBuffer(50)
    buffer.insert(data_of(list(range(20))), range(20))
    torch.manual_seed(2)
    labels = buffer.draw(10)[1]
    assert len(set(labels.tolist())) == 10
    torch.manual_seed(2)
    assert buffer.draw_rows(10).equal(labels)
    assert sorted(buffer.draw(99)[1].tolist()) == list(range(20))  # all there are


def test_an_empty_reservoir_has_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ReservoirBuffer(5).draw(2)


@pytest.mark.parametrize("budget", ["2MB", "1%"])
def test_a_reservoir_counts_samples(budget: str) -> None:
    with pytest.raises(UserError, match=f"buffer '{budget}' is not a number of samples"):
        ReservoirBuffer(budget)


def test_a_restored_reservoir_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    data = data_of(list(range(60)))
    first, second = ReservoirBuffer(5), ReservoirBuffer(5)
    first.insert(data, range(30), {"n": torch.arange(30)})
    second.load_state_dict(saved_and_loaded(first.state_dict(), tmp_path))
    for buffer in (first, second):
        torch.manual_seed(1)
        buffer.insert(data, range(30, 60), {"n": torch.arange(30, 60)})
    assert values(second) == values(first)
    assert second.num_seen == first.num_seen == 60


def test_no_order_of_insertion_loses_a_slot() -> None:
    for first, second in itertools.product(range(1, 5), repeat=2):
        buffer = ReservoirBuffer(4)
        data = data_of([0] * 8)
        buffer.insert(data, range(first))
        buffer.insert(data, range(first, first + second))
        assert buffer.num_samples == min(4, first + second)
