"""Common parts of rehearsal methods: union of the data, buffer, teacher, and a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.data.stream import Stream
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.features.stats import extract
from cl_suite.methods.replay.rehearsal import RehearsalPlugin, frozen_copy
from cl_suite.methods.replay.selection import ordered
from cl_suite.models.classifier import build_classifier
from cl_suite.models.features import FeatureTap, classifier_of
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.storage import checkpoint


class TaughtPlugin(RehearsalPlugin):
    """Stays near its teacher's features on samples of earlier classes."""

    needs_teacher = True

    def before_forward(self, template: Any, **kwargs: Any) -> None:
        self._tap = FeatureTap(template.model)

    def after_forward(self, template: Any, **kwargs: Any) -> None:
        self._tap.end()

    def before_backward(self, template: Any, **kwargs: Any) -> None:
        teacher = self.teacher(template)
        old = self.is_old(template.mb_y)
        if teacher is not None and old.any():
            with torch.no_grad():
                target = teacher.features(template.mb_x[old])  # type: ignore[operator]
            template.loss += (self._tap.features[old] - target).square().mean()


def engine_with(plugin: RehearsalPlugin, stream: Stream | None = None, **training: Any) -> Engine:
    seed_everything(0)
    stream = stream or make_stream()
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    recipe = {"base_epochs": 2, "incremental_epochs": 2, "batch_size": 16, "lr": 0.02}
    return Engine(stream, model, plugin, TrainingConfig(**{**recipe, **training}))


def train(engine: Engine, start: int = 0, end: int = 3) -> Engine:
    for session in range(start, end):
        engine.train_session(session)
    return engine


def test_a_session_trains_on_its_data_and_what_was_kept() -> None:
    # 12 images of each of 4 classes, then 3 of each of 2; quotas 16 // 4 and 16 // 6
    plugin = RehearsalPlugin(buffer=16, replay="union")
    engine, samples = engine_with(plugin, incremental_epochs=1), []
    engine.on_epoch = lambda record: samples.append(record.num_samples)
    train(engine)
    assert samples == [48, 48, 6 + 16, 6 + 12]
    assert engine.kept_data()[0] == 8 * 2


def test_new_and_kept_samples_are_shuffled_together() -> None:
    class Spy(RehearsalPlugin):
        orders: list[list[int]] = []  # noqa: RUF012

        def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
            self.orders.append(template.mb_y.tolist())

    train(engine_with(Spy(buffer=24, replay="union"), batch_size=10), end=2)
    # the last two epochs: 6 new samples and 24 kept, 3 batches of 10
    epochs = Spy.orders[-6:-3], Spy.orders[-3:]
    for batches in epochs:
        assert sorted(c for batch in batches for c in batch) == sorted(
            [0, 2, 5, 7] * 6 + [6, 1] * 3
        )
    assert epochs[0] != epochs[1]
    mixed = [batch for batch in Spy.orders[-6:] if {6, 1} & set(batch) and set(batch) - {6, 1}]
    assert len(mixed) >= 4


def test_old_classes_are_those_of_earlier_sessions() -> None:
    class Spy(RehearsalPlugin):
        seen: list[list[int]] = []  # noqa: RUF012

        def before_training_exp(self, template: Any, **kwargs: Any) -> None:
            super().before_training_exp(template, **kwargs)
            self.seen.append(list(self.old_classes))

    plugin = Spy(buffer=16)
    train(engine_with(plugin))
    assert Spy.seen == [[], [0, 2, 5, 7], [0, 2, 5, 7, 1, 6]]
    assert plugin.is_old(torch.tensor([3, 9, 1])).tolist() == [True, False, True]
    assert RehearsalPlugin().is_old(torch.tensor([0])).tolist() == [False]


def test_what_is_kept_is_counted_in_samples_and_bytes() -> None:
    plugin = RehearsalPlugin(buffer=16)
    assert plugin.kept_data() == (0, 0)
    engine = train(engine_with(plugin), end=1)
    assert plugin.buffer_ is not None
    payload = plugin.buffer_.state_dict()["exemplars"]["payload"]
    assert engine.kept_data() == plugin.kept_data() == (16, len(payload))


@pytest.mark.parametrize("selection", ["closest", "herding"])
def test_samples_are_chosen_by_the_network_as_the_session_left_it(selection: Any) -> None:
    plugin = RehearsalPlugin(buffer=12, selection=selection)
    engine = train(engine_with(plugin), end=1)
    data, samples = engine.data.session(0).eval(), engine.stream.train[0]
    with evaluating(engine.model):
        inputs = torch.stack([data[i][0] for i in range(len(data))])
        features, labels = extract(engine.model.features, [[inputs, torch.tensor(samples.targets)]])
    assert plugin.buffer_ is not None
    kept, targets, _ = plugin.buffer_.exemplars.batch(range(12), "eval")
    assert targets.tolist() == [c for c in (0, 2, 5, 7) for _ in range(3)]
    for place, class_id in enumerate((0, 2, 5, 7)):
        rows = torch.nonzero(labels == class_id)[:, 0]
        expected = inputs[rows[ordered(features[rows], selection, 3)]]
        assert kept[3 * place : 3 * place + 3].equal(expected)


def test_the_teacher_is_the_network_at_the_end_of_the_last_session() -> None:
    plugin = TaughtPlugin(buffer=16)
    engine = engine_with(plugin)
    assert plugin.teacher(engine.template) is None
    train(engine, end=1)
    before = {k: v.clone() for k, v in engine.model.state_dict().items()}
    teacher = plugin.teacher(engine.template)
    assert teacher is not None
    assert not any(part.training for part in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    engine.on_batch = lambda *_: [  # type: ignore[func-returns-value]
        check_same(plugin.teacher(engine.template), before)
    ][0]
    engine.train_session(1)
    assert not engine.model.state_dict()["head.weight"][:4].equal(before["head.weight"])
    check_same(plugin.teacher(engine.template), dict(engine.model.state_dict()))


def check_same(teacher: nn.Module | None, expected: dict[str, Tensor]) -> None:
    assert teacher is not None
    found = teacher.state_dict()
    assert all(found[name].equal(tensor) for name, tensor in expected.items())


def test_without_need_no_teacher_is_kept() -> None:
    plugin = RehearsalPlugin(buffer=16)
    engine = train(engine_with(plugin), end=2)
    assert plugin.teacher(engine.template) is None
    assert plugin.teacher_ == {}


def test_a_frozen_copy_shares_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    twin = frozen_copy(model)
    assert all(p.requires_grad for p in model.parameters())
    assert model.training
    assert not twin.training
    with torch.no_grad():
        model[0].weight.zero_()  # type: ignore[operator]
    assert twin.state_dict()["0.weight"].abs().sum() > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: TaughtPlugin(buffer=20, selection="herding"),
        lambda: TaughtPlugin(buffer="6kB", selection="random"),
        lambda: RehearsalPlugin(buffer="30%", selection="closest", fixed_classes=8),
    ],
)
def test_it_goes_on_after_any_epoch_bit_for_bit(
    make: Callable[[], RehearsalPlugin], tmp_path: Path
) -> None:
    def comparable(engine: Engine) -> tuple[dict[str, Tensor], dict[str, Any]]:
        kept = engine.plugin.buffer_.state_dict()["exemplars"]
        state = {k: v.clone() for k, v in engine.model.state_dict().items()}
        return state, {k: kept[k] for k in ("payload", "targets")}

    engine, saved = engine_with(make()), []

    def save(session: int) -> None:
        path = tmp_path / f"{len(saved)}"
        checkpoint.save(path, engine.state_dict())
        saved.append((path, session))

    engine.on_epoch = lambda record: save(record.session)
    for session in range(3):
        engine.train_session(session)
        save(session + 1)
    expected = comparable(engine)
    assert len(saved) == 9
    for path, session in saved:
        resumed = engine_with(make())
        torch.rand(5)
        resumed.load_state_dict(checkpoint.load(path))
        assert resumed.kept_data() == (0, 0) or session > 0
        found = comparable(train(resumed, session))
        for there, here in zip(expected, found, strict=True):
            assert all(here[name].equal(there[name]) for name in there), path.name


def test_too_small_a_buffer_is_refused_before_its_session_is_trained() -> None:
    engine = train(engine_with(RehearsalPlugin(buffer=5)), end=1)
    before = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
    with pytest.raises(UserError, match=r"buffer 5 is 5 samples: less than one .* 6 classes"):
        engine.train_session(1)
    assert all(v.equal(before[k]) for k, v in engine.model.backbone.state_dict().items())


def test_a_stream_that_is_too_long_for_the_buffer_is_refused_before_any_training() -> None:
    info = make_stream().info
    RehearsalPlugin(buffer=8).check_stream(info, [48, 6, 6])
    with pytest.raises(UserError, match=r"buffer 7 is 7 samples: less than one .* 8 classes"):
        RehearsalPlugin(buffer=7).check_stream(info, [48, 6, 6])
    with pytest.raises(UserError, match="fixed_classes is 7, but 8 classes"):
        RehearsalPlugin(buffer=50, fixed_classes=7).check_stream(info, [48, 6, 6])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"buffer": "many"}, "buffer 'many' is not a budget"),
        ({"selection": "best"}, "selection must be one of random, closest, herding, got 'best'"),
        ({"fixed_classes": 0}, "fixed_classes must be at least 1"),
    ],
)
def test_bad_parameters_are_refused_when_the_plugin_is_made(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        RehearsalPlugin(**{"buffer": 16, **parameters})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_tap_tells_features_and_precision_of_the_templates_pass(precision: Any) -> None:
    class Spy(TaughtPlugin):
        kinds: set[Any] = set()  # noqa: RUF012

        def before_backward(self, template: Any, **kwargs: Any) -> None:
            super().before_backward(template, **kwargs)
            with self._tap.autocast:
                again = template.model.head(self._tap.features)
            assert again.equal(template.mb_output)
            self.kinds.add(torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype)
            with self._tap.autocast:
                self.kinds.add(torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype)

    Spy.kinds = set()
    engine = train(engine_with(Spy(buffer=16), precision=precision), end=2)
    assert Spy.kinds == {torch.float32, getattr(torch, precision)}
    assert not engine.model.head._forward_pre_hooks


def test_a_network_without_linear_layer_has_no_classifier_to_watch() -> None:
    with pytest.raises(ValueError, match="Conv2d has no linear layer"):
        classifier_of(nn.Conv2d(1, 1, 1))
