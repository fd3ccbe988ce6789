"""SimpleCIL: class means of frozen features, raw or centred."""

from __future__ import annotations

import pytest
import torch
from helpers.feature_streams import features_of, make_feature_stream, trained
from helpers.tiny_streams import make_stream

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.simple_cil import SimpleCILPlugin


def test_rows_are_class_means() -> None:
    stream = make_feature_stream()
    head = trained(SimpleCILPlugin(), stream).model.head
    features, labels = features_of(stream, 1)
    for c in (12, 13):
        torch.testing.assert_close(head.rows([c])[0], features[labels == c].mean(0).float())


@pytest.mark.parametrize("normalize", [False, True])
def test_centring_subtracts_the_base_mean_from_rows_and_queries(normalize: bool) -> None:
    stream = make_feature_stream(signed=False)
    engine = trained(SimpleCILPlugin(centre=True, normalize_features=normalize), stream)
    unit = torch.nn.functional.normalize

    def seen(features: torch.Tensor) -> torch.Tensor:
        return unit(features) if normalize else features

    centre = seen(features_of(stream, 0)[0]).mean(0)
    rows = []
    for session in range(4):
        features, labels = features_of(stream, session)
        rows += [seen(features[labels == c]).mean(0) - centre for c in labels.unique()]
    queries = torch.rand(5, 16, dtype=torch.float64)
    expected = 16 * unit(seen(queries) - centre) @ unit(torch.stack(rows)).T
    torch.testing.assert_close(engine.model.head(queries.float()), expected.float())


def test_nothing_is_trained_whatever_the_recipe_says() -> None:
    stream = make_stream()
    torch.manual_seed(0)
    plugin = SimpleCILPlugin()
    model = build_classifier(ModelConfig(), stream.info.input_shape, 8, plugin)
    engine = Engine(stream, model, plugin, TrainingConfig(base_epochs=2, incremental_epochs=2))
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    for session in range(3):
        engine.train_session(session)
    assert all(v.equal(before[k]) for k, v in model.backbone.state_dict().items())
