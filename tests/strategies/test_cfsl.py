"""Tuning on support sets: the batch of a step, what is remembered, and the case of no steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.scenarios.cfsl import CFSL
from cl_suite.strategies.cfsl import CFSLPlugin


class Noting(CFSLPlugin):
    """Notes the class ids of every batch as it goes into the network."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.batches: list[tuple[int, list[int]]] = []
        self.inputs: list[Tensor] = []

    def before_forward(self, template: Any, **kwargs: Any) -> None:
        super().before_forward(template, **kwargs)
        labels = template.mb_y.tolist()
        assert len(template.mb_x) == len(labels)
        self.batches.append((template.experience.current_experience, labels))
        self.inputs.append(template.mb_x.clone())


def engine_with(
    plugin: CFSLPlugin, *, epochs: int = 2, lr: float = 0.01, **parameters: Any
) -> Engine:
    seed_everything(0)
    stream = CFSL(**{"class_change": 1, **parameters}).build()
    model = build_classifier(
        ModelConfig(head="linear"), stream.info.input_shape, stream.info.num_classes, plugin
    )
    recipe = TrainingConfig(
        base_epochs=epochs,
        incremental_epochs=epochs,
        batch_size=512,
        lr=lr,
        incremental_lr=None,
        momentum=0,
        weight_decay=0,
        schedule="constant",
        base_batchnorm="eval",
    )
    return Engine(stream, model, plugin, recipe)


@pytest.mark.parametrize(
    ("replayed", "sizes"), [(10, [5, 10, 15, 15]), (20, [5, 10, 15, 15]), (7, [5, 10, 12, 12])]
)
def test_a_step_sees_the_set_and_images_of_the_last_two(replayed: int, sizes: list[int]) -> None:
    plugin = Noting(memory_sets=2, replayed=replayed)
    engine = engine_with(plugin)
    for session in range(4):
        engine.train_session(session)
    assert [len(labels) for _, labels in plugin.batches] == [n for n in sizes for _ in range(2)]
    for session, labels in plugin.batches:
        own = set(engine.stream.info.session_classes[session])
        assert set(labels[:5]) == own
        earlier = {c for c in engine.stream.info.seen_classes(session) if c not in own}
        assert set(labels[5:]) <= earlier


def test_the_memory_is_a_queue_of_sets() -> None:
    plugin = CFSLPlugin(memory_sets=2)
    engine = engine_with(plugin)
    kept = []
    for session in range(4):
        engine.train_session(session)
        kept.append(sorted(set(plugin.memory_.targets)))
    assert kept == [
        list(range(5)),
        list(range(10)),
        list(range(5, 15)),
        list(range(10, 20)),
    ]
    assert plugin.kept_data()[0] == 10


def test_what_is_replayed_is_drawn_anew_in_each_step_without_replacement() -> None:
    plugin = Noting(memory_sets=2, replayed=5)
    engine = engine_with(plugin, epochs=6)
    for session in range(3):
        engine.train_session(session)
    drawn = [labels[5:] for session, labels in plugin.batches if session == 2]
    assert all(len(set(labels)) == 5 for labels in drawn)  # one image a class here
    assert len({tuple(labels) for labels in drawn}) > 1


def test_without_memory_nothing_is_kept_or_replayed() -> None:
    plugin = Noting(memory_sets=0)
    engine = engine_with(plugin)
    for session in range(3):
        engine.train_session(session)
    assert plugin.kept_data() == (0, 0)
    assert {len(labels) for _, labels in plugin.batches} == {5}


def test_no_step_leaves_a_random_head_at_chance() -> None:
    hits = total = 0
    for task in range(12):
        engine = engine_with(CFSLPlugin(memory_sets=0), epochs=0, task=task)
        for session in range(4):
            engine.train_session(session)
        confusion = engine.evaluate(3)
        hits, total = hits + int(confusion.diagonal().sum()), total + int(confusion.sum())
    assert total == 12 * 100
    assert abs(hits / total - 1 / 20) < 0.03


def support_accuracy(engine: Engine, session: int) -> float:
    data = engine.data.session(session).eval()
    with evaluating(engine.model), torch.no_grad():
        x = torch.stack([data[i][0] for i in range(len(data))])
        found = engine.model(x).argmax(1)
    return float(
        (found == torch.tensor([int(data[i][1]) for i in range(len(data))])).float().mean()
    )


def test_overwritten_labels_forget_the_earlier_groups() -> None:
    engine = engine_with(
        CFSLPlugin(memory_sets=0), epochs=90, lr=0.05, support_sets=3, overwrite=True
    )
    rows = []
    for session in range(3):
        engine.train_session(session)
        rows.append([support_accuracy(engine, s) for s in range(session + 1)])
    assert [row[-1] for row in rows] == [1, 1, 1]
    # the labels now mean other classes
    assert max(rows[2][:2]) < 0.7


def test_the_statistics_of_batchnorm_stay_those_of_the_pretraining() -> None:
    engine = engine_with(CFSLPlugin())
    before = {k: v.clone() for k, v in engine.model.state_dict().items() if "running" in k}
    for session in range(2):
        engine.train_session(session)
    assert all(engine.model.state_dict()[k].equal(v) for k, v in before.items())
    assert before


def test_a_saved_memory_comes_back_whole() -> None:
    plugin = CFSLPlugin(memory_sets=2)
    engine = engine_with(plugin)
    for session in range(3):
        engine.train_session(session)
    twin = CFSLPlugin(memory_sets=2)
    twin.load_state_dict(plugin.state_dict())
    assert twin.set_sizes_ == plugin.set_sizes_ == [5, 5]
    twin.memory_.bind(engine.data.session(0))
    for mine, theirs in zip(
        plugin.memory_.batch(range(10)), twin.memory_.batch(range(10)), strict=True
    ):
        if isinstance(mine, Tensor):
            assert isinstance(theirs, Tensor)
            assert mine.equal(theirs)
