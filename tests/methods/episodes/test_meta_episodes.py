"""Meta-episodes: the draw, and the resulting batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream

from cl_suite.avalanche import benchmark
from cl_suite.methods.episodes.meta_episodes import (
    EpisodePlan,
    MetaEpisode,
    draw_meta_episode,
    increments,
)
from cl_suite.methods.episodes.meta_learning import UnitNetwork, add_spare_units
from cl_suite.methods.episodes.meta_training import MetaEpisodeLoader, read_rows
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig

LABELS = torch.tensor([7, 2, 5, 0]).repeat_interleave(12)[torch.randperm(48)]


def draw(labels: torch.Tensor = LABELS, seed: int = 0, **settings: object) -> MetaEpisode:
    chosen = {"num_classes": 2, "shots": 5, "queries": 5, "with_others": True, **settings}
    return draw_meta_episode(labels, torch.Generator().manual_seed(seed), **chosen)  # type: ignore[arg-type]


def test_increments_of_the_paper() -> None:
    assert increments(20, 5, 5) == [5, 5, 5, 5]
    assert increments(13, 5, 5) == [5, 8]


@pytest.mark.parametrize(
    ("num_classes", "first", "way", "expected"),
    [(3, 5, 5, [3]), (6, 5, 5, [6]), (4, 1, 1, [1, 1, 1, 1]), (7, 3, 2, [3, 2, 2])],
)
def test_what_fills_no_stage_joins_the_last(
    num_classes: int, first: int, way: int, expected: list[int]
) -> None:
    assert increments(num_classes, first, way) == expected


def test_a_draw_is_a_pure_function_of_labels_and_generator() -> None:
    torch.manual_seed(1)
    first = draw()
    state = torch.random.get_rng_state()
    second = draw()
    assert torch.random.get_rng_state().equal(state)
    assert all(a.equal(b) for a, b in zip(vars(first).values(), vars(second).values(), strict=True))
    assert not draw(seed=1).support.equal(first.support)


def test_support_and_query_of_a_class_share_no_sample() -> None:
    for seed in range(20):
        found = draw(seed=seed)
        for class_id, support, query in zip(found.classes, found.support, found.query, strict=True):
            assert (LABELS[support] == class_id).all()
            assert (LABELS[query] == class_id).all()
            assert len(set(support.tolist()) | set(query.tolist())) == 10


def test_others_are_the_classes_that_were_not_drawn() -> None:
    found = draw()
    assert sorted([*found.classes.tolist(), *found.others.tolist()]) == [0, 2, 5, 7]
    assert LABELS[found.other_templates].equal(found.others)
    assert set(LABELS[found.other_query].tolist()) <= set(found.others.tolist())
    assert len(found.other_query) == 10
    assert not set(found.other_query.tolist()) & set(found.other_templates.tolist())
    assert len(draw(with_others=False).others) == 0


def test_any_class_may_take_any_unit() -> None:
    firsts = {int(draw(seed=seed).classes[0]) for seed in range(40)}
    assert firsts == {0, 2, 5, 7}


@pytest.mark.parametrize("per_class", [1, 2, 3, 9])
def test_classes_of_few_samples_fill_an_episode_too(per_class: int) -> None:
    labels = torch.arange(4).repeat_interleave(per_class)
    found = draw(labels)
    assert found.support.shape == found.query.shape == (2, 5)
    shared = set(found.support.flatten().tolist()) & set(found.query.flatten().tolist())
    assert bool(shared) == (per_class == 1)


def base_session() -> tuple[Any, Classifier]:
    """Return four base classes' data, and a network with their units and three spare ones."""
    stream = make_stream()
    data = benchmark(stream).train_stream[0].dataset.eval()
    model = build_classifier(ModelConfig(), stream.info.input_shape, 8)
    model.head.grow([0, 2, 5, 7])
    add_spare_units(model, 3)
    return data, model


def test_a_batch_names_the_units_of_its_samples() -> None:
    data, model = base_session()
    plan = EpisodePlan((1, 1), 2, 3, 1, 1, "end", with_others=True)
    network = UnitNetwork(model)
    loader = MetaEpisodeLoader(data, plan, network, num_batches=2, batch_size=4, num_spare=3)
    labels = torch.tensor(list(data.targets))
    episodes = [plan.draw(labels, torch.Generator().manual_seed(i)) for i in range(4)]
    query, classes, query_units, support, units, present = loader.batch(episodes)
    assert query.shape == (4 * 12, 1, 16, 16)
    assert support.shape == (4, 2 * 2 + 2, 1, 16, 16)
    assert present.shape == (4, 2, 4 + 3)
    for number, episode in enumerate(episodes):
        own = classes.unflatten(0, (4, 12))[number]
        assert own.equal(labels[torch.cat([episode.query.flatten(), episode.other_query])])
        known = model.head.index(episode.others.tolist())
        assert units[number].tolist() == [4, 4, 5, 5, *known.tolist()]
        assert query_units[number, :6].tolist() == [4, 4, 4, 5, 5, 5]
        assert query_units[number, 6:].equal(model.head.index(own[6:].tolist()))
        # classes drawn are absent under their own units, and come stage by stage
        assert present[number, 0].nonzero().flatten().tolist() == sorted([*known.tolist(), 4])
        assert present[number, 1].nonzero().flatten().tolist() == sorted([*known.tolist(), 4, 5])
        assert support[number, 0].equal(data[int(episode.support[0, 0])][0])
    assert len(list(loader)) == len(loader) == 2


def test_mixed_units_belong_to_any_stage_and_samples_follow_them() -> None:
    data, model = base_session()
    plan = EpisodePlan((1, 2), 2, 3, 1, 1, "end", with_others=True, mixed_units=True)
    loader = MetaEpisodeLoader(
        data, plan, UnitNetwork(model), num_batches=1, batch_size=1, num_spare=3
    )
    labels, first = torch.tensor(list(data.targets)), set()
    for seed in range(12):
        episode = plan.draw(labels, torch.Generator().manual_seed(seed))
        a, b, c = (4 + episode.places).tolist()
        _, _, query_units, _, units, present = loader.batch([episode])
        assert sorted([a, b, c]) == [4, 5, 6]
        assert units[0, :6].tolist() == [a, a, b, b, c, c]
        assert query_units[0, :9].tolist() == [a] * 3 + [b] * 3 + [c] * 3
        assert present[0, 0, 4:].nonzero().flatten().tolist() == [a - 4]
        assert present[0, 1, 4:].all()
        first.add(a)
    assert first == {4, 5, 6}


def test_the_full_softmax_covers_units_to_come_but_no_others() -> None:
    plan = EpisodePlan((1, 1), 2, 3, 1, 1, "none", full_softmax=True)
    present = plan.present(torch.empty(0, dtype=torch.long), torch.arange(2), 4, 3)
    assert present.tolist() == [[False] * 4 + [True, True, False]] * 2


def test_rows_are_read_in_the_order_asked_for_also_from_joined_data() -> None:
    stream = make_stream()
    first, second = (benchmark(stream).train_stream[i].dataset.eval() for i in (0, 1))
    data = first.concat(second)
    rows = torch.tensor([50, 3, 48, 3, 0])
    found = read_rows(data, rows)
    assert all(x.equal(data[int(row)][0]) for x, row in zip(found, rows, strict=True))
