"""Batches with several views of the same samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_streams import make_stream
from torch import Tensor
from torch.utils.data import DataLoader

from cl_suite.data.loader import TensorLoader, batches


class Items:
    """A data set that is no tensor: item `i` is `i` and some noise, with a task label behind."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return index + 0.5 * torch.rand(1), index, 9


def test_views_are_of_the_same_rows_by_draws_of_their_own() -> None:
    data = make_stream().benchmark.train_stream[0].dataset
    torch.manual_seed(0)
    loader = batches(data.eval(), 16, shuffle=True, views=3)
    assert isinstance(loader, TensorLoader)
    for first, labels, second, third in loader:  # without augmentation all views are equal
        assert first.equal(second)
        assert first.equal(third)
        assert len(labels) == len(first)
    first, _, second = next(iter(batches(data.train(), 16, shuffle=True, views=2)))
    assert not first.equal(second)
    nearness = torch.cosine_similarity(first.flatten(1)[:, None], second.flatten(1)[None], dim=2)
    assert nearness.diagonal().mean() > nearness.mean()


def test_the_first_view_is_that_of_a_loader_of_one() -> None:
    data = make_stream().benchmark.train_stream[0].dataset.train()
    firsts = []
    for views in (1, 2):
        torch.manual_seed(0)
        firsts.append(next(iter(batches(data, 16, shuffle=True, views=views))))
    assert firsts[0][0].equal(firsts[1][0])
    assert firsts[0][1].equal(firsts[1][1])


@pytest.mark.parametrize("workers", [0, 1])
def test_views_of_items_that_are_no_tensors(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset: Any = Items()
    monkeypatch.setattr("cl_suite.avalanche_api.resolve", lambda data: None)
    loader = batches(dataset, 2, views=2, num_workers=workers)
    assert isinstance(loader, DataLoader)
    for first, labels, second, tasks in loader:
        assert first[:, 0].floor().equal(labels.float())
        assert second[:, 0].floor().equal(labels.float())
        assert not first.equal(second)
        assert tasks.eq(9).all()
