"""Measures of a run: classifier, probes, and streams whose classes recur."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.confusions import evaluate_sessions
from helpers.tiny_streams import make_samples, make_stream

from cl_suite.data.samples import UNLABELLED, TensorSamples
from cl_suite.data.stream import Stream, build_stream
from cl_suite.data.transforms import ToFloat
from cl_suite.engine.engine import Engine
from cl_suite.engine.evaluation import Predictions
from cl_suite.engine.evaluation_config import EvaluationConfig
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.features.source import FeatureSource
from cl_suite.metrics.accuracy_matrix import accuracy_matrix
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.plugin import Requirements, StrategyPlugin, Template
from cl_suite.randomness import seed_everything
from cl_suite.runs.folder import RunFolder
from cl_suite.runs.measure_log import MeasureLog
from cl_suite.strategies.prototype import PrototypePlugin


class Blind(StrategyPlugin):
    """Learns nothing, without labels, and notes what it is shown."""

    requirements = Requirements(classifier=False, labels=False)

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        self.seen |= set(template.mb_y.tolist())
        template.loss = template.model.features(template.mb_x).square().mean()

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        experience = template.experience
        self.seen |= experience.classes_in_this_experience | experience.previous_classes
        self.seen |= set(experience.class_names) | set(experience.dataset.targets)


def engine(
    stream: Stream, plugin: Any, evaluation: EvaluationConfig | None = None, **recipe: Any
) -> Engine:
    seed_everything(0)
    info = stream.info
    model = build_classifier(ModelConfig(), info.input_shape, info.num_classes, plugin)
    training = TrainingConfig(**{"base_epochs": 1, "incremental_epochs": 1, "lr": 1e-3, **recipe})
    return Engine(stream, model, plugin, training, evaluation=evaluation)


def domains(unlabelled: int = 0) -> Stream:
    """Two sessions of the same three classes, the second one inverted."""
    sets = [
        [make_samples([0, 1, 2], n, seed=seed + i) for i in range(2)]
        for n, seed in ((6, 0), (4, 10))
    ]
    for pair in sets:
        pair[1] = TensorSamples(255 - pair[1].inputs, pair[1].targets)
    train, test = sets
    train[1].targets[:unlabelled] = [UNLABELLED] * unlabelled
    return build_stream(
        name="inverted",
        class_names=["a", "b", "c"],
        session_classes=[[0, 1, 2], [0, 1, 2]],
        train=train,
        test=test,
        train_transform=ToFloat(),
        eval_transform=ToFloat(),
        kind="domain",
    )


def test_a_strategy_that_needs_no_labels_sees_none_and_gets_no_rows() -> None:
    plugin, stream = Blind(), make_stream()
    run = engine(stream, plugin)
    for session in range(3):
        run.train_session(session)
    assert plugin.seen == {UNLABELLED}
    assert run.model.head.classes == []
    # the stream keeps its labels, and a probe measures by them
    assert UNLABELLED not in stream.train[0].targets
    assert run.measure == "linear"
    confusion = run.evaluate(2)
    assert confusion.sum() == 5 * 8
    assert confusion.diagonal().sum() > 20


@pytest.mark.parametrize("name", ["linear", "knn"])
def test_a_probe_of_sessions_so_far_predicts_none_of_the_classes_to_come(name: str) -> None:
    stream = make_stream()
    run = engine(stream, Blind())
    run.train_session(0)
    confusion = evaluate_sessions(run, 0, name)
    assert len(confusion) == 1
    seen = list(stream.info.seen_classes(0))
    assert confusion[0][:, seen].sum() == confusion[0].sum() == 20


def test_a_probe_of_all_sessions_may_predict_any_class() -> None:
    stream = make_stream()
    run = engine(stream, Blind(), EvaluationConfig(["linear"], sessions="all"))
    fitted = run.measuring._fitted(0, "linear")
    assert fitted.classes.tolist() == list(range(8))  # type: ignore[attr-defined]


def test_where_the_session_is_told_only_its_classes_are_predicted() -> None:
    stream = make_stream()
    run = engine(stream, StrategyPlugin(), EvaluationConfig(task_known=True))
    for session in range(3):
        run.train_session(session)
    for classes, confusion in zip(
        stream.info.session_classes, evaluate_sessions(run, 2, "classifier"), strict=True
    ):
        assert confusion[:, list(classes)].sum() == confusion.sum() == 5 * len(classes)


class Longer(StrategyPlugin):
    """Adds two epochs to the base session, and notes the learning rate of each."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []

    def extra_epochs(self, session: int) -> int:
        return 2 if session == 0 else 0

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        self.rates.append(template.optimizer.param_groups[0]["lr"])


def test_a_strategys_own_epochs_come_behind_the_recipes_and_outside_its_schedule() -> None:
    plugin = Longer()
    run = engine(make_stream(), plugin, lr=0.1, base_epochs=2, schedule="cosine")
    run.train_session(0)
    assert run.state.epochs_done == 4
    assert plugin.rates == pytest.approx([0.1, 0.05, 0.1, 0.1])
    run.train_session(1)
    assert len(plugin.rates) == 5
    other = engine(make_stream(), Longer(), base_epochs=2)
    other.context.start = run.artefact
    other.train_session(0)
    assert other.state.epochs_done == 2  # the base session is another's, its own epochs are not


class Reading(StrategyPlugin):
    """Notes the class statistics that come along, after `epochs` of its own."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self.given: Any = None

    def extra_epochs(self, session: int) -> int:
        return self.epochs

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        source: FeatureSource = template.feature_source  # type: ignore[attr-defined]  # the engine's
        self.given = source.known_stats(0)


@pytest.mark.parametrize("epochs", [0, 1])
def test_another_runs_statistics_are_not_those_of_a_network_that_trained_on(epochs: int) -> None:
    run = engine(make_stream(), PrototypePlugin())
    run.train_session(0)
    assert run.artefact is not None
    assert run.artefact.stats is not None
    plugin = Reading(epochs)
    other = engine(make_stream(), plugin)
    other.context.start = run.artefact
    other.train_session(0)
    assert (plugin.given is run.artefact.stats) == (epochs == 0)


def test_probes_read_no_test_label_and_do_not_move_the_random_numbers() -> None:
    stream = make_stream()
    wrong = tuple(TensorSamples(s.inputs, [0] * len(s)) for s in stream.test)  # type: ignore[attr-defined]
    predicted = []
    for tested in (stream, dataclasses.replace(stream, test=wrong)):
        run = engine(tested, Blind())
        before = torch.get_rng_state()
        predicted.append(sum(m.sum(0) for m in evaluate_sessions(run, 2, "linear")))
        assert torch.get_rng_state().equal(before)
    assert predicted[0].equal(predicted[1])


def test_probes_pass_over_samples_without_label() -> None:
    run = engine(domains(unlabelled=6), Blind())
    assert sum(m.sum() for m in evaluate_sessions(run, 1, "knn")) == 24


@pytest.mark.parametrize("name", ["linear", "knn"])
def test_samples_without_label_leave_a_probe_as_if_they_were_not_there(name: str) -> None:
    stream = domains(unlabelled=6)  # all of one class in its second domain
    second = stream.train[1]
    labelled = [row for row, target in enumerate(second.targets) if target != UNLABELLED]
    without = dataclasses.replace(stream, train=(stream.train[0], second.select(labelled)))
    fitted = [engine(each, Blind()).measuring._fitted(1, name) for each in (stream, without)]
    assert [probe.classes.tolist() for probe in fitted] == [[0, 1, 2]] * 2  # type: ignore[attr-defined]
    queries = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    assert fitted[0](queries).equal(fitted[1](queries))


def test_each_domain_has_its_column_in_the_accuracy_matrix(tmp_path: Path) -> None:
    stream = domains()
    recipe = {"base_epochs": 8, "incremental_epochs": 8, "incremental_batchnorm": "train"}
    run = engine(stream, StrategyPlugin(), lr=0.05, batch_size=6, incremental_lr=0.05, **recipe)
    log = MeasureLog(RunFolder(tmp_path), stream)
    for session in range(2):
        run.train_session(session)
        found = run.predictions(session, run.measure)
        assert len(found) == session + 1
        log.add(session, found, train=0.0, eval=0.0)
    assert run.model.head.classes == [0, 1, 2]
    matrix, num_images = accuracy_matrix(log.hits)
    assert num_images.tolist() == [12, 12]
    for session in range(2):
        assert matrix[1, session] == int(found[session].hits().sum()) / 12
    assert matrix[1, 1] > 0.9  # the domain that was taught last
    assert np.isnan(matrix[0, 1])
    assert log.records[1].seen_classes == 3
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[1])["session"] == 1


def test_a_stream_of_new_classes_has_a_column_a_class(tmp_path: Path) -> None:
    stream = make_stream()
    log = MeasureLog(RunFolder(tmp_path), stream)
    assert log.counts.tolist() == [5] * 8
    assert log.session_of_column.tolist() == [0, 1, 0, 2, 2, 0, 1, 0]
    run = engine(stream, StrategyPlugin())
    run.train_session(0)
    log.add(0, run.predictions(0, "classifier"), train=0.0, eval=0.0)
    assert log.hits.hits[0].tolist() == run.evaluate(0).diagonal().tolist()


def test_which_way_classes_are_mistaken(tmp_path: Path) -> None:
    stream = make_stream()  # sessions of classes 0 2 5 7, then 1 6, then 3 4
    log = MeasureLog(RunFolder(tmp_path), stream)
    log.add(0, [of([0, 2, 5, 7], [0, 2, 5, 2])], train=0.0, eval=0.0)
    log.add(1, [of([0, 2, 5, 7], [1, 2, 5, 2]), of([1, 6], [0, 1])], train=0.0, eval=0.0)
    first, second = log.records
    assert (first.new_as_base, first.base_as_new) == (None, None)
    assert (second.new_as_base, second.base_as_new) == (0.5, 0.25)
    again = domains()
    log = MeasureLog(RunFolder(tmp_path / "domains"), again)
    for session in range(2):
        log.add(session, [of([0, 1, 2], [0, 2, 1], 3)] * (session + 1), train=0.0, eval=0.0)
    assert log.records[1].new_as_base is None


def of(labels: list[int], predicted: list[int], num_classes: int = 8) -> Predictions:
    return Predictions(torch.tensor(labels), torch.tensor(predicted), num_classes)


def test_a_log_survives_a_stop(tmp_path: Path) -> None:
    stream = domains()
    log, other = (MeasureLog(RunFolder(tmp_path / name), stream) for name in "ab")
    right = Predictions(torch.arange(3), torch.arange(3), 3)
    log.add(0, [right], train=1.0, eval=2.0)
    other.load_entries(log.entries(0))
    for each in (log, other):
        each.add(1, [right] * 2, train=1.0, eval=2.0)
    assert (log.hits.hits == other.hits.hits).all()
    assert log.records == other.records


def test_classes_come_again_only_in_streams_that_say_so() -> None:
    stream = domains()
    with pytest.raises(UserError, match="class 0 comes twice"):
        build_stream(
            name="twice",
            class_names=["a", "b", "c"],
            session_classes=stream.info.session_classes,
            train=stream.train,
            test=stream.test,
            train_transform=ToFloat(),
            eval_transform=ToFloat(),
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probes": ["knn", "knn"]}, "lists one twice"),
        ({"neighbours": 0}, "at least 1, got 0"),
        ({"temperature": 0.0}, "above 0, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EvaluationConfig(**settings)
