"""Batches with several views of the same samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_samples, make_stream
from torch import Tensor
from torch.utils.data import DataLoader

from cl_suite.avalanche import api, benchmark
from cl_suite.avalanche.loader import TensorLoader, _Views, batches
from cl_suite.data.transforms import RandomAffine, ToFloat


class Items:
    """A data set that is no tensor: item `i` is `i` and some noise, with a task label behind."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return index + 0.5 * torch.rand(1), index, 9


def test_views_are_of_the_same_rows_by_draws_of_their_own() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
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
    data = benchmark(make_stream()).train_stream[0].dataset.train()
    firsts = []
    for views in (1, 2):
        torch.manual_seed(0)
        firsts.append(next(iter(batches(data, 16, shuffle=True, views=views))))
    assert firsts[0][0].equal(firsts[1][0])
    assert firsts[0][1].equal(firsts[1][1])


@pytest.mark.parametrize("workers", [0, 1])
def test_views_of_items_that_are_no_tensors(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset: Any = Items()
    monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)
    loader = batches(dataset, 2, views=2, num_workers=workers)
    assert isinstance(loader, DataLoader)
    for first, labels, second, tasks in loader:
        assert first[:, 0].floor().equal(labels.float())
        assert second[:, 0].floor().equal(labels.float())
        assert not first.equal(second)
        assert tasks.eq(9).all()


def test_the_plain_view_and_the_places_come_last_whichever_way_batches_are_made() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    raw = torch.stack([data.eval()[i][0] for i in range(len(data))])
    labels = torch.tensor([int(data[i][1]) for i in range(len(data))])
    fast = batches(data.train(), 16, shuffle=True, plain=True, rows=True)
    assert isinstance(fast, TensorLoader)
    slow = DataLoader(
        _Views(data.train(), 1, True, True), batch_size=16, collate_fn=data.collate_fn
    )
    for loader in (fast, slow):
        seen = []
        for first, classes, plain, rows in loader:
            torch.testing.assert_close(plain, raw[rows])
            assert classes.equal(labels[rows])
            assert not first.equal(plain)
            seen += rows.tolist()
        assert sorted(seen) == list(range(len(data)))


def test_each_sample_of_joined_data_keeps_its_own_plain_transform() -> None:
    samples = make_samples([1], 3, seed=0), make_samples([2], 4, seed=1)
    transforms = ToFloat(), ToFloat((0.5,), (0.5,))
    joined = api.concatenate(
        [
            api.dataset(s, RandomAffine(), t, range(len(s)))
            for s, t in zip(samples, transforms, strict=True)
        ]
    )
    (batch,) = batches(joined, 10, plain=True, rows=True)
    expected = torch.cat([t(s.inputs) for s, t in zip(samples, transforms, strict=True)])
    assert batch[2].equal(expected[batch[3]])


@pytest.mark.parametrize("smallest", [1, 2, 3])
def test_a_last_batch_below_the_smallest_is_left_out(smallest: int) -> None:
    samples = make_samples([1], 10, seed=0)
    data = api.dataset(samples, ToFloat(), ToFloat(), range(10))
    for loader in (batches(data, 4, smallest=smallest), batches(Items(), 4, smallest=smallest)):
        sizes = [len(batch[0]) for batch in loader]
        assert len(loader) == len(sizes)
        assert min(sizes) >= smallest
        assert sizes[0] == 4
    assert len(batches(data, 4, smallest=smallest)) == (2 if smallest == 3 else 3)


def test_the_first_view_is_drawn_as_if_it_were_the_only_one() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    torch.manual_seed(0)
    alone = next(iter(batches(data, 100, shuffle=True)))[0]
    torch.manual_seed(0)
    several = next(iter(batches(data, 100, shuffle=True, views=2, plain=True, rows=True)))[0]
    assert alone.equal(several)
