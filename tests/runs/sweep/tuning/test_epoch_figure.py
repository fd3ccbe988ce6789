"""The figure in the middle of a base session: class means on all fake sessions."""

from __future__ import annotations

import pytest
import torch
from helpers.guarded_scenario import Guarded

from cl_suite.data.stream import Stream
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.modes import evaluating
from cl_suite.models.settings import ModelConfig
from cl_suite.runs.base_classes import Cut, cut_base
from cl_suite.runs.sweep.tuning.epoch_figure import ClassMeanFigure


@pytest.fixture
def stream() -> Stream:
    return cut_base(Guarded().build(), Cut(new_classes=0.5))


@pytest.fixture
def model(stream: Stream) -> Classifier:
    torch.manual_seed(0)
    info = stream.info
    return build_classifier(ModelConfig(), info.input_shape, info.num_classes, None)


def naive(stream: Stream, model: Classifier) -> list[float]:
    """Return average, last and harmonic accuracy of the nearest class mean, class by class."""
    prepare = stream.info.eval_transform

    def feature(image: torch.Tensor) -> torch.Tensor:
        with evaluating(model), torch.no_grad():
            found = model.features(prepare(image)[None])[0].double()
        return found / found.norm()

    means: dict[int, torch.Tensor] = {}
    accuracies = []
    rates: dict[int, float] = {}
    for session, classes in enumerate(stream.info.session_classes):
        for c in classes:
            own = [feature(x) for x, label in _pairs(stream.train[session]) if label == c]
            means[c] = torch.stack(own).mean(0)
        rates = {}
        for test in stream.test[: session + 1]:
            for c in set(test.targets):
                hits = [
                    max(means, key=lambda k: float(torch.cosine_similarity(f, means[k], dim=0)))
                    == c
                    for f in (feature(x) for x, label in _pairs(test) if label == c)
                ]
                rates[c] = sum(hits) / len(hits)
        accuracies.append(sum(rates.values()) / len(rates))
    base_classes = stream.info.session_classes[0]
    base = sum(rates[c] for c in base_classes) / len(base_classes)
    new = [rate for c, rate in rates.items() if c not in base_classes]
    of_new = sum(new) / len(new)
    harmonic = 2 * base * of_new / (base + of_new)
    return [sum(accuracies) / len(accuracies), accuracies[-1], harmonic]


def _pairs(samples: object) -> list[tuple[torch.Tensor, int]]:
    return [samples[i] for i in range(len(samples))]  # type: ignore[index, arg-type]


def test_it_is_the_accuracy_of_the_nearest_class_mean(stream: Stream, model: Classifier) -> None:
    found = ClassMeanFigure(stream, model, 16, "cpu")()
    assert found == pytest.approx(naive(stream, model), abs=1e-6)


def test_it_follows_the_network(stream: Stream, model: Classifier) -> None:
    figure = ClassMeanFigure(stream, model, 16, "cpu")
    before = figure()
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.copy_(torch.randn_like(parameter))
    assert figure() != before
    assert figure() == pytest.approx(naive(stream, model), abs=1e-6)


def test_it_leaves_the_run_as_it_is(stream: Stream, model: Classifier) -> None:
    model.train()
    state, random = [t.clone() for t in model.state_dict().values()], torch.get_rng_state()
    ClassMeanFigure(stream, model, 16, "cpu")()
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(map(torch.equal, state, model.state_dict().values()))
