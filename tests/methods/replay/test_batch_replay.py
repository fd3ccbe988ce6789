"""Kept samples that join each batch: its rows, the one pass, the mean loss, a stop, workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.avalanche import api, benchmark
from cl_suite.avalanche.loader import FileLoader, batches
from cl_suite.avalanche.memory import Memory
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.replay.buffer import QuotaBuffer
from cl_suite.methods.replay.rehearsal import RehearsalPlugin
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import BatchLayout, Requirements, StrategyPlugin, rows_of
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint
from cl_suite.strategies.cler import CLERPlugin
from cl_suite.strategies.er import ERPlugin

ROWS = Requirements(batch=BatchLayout(rows=True))
FORMS: list[dict[str, Any]] = [
    {"memory": memory, "replay": replay}
    for memory in ("class_balanced", "reservoir")
    for replay in ("batch", "union")
]


class Spy(RehearsalPlugin):
    """Notes the rows and class ids of each step by session, and checks pass and loss."""

    requirements = ROWS

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**{"buffer": 16, **parameters})
        self.steps: list[list[tuple[list[int], list[int]]]] = []
        self.num_passes = 0

    def before_training_exp(self, template: Any, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        self.steps.append([])

    def before_forward(self, template: Any, **kwargs: Any) -> None:
        self.num_passes = 0
        self.handle = template.model.backbone.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.num_passes += 1

    def after_backward(self, template: Any, **kwargs: Any) -> None:
        self.handle.remove()
        assert self.num_passes == 1
        expected = F.cross_entropy(template.mb_output, template.mb_y)
        torch.testing.assert_close(template.loss.squeeze(), expected)
        rows = rows_of(template, self).tolist()
        assert [int(template.adapted_dataset.targets[row]) for row in rows] == (
            template.mb_y.tolist()
        )
        self.steps[-1].append((rows, template.mb_y.tolist()))


def engine_with(plugin: StrategyPlugin, batch_size: int = 4, epochs: int = 2) -> Engine:
    seed_everything(0)
    stream = make_stream()
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = TrainingConfig(
        base_epochs=epochs, incremental_epochs=epochs, batch_size=batch_size, lr=0.02
    )
    return Engine(stream, model, plugin, recipe)


def train(engine: Engine, start: int = 0, end: int = 3) -> Engine:
    for session in range(start, end):
        engine.train_session(session)
    return engine


def test_each_batch_is_a_slice_of_the_session_and_a_draw_from_the_memory() -> None:
    plugin = Spy(replay_batch=5)
    train(engine_with(plugin))
    # 12 images of each of 4 classes; then sessions of 6 images, in batches of 4 and of 2
    assert [len(rows) for rows, _ in plugin.steps[0]] == [4] * 24
    for steps in plugin.steps[1:]:
        assert [len(rows) for rows, _ in steps] == [9, 7, 9, 7]
        for first, second in (steps[:2], steps[2:]):
            own = [*first[0][:4], *second[0][:2]]
            assert sorted(own) == list(range(6))
            for joined in (first[0][4:], second[0][2:]):
                assert len(set(joined)) == 5
                assert min(joined) >= 6
        assert len({tuple(rows[-5:]) for rows, _ in steps}) == 4


def test_as_many_join_as_a_batch_has_unless_fewer_are_kept() -> None:
    plugin = Spy()
    train(engine_with(plugin, batch_size=4), end=2)
    assert [len(rows) for rows, _ in plugin.steps[1]] == [8, 6, 8, 6]
    plugin = Spy()
    train(engine_with(plugin, batch_size=24), end=2)
    assert [len(rows) for rows, _ in plugin.steps[1]] == [6 + 16] * 2


def test_the_union_is_shuffled_with_all_that_was_kept() -> None:
    plugin = Spy(replay="union")
    train(engine_with(plugin, batch_size=10), end=2)
    epoch = [row for rows, _ in plugin.steps[1][:3] for row in rows]
    assert sorted(epoch) == list(range(6 + 16))


def test_a_reservoir_joins_from_the_first_step_at_which_it_holds_something() -> None:
    plugin = Spy(memory="reservoir", buffer=8)
    train(engine_with(plugin, batch_size=4))
    sizes = [len(rows) for rows, _ in plugin.steps[0]]
    assert sizes == [4, *[8] * 23]
    seen: set[int] = set()
    for rows, _ in plugin.steps[0][:12]:  # the first epoch: only samples that have passed
        own, joined = rows[:4], rows[4:]
        assert set(joined) <= seen
        seen |= set(own)
    # later its samples of earlier sessions lie behind the session's own
    assert any(row >= 6 for rows, _ in plugin.steps[1] for row in rows)


@pytest.mark.parametrize("replay", ["batch", "union"])
@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_a_reservoir_is_offered_each_sample_once(replay: Any, epochs: int) -> None:
    plugin = RehearsalPlugin(buffer=200, memory="reservoir", replay=replay)
    engine = train(engine_with(plugin, epochs=epochs))
    assert plugin.buffer_.num_seen == plugin.buffer_.num_samples == 48 + 6 + 6
    kept = sorted(plugin.buffer_.exemplars.targets)
    assert kept == sorted(c for samples in engine.stream.train for c in samples.targets)
    held = {inputs.numpy().tobytes() for inputs in plugin.buffer_.exemplars.batch(range(60))[0]}
    assert len(held) == 60


def test_a_reservoir_is_uniform_over_the_stream() -> None:
    shares = []
    for seed in range(60):
        plugin = RehearsalPlugin(buffer=12, memory="reservoir")
        engine = engine_with(plugin, batch_size=16, epochs=1)
        torch.manual_seed(seed)
        train(engine, end=2)
        shares.append(sum(c in (6, 1) for c in plugin.buffer_.exemplars.targets) / 12)
    # 6 of 54 samples are of the second session; 720 draws
    assert sum(shares) / len(shares) == pytest.approx(6 / 54, abs=0.04)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_it_goes_on_after_any_epoch_bit_for_bit(form: dict[str, Any], tmp_path: Path) -> None:
    def make() -> RehearsalPlugin:
        return RehearsalPlugin(buffer=12, **form)

    engine = engine_with(make())
    saved: list[tuple[Path, int]] = []

    def save(session: int) -> None:
        path = tmp_path / f"{len(saved)}"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, session))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected = engine.model.state_dict()
    kept = engine.plugin.buffer_.state_dict()["exemplars"]
    for path, session in saved:
        resumed = engine_with(make())
        torch.rand(5)
        resumed.load_state_dict(checkpoint.load(path))
        found = train(resumed, session).model.state_dict()
        assert all(found[name].equal(value) for name, value in expected.items()), path.name
        again = resumed.plugin.buffer_.state_dict()["exemplars"]
        assert again["payload"].equal(kept["payload"]), path.name


def test_batches_from_files_are_the_same_with_any_number_of_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = benchmark(make_stream()).train_stream[0].dataset
    monkeypatch.setattr("cl_suite.avalanche.internals.resolve", lambda data: None)

    def passes(workers: int) -> list[list[Tensor]]:
        torch.manual_seed(3)

        def plan(parts: Any) -> list[Tensor]:
            return [40 + torch.randperm(8)[:5] for _ in parts]

        loader = batches(
            data,
            16,
            shuffle=True,
            num_workers=workers,
            layout=BatchLayout(rows=True),
            memory=Memory(40, plan),
        )
        assert isinstance(loader, FileLoader)
        assert len(loader) == 3
        return [batch for _ in range(2) for batch in loader]

    alone, helped = passes(0), passes(2)
    assert [len(batch[0]) for batch in alone] == [21, 21, 13] * 2
    for ours, theirs in zip(alone, helped, strict=True):
        assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
    # a kept sample that joins two batches is augmented anew
    views: dict[int, list[Tensor]] = {}
    for inputs, _, rows in alone[:3]:
        for view, row in zip(inputs, rows.tolist(), strict=True):
            views.setdefault(row, []).append(view)
    twice = [found for found in views.values() if len(found) > 1]
    assert twice
    assert not any(a.equal(b) for a, b, *_ in twice)


@pytest.mark.parametrize("memory", ["class_balanced", "reservoir"])
def test_a_bare_template_trains_on_joined_batches(memory: Any) -> None:
    class Sizes(ERPlugin):
        found: list[int] = []  # noqa: RUF012

        def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
            self.found.append(len(template.mb_y))

    Sizes.found = []
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 8))
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=4,
        train_epochs=1,
        plugins=[Sizes(buffer=16, memory=memory, replay_batch=3)],
        evaluator=api.silent_evaluator(),
    )
    for experience in benchmark(make_stream()).train_stream:
        template.train(experience)
    first = [4] * 12 if memory == "class_balanced" else [4, *[7] * 11]
    assert Sizes.found == [*first, 7, 5, 7, 5]


def test_a_wrappers_batches_are_joined_too_with_all_that_it_asks_for() -> None:
    sizes: list[int] = []

    class Wrapper(CLERPlugin):
        def before_backward(self, template: Any, **kwargs: Any) -> None:
            sizes.append(len(template.mb_y))
            assert template.dataloader.layout.plain
            super().before_backward(template, **kwargs)

    for bare in (False, True):
        sizes.clear()
        torch.manual_seed(0)
        wrapper = Wrapper(host=ERPlugin(buffer=16, replay_batch=3), pretext="rotation")
        if not bare:
            train(engine_with(wrapper, epochs=1), end=2)
        else:
            info = make_stream().info
            model = build_classifier(ModelConfig(), info.input_shape, info.num_classes)
            template = api.SupervisedTemplate(
                model=model,
                optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
                criterion=torch.nn.CrossEntropyLoss(),
                train_mb_size=4,
                train_epochs=1,
                plugins=[wrapper],
                evaluator=api.silent_evaluator(),
            )
            for experience in list(benchmark(make_stream()).train_stream)[:2]:
                template.train(experience)
        assert sizes == [*[4] * 12, 7, 5]


def test_a_single_last_sample_is_no_batch_of_one() -> None:
    plugin = Spy()
    engine = engine_with(plugin, batch_size=5, epochs=1)
    train(engine, end=2)
    assert [len(rows) for rows, _ in plugin.steps[1]] == [10, 6]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"replay": "union", "replay_batch": 5}, "replay_batch.*counts the samples that join"),
        ({"memory": "reservoir", "selection": "herding"}, "a reservoir chooses at random"),
        ({"memory": "reservoir", "fixed_classes": 8}, "a reservoir chooses at random"),
        ({"memory": "reservoir", "buffer": "1%"}, "not a number of samples"),
        ({"replay": "both"}, "replay must be one of batch, union"),
        ({"memory": "ring"}, "memory must be one of class_balanced, reservoir"),
        ({"replay_batch": 0}, "replay_batch must be at least 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        RehearsalPlugin(**{"buffer": 16, **parameters})


class Union(StrategyPlugin):
    """The union and nothing else, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = QuotaBuffer(16)

    def after_train_dataset_adaptation(self, template: Any, **kwargs: Any) -> None:
        if self.kept.num_samples:
            exemplars = self.kept.exemplars.dataset().train()
            template.adapted_dataset = api.joined(template.adapted_dataset, exemplars)

    def after_training_exp(self, template: Any, **kwargs: Any) -> None:
        self.kept.update(template.experience.dataset)


def test_the_union_is_training_on_both_to_the_bit() -> None:
    expected = train(engine_with(Union())).model.state_dict()
    plugin = RehearsalPlugin(buffer=16, replay="union")
    found = train(engine_with(plugin)).model.state_dict()
    assert all(found[name].equal(value) for name, value in expected.items())
