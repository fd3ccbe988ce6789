"""Prototypical networks: the similarities by hand, the episodes, and prototypes over sessions."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.features import feature_function
from cl_suite.models.settings import ModelConfig
from cl_suite.randomness import seed_everything
from cl_suite.scenarios.cfsl import CFSL
from cl_suite.strategies.protonet import (
    ProtoNetPlugin,
    Similarity,
    draw_episode,
    episode_loss,
    similarities,
)


def engine_with(plugin: ProtoNetPlugin, *, epochs: int = 0, **parameters: Any) -> Engine:
    seed_everything(0)
    stream = CFSL(**parameters).build()
    model = build_classifier(
        ModelConfig(), stream.info.input_shape, stream.info.num_classes, plugin
    )
    recipe = TrainingConfig(
        base_epochs=epochs, incremental_epochs=0, optimizer="adamw", lr=1e-3, batch_size=128
    )
    return Engine(stream, model, plugin, recipe)


def test_similarities_worked_by_hand() -> None:
    prototype = torch.tensor([[1.0, 0], [0, 1]]).mean(0, keepdim=True)
    query = torch.tensor([[2.0, 0.0]])
    assert prototype.tolist() == [[0.5, 0.5]]
    assert float(similarities(query, prototype)) == 1.0
    assert float(similarities(query, prototype, "cosine", 1.0)) == pytest.approx(0.7071, abs=1e-4)
    assert float(similarities(query, prototype, "euclid")) == pytest.approx(-2.5)


def test_the_loss_of_an_episode_worked_by_hand() -> None:
    # support of two classes, two shots each; then one query of each
    features = torch.tensor([[1.0, 0], [3, 0], [0, 1], [0, 1], [1, 0], [1, 1]])
    # prototypes (2, 0) and (0, 1): scores (2, 0) and (2, 1)
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert float(episode_loss(features, 2, 2)) == pytest.approx(by_hand)


@given(seed=st.integers(0, 99), way=st.integers(2, 6), shots=st.integers(1, 3))
def test_support_and_query_of_an_episode_share_no_image(seed: int, way: int, shots: int) -> None:
    labels = torch.arange(6).repeat(8)
    episode = draw_episode(
        labels, torch.Generator().manual_seed(seed), way=way, shots=shots, queries=4
    )
    assert episode.support.shape == (way, shots)
    assert len(set(episode.rows.tolist())) == way * (shots + 4)
    assert labels[episode.support].eq(episode.order[0][:, None]).all()
    assert labels[episode.query].equal(episode.order[0].repeat_interleave(4))


def test_a_class_of_a_single_image_is_its_own_query() -> None:
    episode = draw_episode(torch.tensor([0, 1, 1]), way=2, shots=2, queries=1)
    single = episode.order[0].tolist().index(0)
    assert episode.support[single].tolist() == [0, 0]
    assert episode.query[single] == 0


def test_dot_products_on_a_network_that_was_not_made_for_them_are_told() -> None:
    engine = engine_with(ProtoNetPlugin())
    with pytest.warns(UserWarning, match=r"by dot product only \d+ of 5 class means .* 5\)"):
        engine.train_session(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="by dot product")
        engine.train_session(1)  # it is said once
        engine_with(ProtoNetPlugin(similarity="cosine")).train_session(0)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclid"])
def test_a_prototype_is_the_mean_over_all_shots_of_all_sessions(similarity: Similarity) -> None:
    engine = engine_with(ProtoNetPlugin(similarity=similarity), shots=2, targets=4)
    for session in range(2):  # the same classes twice
        engine.train_session(session)
    model = engine.model
    assert isinstance(model, Classifier)
    model.eval()
    embed = feature_function(model)
    with torch.no_grad():
        data = [engine.data.session(s).eval() for s in range(2)]
        rows = [(x[0], int(x[1])) for part in data for x in (part[i] for i in range(len(part)))]
        features = embed(torch.stack([x for x, _ in rows]))
        means = torch.stack(
            [features[[y == c for _, y in rows]].mean(0) for c in model.head.classes]
        )
        queries = features[:7]
        scores = model.head(queries)[:, model.head.classes]
    assert len(rows) == 20
    expected = similarities(queries, means, similarity, 16.0)
    if similarity == "euclid":
        expected = expected + (queries**2).sum(1, keepdim=True)
    assert torch.allclose(scores, expected, rtol=1e-3, atol=1e-3)


def test_episodes_teach_the_first_session_and_none_after_it() -> None:
    plugin = ProtoNetPlugin(way=5, shots=1, queries=1)
    engine = engine_with(plugin, epochs=30, shots=4, targets=2, class_change=1, support_sets=2)
    losses: list[float] = []
    engine.on_epoch = lambda record: losses.append(float(record.loss or math.nan))
    engine.train_session(0)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    before = {k: v.clone() for k, v in engine.model.backbone.state_dict().items()}
    engine.train_session(1)
    assert all(v.equal(before[k]) for k, v in engine.model.backbone.state_dict().items())
    assert len(losses) == 30


def test_running_sums_come_back_from_a_checkpoint() -> None:
    engine = engine_with(ProtoNetPlugin())
    engine.train_session(0)
    twin = ProtoNetPlugin()
    twin.load_state_dict(engine.plugin.state_dict())
    assert twin.stats_ is not None
    assert twin.stats_.mean.equal(engine.plugin.stats_.mean)


def test_an_unknown_similarity_is_refused() -> None:
    with pytest.raises(UserError, match=r"^similarity must be one of dot, cosine, .*'manhattan'"):
        ProtoNetPlugin(similarity="manhattan")  # type: ignore[arg-type]
