"""Fake sessions: the draw as a pure function, and the loader's batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_samples
from torch import Tensor

from cl_suite.avalanche import api
from cl_suite.data.transforms import ToFloat
from cl_suite.methods.episodes.fake_sessions import (
    FakeSession,
    FakeSessionLoader,
    draw_fake_session,
)

LABELS = torch.arange(12).repeat(9)  # 12 classes of 9 images, mixed


def draw(labels: Tensor = LABELS, seed: int = 0, **settings: Any) -> FakeSession:
    chosen = {"way": 3, "shot": 2, "num_queries": 20, "num_tasks": 4, **settings}
    return draw_fake_session(labels, torch.Generator().manual_seed(seed), **chosen)


def test_support_holds_images_of_one_class_a_row_twice_way_classes() -> None:
    session = draw()
    classes = LABELS[session.support]
    assert session.support.shape == (6, 2)
    assert (classes == classes[:, :1]).all()
    assert len(classes[:, 0].unique()) == 6
    assert len(session.support.unique()) == 12


def test_queries_are_distinct_and_none_of_the_support() -> None:
    for seed in range(20):
        rows = draw(seed=seed).rows
        assert len(rows) == len(rows.unique()) == 12 + 20


def test_queries_are_of_old_and_of_new_classes() -> None:
    session = draw(num_queries=90)
    assert len(LABELS[session.query].unique()) == 12


def test_a_task_orders_all_classes_and_its_new_ones_come_last_from_the_pool() -> None:
    session = draw()
    assert session.order.sort(dim=1).values.equal(torch.arange(12).expand(4, 12))
    pool = LABELS[session.support[:, 0]]
    assert torch.isin(session.order[:, -3:], pool).all()


def test_tasks_of_a_step_differ_in_who_plays_a_new_class() -> None:
    new = {tuple(sorted(task)) for task in draw().order[:, -3:].tolist()}
    assert len(new) > 1


def test_every_class_plays_a_new_one_about_as_often() -> None:
    new = torch.cat([draw(seed=seed).order[:, -3:].flatten() for seed in range(300)])
    assert torch.bincount(new, minlength=12).float().std() / 300 < 0.15


def test_the_same_generator_gives_the_same_draws_and_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    one, other = draw(seed=3), draw(seed=3)
    assert torch.get_rng_state().equal(before)
    assert one.rows.equal(other.rows)
    assert one.order.equal(other.order)
    assert not draw(seed=4).rows.equal(one.rows)


def test_a_class_with_fewer_images_lends_some_of_them_twice() -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    session = draw(labels, way=1, shot=3, num_queries=9)
    support = {int(labels[row[0]]): row.tolist() for row in session.support}
    assert support[1] == [5, 5, 5]
    assert len(set(support[0])) == 3


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 1, 2], [0, 0, 1, 1, 1]])
def test_all_fake_sessions_have_as_many_images(labels: list[int]) -> None:
    sizes = {
        tuple(x.shape for x in (session.support, session.query, session.order))
        for seed in range(20)
        for session in [draw(torch.tensor(labels), seed, way=max(1, len(set(labels)) // 2))]
    }
    assert len(sizes) == 1


def make_loader(parts: int = 1) -> tuple[FakeSessionLoader, Tensor, Tensor]:
    """Return a loader, and the images and class ids of its data in order."""
    sets = [make_samples([7, 2, 5, 0], per_class=4, seed=seed) for seed in range(parts)]
    data = api.concatenate([api.dataset(s, ToFloat(), ToFloat(), range(len(s))) for s in sets])
    images = ToFloat()(torch.cat([s.inputs for s in sets]))
    class_ids = torch.tensor([c for s in sets for c in s.targets])

    def draw_one(labels: Tensor) -> FakeSession:
        return draw_fake_session(labels, way=2, shot=2, num_queries=5, num_tasks=3)

    return FakeSessionLoader(data, draw_one, num_steps=6), images, class_ids


@pytest.mark.parametrize("parts", [1, 3])
def test_a_batch_has_the_images_of_its_session_support_first(parts: int) -> None:
    loader, images, class_ids = make_loader(parts)
    drawn: list[FakeSession] = []
    draw_one = loader.draw
    loader.draw = lambda labels: drawn.append(draw_one(labels)) or drawn[-1]  # type: ignore[func-returns-value]
    found = list(loader)
    assert len(found) == len(drawn) == len(loader) == 6
    for session, (x, y, order) in zip(drawn, found, strict=True):
        assert x.equal(images[session.rows])
        assert y.equal(class_ids[session.rows])
        assert order.equal(session.order)


def test_class_ids_are_numbered_in_ascending_order() -> None:
    loader, _, class_ids = make_loader()
    assert loader.class_ids.tolist() == [0, 2, 5, 7]
    assert loader.class_ids[loader.labels].equal(class_ids)


def test_each_epoch_draws_anew_from_the_global_generator() -> None:
    loader, _, _ = make_loader()
    torch.manual_seed(0)
    first, second = (torch.cat([y for _, y, _ in loader]) for _ in range(2))
    torch.manual_seed(0)
    again = torch.cat([y for _, y, _ in loader])
    assert again.equal(first)
    assert not second.equal(first)
