"""Multistage loss: values worked by hand, groups, and batches of one group."""

from __future__ import annotations

import pytest
import torch
from helpers.contrast_inputs import Z1, Z2, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_suite.losses.mcl import extend_groups, group_batches, mcl_loss
from cl_suite.losses.nt_xent import nt_xent_loss

FEW = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("groups", "expected"), [([0, 0, 1, 1], 0.410027), ([5, 5, 5, 5], 1.385715)]
)
def test_values_worked_by_hand(groups: list[int], expected: float) -> None:
    value = mcl_loss(Z1, Z2, groups=torch.tensor(groups), temperature=0.5).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_it_is_the_mean_of_nt_xent_over_batches_of_one_group() -> None:
    z1, z2, state = draw()
    parts = [nt_xent_loss(z1[part], z2[part]).item() for part in (slice(0, 3), slice(3, 6))]
    value = mcl_loss(z1, z2, groups=state.groups).item()
    assert value == pytest.approx(sum(parts) / 2, rel=1e-12)


def test_a_sample_alone_in_its_group_is_left_out() -> None:
    z1 = Z1.clone().requires_grad_()
    value = mcl_loss(z1, Z2, groups=torch.tensor([0, 0, 1, 0]), temperature=0.5)
    value.backward()
    three = [0, 1, 3]
    expected = nt_xent_loss(Z1[three], Z2[three], temperature=0.5).item()
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert z1.grad is not None
    assert z1.grad[2].tolist() == [0, 0]


def test_only_lone_samples_give_zero_with_a_graph() -> None:
    z1 = Z1.clone().requires_grad_()
    value = mcl_loss(z1, Z2, groups=torch.arange(4))
    value.backward()
    assert value.item() == 0
    assert z1.grad is not None
    assert z1.grad.abs().max() == 0


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="groups of shape"):
        mcl_loss(Z1, Z2, groups=torch.zeros(3))


def test_a_group_is_the_tuple_of_the_clusters_so_far() -> None:
    first = extend_groups(None, torch.tensor([7, 7, 2, 2, 7]))
    second = extend_groups(first, torch.tensor([0, 1, 0, 1, 0]))
    third = extend_groups(second, torch.tensor([3, 3, 3, 3, 4]))
    assert first.tolist() == [1, 1, 0, 0, 1]
    assert second.tolist() == [2, 3, 0, 1, 2]
    assert third.tolist() == [2, 4, 0, 1, 3]


@FEW
@given(
    groups=st.lists(st.integers(0, 4), min_size=8, max_size=40),
    batch_size=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_batches_hold_one_group_and_no_sample_twice(
    groups: list[int], batch_size: int, seed: int
) -> None:
    batches = group_batches(
        torch.tensor(groups), batch_size, generator=torch.Generator().manual_seed(seed)
    )
    for batch in batches:
        assert len(batch) == batch_size
        assert len({groups[i] for i in batch.tolist()}) == 1
    drawn = [i for batch in batches for i in batch.tolist()]
    assert len(drawn) == len(set(drawn))
    assert len(batches) == sum(groups.count(g) // batch_size for g in range(5))


def test_batches_take_the_groups_in_turn() -> None:
    groups = torch.tensor([0] * 6 + [1] * 5 + [2] * 2)
    batches = group_batches(groups, 2, generator=torch.Generator().manual_seed(0))
    assert [int(groups[batch[0]]) for batch in batches] == [0, 1, 2, 0, 1, 0]


def test_the_generator_decides_the_batches() -> None:
    groups = torch.arange(60) % 2
    drawn = [
        torch.cat(group_batches(groups, 5, generator=torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    ]
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])


@pytest.mark.parametrize(
    ("batch_size", "message"), [(0, "batch_size must be at least 1"), (3, "no group fills")]
)
def test_batch_sizes_that_do_not_fit_are_refused(batch_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        group_batches(torch.tensor([0, 0, 1]), batch_size, generator=torch.Generator())
