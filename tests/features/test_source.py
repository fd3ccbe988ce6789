"""The feature source: features are computed once while the backbone is unchanged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_streams import make_stream
from torch import Tensor, nn

from cl_suite.avalanche import api, benchmark
from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.features.source import FeatureSource, Part, session_features, session_stats
from cl_suite.features.stats import class_stats, unit
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import StrategyPlugin, Template
from cl_suite.randomness import seed_everything

STREAM = make_stream()


class Counting(Classifier):
    """Counts the images that go through its backbone."""

    images = 0

    def features(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return super().features(x)


def counting_model() -> Counting:
    seed_everything(0)
    model = build_classifier(ModelConfig(), (1, 16, 16), 8)
    return Counting(model.backbone, model.head)


def session_data(session: int, part: Part) -> Any:
    """Return the samples that a source asks for, with the evaluation transform in force."""
    samples = (STREAM.train if part == "train" else STREAM.test)[session]
    plain = STREAM.info.eval_transform
    return api.dataset(samples, plain, plain, range(len(samples)))


def source_of(model: nn.Module, **options: Any) -> FeatureSource:
    return FeatureSource(model, session_data, **{"batch_size": 16, **options})


def move(model: Classifier) -> None:
    """Change one number of the backbone, as training would."""
    with torch.no_grad():
        next(model.backbone.parameters()).view(-1)[0] += 1.0


@torch.no_grad()
def computed_anew(model: Classifier, session: int, part: Part = "train") -> tuple[Tensor, Tensor]:
    samples = (STREAM.train if part == "train" else STREAM.test)[session]
    inputs = STREAM.info.eval_transform(samples.inputs)  # type: ignore[attr-defined]
    return model.eval().features(inputs), torch.tensor(samples.targets)


# --- computed once ---


def test_features_are_those_of_eval_mode_and_the_evaluation_transform() -> None:
    model = counting_model()
    for session in range(3):
        for part in ("train", "test"):
            features, labels = source_of(model.train()).features(session, part)
            expected, targets = computed_anew(model, session, part)
            torch.testing.assert_close(features, expected)
            assert labels.equal(targets)
            assert not features.requires_grad


def test_the_mode_of_the_network_is_left_as_it_was() -> None:
    model = counting_model()
    for mode in (True, False):
        model.train(mode)
        source_of(model).features(1)
        assert all(module.training is mode for module in model.modules())


def test_every_image_passes_once_whoever_asks_and_for_whatever() -> None:
    model = counting_model()
    source = source_of(model)
    assert model.images == 0
    source.features(0)
    assert model.images == 48
    source.features(0)
    source.stats(0)
    source.stats(0, normalize=True, kind="full")
    source.batches([0])
    assert model.images == 48
    source.features(0, "test")
    assert model.images == 48 + 20
    source.batches(range(3))
    assert model.images == 48 + 20 + 6 + 6


def test_a_batch_never_spans_sessions() -> None:
    source = source_of(counting_model())
    sizes = [[len(labels) for _, labels in part] for part in source.batches(range(3))]
    assert sizes == [[16, 16, 16], [6], [6]]


def test_a_session_without_samples_has_no_batch() -> None:
    source = FeatureSource(
        counting_model(), lambda session, part: session_data(0, part).subset([]), batch_size=4
    )
    assert source.batches([0]) == [[]]


# --- forgotten when the backbone changes ---


def test_another_backbone_makes_other_features() -> None:
    model = counting_model()
    source = source_of(model)
    before, _ = source.features(0)
    stats = source.stats(0)
    move(model)
    model.images = 0
    after, _ = source.features(0)
    assert model.images == 48
    assert not after.equal(before)
    torch.testing.assert_close(after, computed_anew(model, 0)[0])
    assert not source.stats(0).mean.equal(stats.mean)


def test_statistics_of_batchnorm_belong_to_the_backbone() -> None:
    model = counting_model()
    source = source_of(model)
    source.features(0)
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).running_mean += 1  # type: ignore[operator]
    model.images = 0
    source.features(0)
    assert model.images == 48


def test_the_head_has_no_part_in_features() -> None:
    model = counting_model()
    source = source_of(model)
    source.features(0)
    model.head.grow([1, 2])
    with torch.no_grad():
        model.head.weight += 1
    model.images = 0
    source.features(0)
    assert model.images == 0


def test_a_backbone_that_comes_back_is_computed_again() -> None:
    model = counting_model()
    source, state = (
        source_of(model),
        {k: v.clone() for k, v in counting_model().state_dict().items()},
    )
    before, _ = source.features(1)
    move(model)
    source.features(0)
    model.load_state_dict(state)
    model.images = 0
    again, _ = source.features(1)
    assert model.images == 6
    assert again.equal(before)


def test_any_part_of_a_foreign_network_makes_its_features() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 5), nn.ReLU(), nn.Linear(5, 8))
    passes: list[int] = []
    network.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    source = source_of(network)
    features, _ = source.features(1)
    source.stats(1)
    assert features.shape == (6, 5)
    assert passes == [6]
    with torch.no_grad():
        network[3].weight += 1  # type: ignore[operator]
    source.features(1)
    assert passes == [6, 6]


# --- statistics ---


@pytest.mark.parametrize("kind", ["none", "diagonal", "full"])
@pytest.mark.parametrize("normalize", [False, True])
def test_statistics_are_those_of_the_features(normalize: bool, kind: Any) -> None:
    source = source_of(counting_model())
    found = source.stats(0, normalize=normalize, kind=kind)
    features, labels = source.features(0)
    expected = class_stats(unit(features) if normalize else features, labels, kind=kind)
    assert found.classes == expected.classes
    assert found.mean.equal(expected.mean)
    assert found.kind == expected.kind
    if kind != "none":
        assert found.covariance.equal(expected.covariance)


def test_only_plain_statistics_that_somebody_asked_for_are_known() -> None:
    source = source_of(counting_model())
    source.features(0)
    source.stats(0, normalize=True)
    source.stats(0, kind="full")
    assert source.known_stats(0) is None
    plain = source.stats(0)
    assert source.known_stats(0) is plain
    assert source.known_stats(1) is None


def test_statistics_are_forgotten_with_the_backbone() -> None:
    model = counting_model()
    source = source_of(model)
    source.stats(0)
    move(model)
    assert source.known_stats(0) is None


def test_statistics_from_elsewhere_need_no_pass() -> None:
    given = source_of(counting_model()).stats(0)
    model = counting_model()
    source = source_of(model)
    source.put_stats(0, given)
    assert source.known_stats(0) is given
    assert source.stats(0) is given
    assert model.images == 0


def test_statistics_from_elsewhere_are_those_of_the_backbone_of_then() -> None:
    model = counting_model()
    source = source_of(model)
    given = source.stats(0)
    move(model)
    source.put_stats(1, given)  # the source has not looked at the new backbone before
    assert source.known_stats(1) is given
    assert source.known_stats(0) is None
    move(model)
    assert source.known_stats(1) is None


# --- from another source ---


def test_features_are_taken_over_from_a_source_of_an_equal_backbone() -> None:
    theirs = source_of(counting_model())
    given, _ = theirs.features(0)
    model = counting_model()
    ours = source_of(model)
    ours.take_over(theirs, 0)
    assert ours.features(0)[0].equal(given)
    assert model.images == 0
    ours.features(1)
    assert model.images == 6


def test_features_of_another_backbone_are_not_taken_over() -> None:
    other = counting_model()
    theirs = source_of(other)
    theirs.features(0)
    model = counting_model()
    move(model)
    ours = source_of(model)
    ours.take_over(theirs, 0)
    ours.features(0)
    assert model.images == 48


def test_of_what_another_source_has_not_computed_nothing_is_taken_over() -> None:
    theirs = source_of(counting_model())
    theirs.features(0, "test")
    theirs.features(1)
    model = counting_model()
    ours = source_of(model)
    ours.take_over(theirs, 0)
    ours.features(0)
    ours.features(0, "test")
    assert model.images == 48 + 20


# --- who asks in a callback ---


class Asking(StrategyPlugin):
    """Asks for features and statistics several times at the end of a session."""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.features, self.labels = session_features(template)
        self.stats = session_stats(template)
        self.spread = session_stats(template, normalize=True, kind="diagonal")


def test_in_the_suite_one_pass_serves_all_who_ask() -> None:
    model, plugin = counting_model(), Asking()
    engine = Engine(STREAM, model, plugin, TrainingConfig(base_epochs=0, incremental_epochs=0))
    engine.train_session(0)
    assert model.images == 48
    expected, targets = computed_anew(model, 0)
    torch.testing.assert_close(plugin.features, expected)
    assert plugin.labels.equal(targets)
    assert plugin.stats.mean.equal(class_stats(plugin.features, plugin.labels).mean)
    engine.train_session(1)
    assert sorted(set(plugin.labels.tolist())) == [1, 6]


def test_in_a_program_of_ones_own_each_call_is_a_pass_with_the_same_outcome() -> None:
    model, plugin = counting_model(), Asking()
    template = api.SupervisedTemplate(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=0,
        eval_mb_size=16,
        plugins=[plugin],
        evaluator=api.silent_evaluator(),
    )
    template.train(benchmark(STREAM).train_stream[0])
    assert model.images == 3 * 48
    torch.testing.assert_close(plugin.features, computed_anew(model, 0)[0])
