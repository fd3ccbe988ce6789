"""Batches with several views of the same samples."""

from __future__ import annotations

import random
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_streams import make_samples, make_stream
from torch import Tensor
from torch.utils.data import DataLoader

from cl_suite import registry
from cl_suite.avalanche import api, benchmark
from cl_suite.avalanche.loader import FileLoader, TensorLoader, _Views, batches, serves
from cl_suite.data.transforms import RandomAffine, ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.requirements import BatchLayout, requirements_of


class Items:
    """A data set that is no tensor: item `i` is `i` and some noise, with a task label behind."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return index + 0.5 * torch.rand(1), index, 9


def test_views_are_of_the_same_rows_by_draws_of_their_own() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    torch.manual_seed(0)
    loader = batches(data.eval(), 16, shuffle=True, layout=BatchLayout(views=3))
    assert isinstance(loader, TensorLoader)
    for first, labels, second, third in loader:  # without augmentation all views are equal
        assert first.equal(second)
        assert first.equal(third)
        assert len(labels) == len(first)
    first, _, second = next(
        iter(batches(data.train(), 16, shuffle=True, layout=BatchLayout(views=2)))
    )
    assert not first.equal(second)
    nearness = torch.cosine_similarity(first.flatten(1)[:, None], second.flatten(1)[None], dim=2)
    assert nearness.diagonal().mean() > nearness.mean()


def test_the_first_view_is_that_of_a_loader_of_one() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset.train()
    firsts = []
    for views in (1, 2):
        torch.manual_seed(0)
        layout = BatchLayout(views=views)
        firsts.append(next(iter(batches(data, 16, shuffle=True, layout=layout))))
    assert firsts[0][0].equal(firsts[1][0])
    assert firsts[0][1].equal(firsts[1][1])


@pytest.mark.parametrize("workers", [0, 1])
def test_views_of_items_that_are_no_tensors(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset: Any = Items()
    monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)
    loader = batches(dataset, 2, num_workers=workers, layout=BatchLayout(views=2))
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
    layout = BatchLayout(plain=True, rows=True)
    fast = batches(data.train(), 16, shuffle=True, layout=layout)
    assert isinstance(fast, TensorLoader)
    slow = FileLoader(data.train(), layout, batch_size=16)
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
    (batch,) = batches(joined, 10, layout=BatchLayout(plain=True, rows=True))
    expected = torch.cat([t(s.inputs) for s, t in zip(samples, transforms, strict=True)])
    assert batch[2].equal(expected[batch[3]])


@pytest.mark.parametrize("smallest", [1, 2, 3])
def test_a_last_batch_below_the_smallest_is_left_out(smallest: int) -> None:
    samples = make_samples([1], 10, seed=0)
    data = api.dataset(samples, ToFloat(), ToFloat(), range(10))
    layout = BatchLayout(smallest=smallest)
    for loader in (batches(data, 4, layout=layout), batches(Items(), 4, layout=layout)):
        sizes = [len(batch[0]) for batch in loader]
        assert len(loader) == len(sizes)
        assert min(sizes) >= smallest
        assert sizes[0] == 4
    assert len(batches(data, 4, layout=layout)) == (2 if smallest == 3 else 3)


def test_the_first_view_is_drawn_as_if_it_were_the_only_one() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    torch.manual_seed(0)
    alone = next(iter(batches(data, 100, shuffle=True)))[0]
    torch.manual_seed(0)
    layout = BatchLayout(views=2, plain=True, rows=True)
    several = next(iter(batches(data, 100, shuffle=True, layout=layout)))[0]
    assert alone.equal(several)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_loader_serves_who_asks_for_no_more_of_the_same_data(
    in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)
    data, other = (benchmark(make_stream()).train_stream[i].dataset for i in range(2))
    loader = batches(data, 16, layout=BatchLayout(plain=True, rows=True))
    assert isinstance(loader, TensorLoader) == in_memory
    assert serves(loader, data, BatchLayout(rows=True))
    assert serves(loader, data, BatchLayout())
    assert not serves(loader, data, BatchLayout(views=2, rows=True))
    assert not serves(loader, data, BatchLayout(rows=True, smallest=2))
    assert not serves(loader, other, BatchLayout(rows=True))


def test_a_loader_of_somebody_elses_serves_nobody() -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    assert not serves(DataLoader(data), data, BatchLayout())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("finetune", {}),
        ("er", {"buffer": 16}),
        ("cler", {"host": "er_ace"}),
        ("sycon", {"projector_dim": 16, "projection_dim": 8, "predictor_dim": 16}),
    ],
)
def test_a_sessions_loader_is_made_once(
    name: str, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, plugin = make_stream(), registry.get("strategy", name).load()(**parameters)
    info = stream.info
    model = build_classifier(ModelConfig(), info.input_shape, info.num_classes, plugin)
    recipe = TrainingConfig(base_epochs=1, incremental_epochs=1, batch_size=16)
    engine = Engine(stream, model, plugin, recipe, evaluation=EvaluationConfig(["knn"]))
    made: list[BatchLayout] = []

    def counting(*arguments: Any, **options: Any) -> Any:
        made.append(options.get("layout", BatchLayout()))
        return batches(*arguments, **options)

    for module in [m for n, m in sys.modules.items() if n.startswith("cl_suite.")]:
        if vars(module).get("batches") is batches:
            monkeypatch.setattr(module, "batches", counting)
    for session in range(3):
        made.clear()
        engine.train_session(session)
        assert made == [requirements_of(plugin).batch]


def passes(monkeypatch: pytest.MonkeyPatch, workers: int, *, shuffle: bool) -> list[list[Tensor]]:
    """Return two passes of random views, each as its batches' views side by side."""
    monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)
    torch.manual_seed(0)
    layout = BatchLayout(views=2)
    items: Any = Items()
    loader = batches(items, 2, shuffle=shuffle, num_workers=workers, layout=layout)
    return [[torch.cat([b[0], b[2]], 1) for b in loader] for _ in range(2)]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_draw(
    monkeypatch: pytest.MonkeyPatch, workers: int, shuffle: bool
) -> None:
    alone = passes(monkeypatch, 0, shuffle=shuffle)
    found = passes(monkeypatch, workers, shuffle=shuffle)
    for expected, own in zip(alone, found, strict=True):
        assert torch.cat(own).equal(torch.cat(expected))


class Drawing:
    """Item `i` is a draw of every global generator, of two kinds from each."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = [random.random(), random.gauss(), np.random.rand(), np.random.randn()]
        return torch.tensor([*drawn, torch.rand(1).item(), torch.randn(1).item()]), index

    def eval(self) -> Drawing:
        return self


def test_samples_of_a_batch_draw_as_each_does_alone_and_as_in_earlier_versions() -> None:
    views = _Views(Drawing(), BatchLayout(views=2, plain=True))
    views.seed = b"pass"
    (first, _, *others), _ = batch = views.__getitems__([3, 1])
    alone = [views[3], views[1]]
    for own, expected in zip(batch, alone, strict=True):
        assert own[1] == expected[1]
        assert all(own[i].equal(expected[i]) for i in (0, 2, 3))
    stored = [
        [0.9914500, 0.5237085, 0.8932071, -0.6670736, 0.6610235, 0.2868657],
        [0.6148030, -0.1366812, 0.7991357, 0.2500527, 0.5787489, -1.3642157],
        [0.9757995, 0.1996995, 0.5257513, -0.8946439, 0.5923418, 0.5046377],
    ]
    torch.testing.assert_close(torch.stack([first, *others]), torch.tensor(stored))


def test_the_global_generators_are_restored_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)
    items: Any = Items()
    restored: list[Any] = []
    monkeypatch.setattr("numpy.random.set_state", restored.append)
    list(batches(items, 2, layout=BatchLayout(views=3)))
    assert len(restored) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_passes_in_order_draw_anew(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    first, second = passes(monkeypatch, workers, shuffle=False)
    assert not torch.cat(first).equal(torch.cat(second))


def test_draws_by_sample_leave_the_global_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)
    items: Any = Items()
    loader = batches(items, 2)
    before = torch.get_rng_state()
    list(loader)
    assert torch.get_rng_state().equal(before)


def test_a_new_loader_repeats_a_shuffled_pass_from_the_same_random_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)
    items: Any = Items()
    loader = batches(items, 2, shuffle=True)
    list(loader)
    state = torch.get_rng_state()
    second = torch.cat([batch[0] for batch in loader])
    torch.set_rng_state(state)  # as a resumed run does
    again = torch.cat([batch[0] for batch in batches(items, 2, shuffle=True)])
    assert again.equal(second)


def test_warnings_of_our_own_avalanche_folder_are_shown() -> None:
    from avalanche.training import templates

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with api.quiet():
            for file, text in ((templates.__file__, "theirs"), (api.__file__, "ours")):
                warnings.warn_explicit(text, UserWarning, str(file), 1)
    assert [str(each.message) for each in found] == ["ours"]
