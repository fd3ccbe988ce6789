"""The engine: evaluation in one pass, batches from tensors, statistics computed once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.confusions import confusion_matrix
from helpers.tiny_streams import make_samples, make_stream
from torch import Tensor

from cl_suite.avalanche import api
from cl_suite.avalanche.loader import TensorLoader, batches
from cl_suite.data.transforms import ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import random_state, seed_everything, seeded, set_random_state
from cl_suite.strategies.finetune import FinetunePlugin
from cl_suite.strategies.prototype import PrototypePlugin


class CountingClassifier(Classifier):
    """Counts the images that go through its backbone."""

    images = 0

    def features(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return super().features(x)


def counting_engine(plugin: Any, **recipe: Any) -> tuple[Engine, CountingClassifier]:
    stream = make_stream()
    seed_everything(0)
    model = build_classifier(ModelConfig(), stream.info.input_shape, stream.info.num_classes)
    counting = CountingClassifier(model.backbone, model.head)
    return Engine(stream, counting, plugin, TrainingConfig(batch_size=16, **recipe)), counting


def test_evaluation_passes_each_test_image_once_while_the_backbone_stays() -> None:
    engine, model = counting_engine(FinetunePlugin(), base_epochs=0, incremental_epochs=0)
    for session in range(3):
        engine.train_session(session)
    for session, images in enumerate((20, 10, 10)):
        model.images = 0
        engine.evaluate(session)
        assert model.images == images


def test_evaluation_passes_every_test_image_again_once_the_backbone_has_changed() -> None:
    engine, model = counting_engine(FinetunePlugin(), base_epochs=0, incremental_epochs=0)
    engine.train_session(0)
    before = engine.evaluate(0)
    with torch.no_grad():
        model.backbone.body[0][1].running_mean += 5.0  # type: ignore[index]
    model.images = 0
    after = engine.evaluate(0)
    assert model.images == 20
    fresh, changed = counting_engine(FinetunePlugin(), base_epochs=0, incremental_epochs=0)
    fresh.train_session(0)
    changed.load_state_dict(model.state_dict())
    assert fresh.evaluate(0).equal(after)
    assert before.sum() == after.sum()


def test_nothing_is_trained_where_the_backbone_is_frozen_and_the_rows_are_rewritten() -> None:
    stream = make_stream()
    for plugin, epochs in ((PrototypePlugin(), 0), (FinetunePlugin(), 3)):
        model = build_classifier(ModelConfig(frozen=True), stream.info.input_shape, 8)
        engine = Engine(stream, model, plugin, TrainingConfig(base_epochs=3))
        assert engine.num_epochs(0) == epochs


def test_a_prototype_session_passes_each_image_once_and_takes_no_step() -> None:
    engine, model = counting_engine(PrototypePlugin(), base_epochs=1, incremental_epochs=0)
    engine.train_session(0)
    assert model.images == 48 + 48  # one epoch, one pass for the means
    model.images = 0
    engine.train_session(1)
    assert model.images == 6


def test_a_base_session_from_another_run_needs_no_pass_at_all() -> None:
    first, _ = counting_engine(PrototypePlugin(), base_epochs=1, incremental_epochs=0)
    first.train_session(0)
    engine, model = counting_engine(PrototypePlugin(), base_epochs=1, incremental_epochs=0)
    started = Engine(engine.stream, model, engine.plugin, engine.training, start=first.artefact)
    started.train_session(0)
    assert model.images == 0
    assert started.evaluate(0).equal(first.evaluate(0))


def test_confusion_counts_by_hand() -> None:
    def shift(x: Tensor) -> Tensor:
        return (x + 1) % 3

    found = confusion_matrix(shift, [[torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2])]], 3)
    assert found.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_confusion_does_not_depend_on_the_batches() -> None:
    stream, model = make_stream(), build_classifier(ModelConfig(), (1, 16, 16), 8)
    model.head.grow(range(8))
    samples = stream.test[0]
    data = api.dataset(samples, ToFloat(), ToFloat(), range(len(samples)))

    @torch.no_grad()
    def predict(images: Tensor) -> Tensor:
        return model.eval()(images).argmax(dim=1)

    found = [confusion_matrix(predict, batches(data, size), 8) for size in (1, 7, 100)]
    assert found[0].equal(found[1])
    assert found[0].equal(found[2])


def test_batches_from_tensors_equal_those_of_a_data_loader() -> None:
    samples = [make_samples([1, 2], 4, seed=0), make_samples([3], 5, seed=1)]
    parts = [api.dataset(s, ToFloat(), ToFloat(), range(len(s))) for s in samples]
    data = api.concatenate([parts[0].subset([3, 0, 5]), parts[1]])
    loader = batches(data, 3)
    assert isinstance(loader, TensorLoader)
    for (images, labels), expected in zip(
        loader, torch.utils.data.DataLoader(data, batch_size=3), strict=True
    ):
        assert images.equal(expected[0])
        assert labels.equal(expected[1])


def test_shuffled_batches_hold_every_sample_once() -> None:
    samples = make_samples(list(range(5)), 4, seed=0)
    data = api.dataset(samples, ToFloat(), ToFloat(), range(20))
    seed_everything(3)
    labels = torch.cat([batch[1] for batch in batches(data, 6, shuffle=True)])
    assert sorted(labels.tolist()) == sorted(samples.targets)
    assert labels.tolist() != samples.targets


def test_an_unshuffled_pass_draws_no_random_number() -> None:
    class Opaque(torch.utils.data.Dataset[Any]):
        targets = [0, 1]  # noqa: RUF012

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(1), index

    before = torch.get_rng_state()
    assert len(list(batches(Opaque(), 1))) == 2
    assert torch.get_rng_state().equal(before)


def test_random_states_come_back() -> None:
    import random

    import numpy as np

    seed_everything(5)
    state = random_state()

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    first = draw()
    set_random_state(state)
    assert draw() == first


def test_seeded_leaves_the_generators_as_they_were() -> None:
    before = torch.get_rng_state()
    with seeded(1):
        one = torch.rand(3)
    with seeded(1):
        assert torch.rand(3).equal(one)
    assert torch.get_rng_state().equal(before)


def test_a_foreign_data_set_has_no_sample_ids() -> None:
    from avalanche.benchmarks.utils import AvalancheDataset

    with pytest.raises(ValueError, match="sample_id"):
        api.sample_ids(AvalancheDataset([make_samples([0], 1, seed=0)]))
