"""The ridge strategy: exact in the stream, chosen on fake streams, balanced."""

from __future__ import annotations

import pytest
import torch
from helpers.feature_streams import accuracy, features_of, make_feature_stream, trained
from helpers.tiny_streams import make_stream
from torch import nn

from cl_suite.avalanche import api, benchmark
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.models.heads.ridge import RidgeHead
from cl_suite.strategies.prototype import PrototypePlugin
from cl_suite.strategies.ranpac import RIDGES, RanPACPlugin, ridge_figures


def test_the_stream_equals_one_fit_to_everything() -> None:
    stream = make_feature_stream()
    engine = trained(RanPACPlugin(num_projections=32, ridge=0.5), stream)
    whole = RidgeHead(16, 18, num_projections=32, seed=0)
    parts = [features_of(stream, session) for session in range(4)]
    whole.learn(torch.cat([f for f, _ in parts]).float(), torch.cat([y for _, y in parts]))
    whole.solve(0.5)
    queries = torch.randn(9, 16)
    assert isinstance(engine.model.head, RidgeHead)
    torch.testing.assert_close(engine.model.head.gram, whole.gram, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(engine.model.head(queries), whole(queries), rtol=1e-4, atol=1e-5)


def test_the_ridge_is_chosen_among_candidates_and_kept_with_their_figures() -> None:
    plugin = RanPACPlugin(num_projections=32)
    trained(plugin, make_feature_stream(), num_sessions=1)
    table = plugin.choice_["table"]
    assert table[:, 0].tolist() == pytest.approx(RIDGES)
    assert plugin.ridge_ == RIDGES[int(table[:, -1].argmax())]


def test_a_given_ridge_is_taken() -> None:
    plugin = RanPACPlugin(num_projections=32, ridge=0.123)
    trained(plugin, make_feature_stream(), num_sessions=1)
    assert plugin.ridge_ == 0.123
    assert plugin.choice_ == {}


def test_balanced_ridge_beats_class_means_where_spread_differs_by_direction() -> None:
    stream = make_feature_stream()
    ridge = accuracy(trained(RanPACPlugin(num_projections=0), stream))
    assert ridge > accuracy(trained(PrototypePlugin(), stream)) + 0.02


def test_the_projection_follows_its_seed_and_not_the_global_one() -> None:
    torch.manual_seed(1)
    one = RanPACPlugin(projection_seed=3).make_head(4, 0, 1.0)
    torch.manual_seed(2)
    same, other = (RanPACPlugin(projection_seed=s).make_head(4, 0, 1.0) for s in (3, 4))
    assert one.projection.equal(same.projection)  # type: ignore[union-attr]
    assert not one.projection.equal(other.projection)  # type: ignore[union-attr]


def test_its_own_head_for_a_foreign_network_survives_saving() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 8))
    plugin, copy = RanPACPlugin(num_projections=32), RanPACPlugin(num_projections=32)
    template = api.SupervisedTemplate(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        criterion=nn.CrossEntropyLoss(),
        plugins=[plugin],
        evaluator=api.silent_evaluator,
    )
    for experience in benchmark(make_stream()).train_stream:
        template.train(experience)
    copy.load_state_dict(plugin.state_dict())
    assert plugin.own_head_ is not None
    assert copy.own_head_ is not None
    features = torch.rand(3, 16)
    assert copy.own_head_(features).equal(plugin.own_head_(features))
    assert sorted(copy.own_head_.classes) == list(range(8))


def test_the_choice_rests_on_what_the_head_itself_would_score() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    task = fake_tasks(labels, generator=torch.Generator().manual_seed(0))[0]
    columns, num = task.columns(labels), len(task.classes)
    dim = features.shape[1]
    found = ridge_figures(RidgeHead(dim, num, 32).double(), features, labels, task)
    head = RidgeHead(dim, num, 32).double()
    for part in (task.train, task.shots):
        head.learn(features[part], columns[part])
    for ridge, figures in zip(RIDGES, found, strict=True):
        head.solve(ridge)
        expected = fake_figures(head(features[task.test]), labels, task)[0]
        torch.testing.assert_close(figures, expected, rtol=1e-6, atol=1e-6)
    assert found.std(0).min() > 0, "the candidates differ, so the test can fail"
