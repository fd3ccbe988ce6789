"""Whitened TEEN: the formula, the choice on fake streams, and its gain on awkward features."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import accuracy, features_of, make_engine, make_feature_stream, trained
from helpers.tiny_streams import make_stream
from torch import Tensor

from cl_suite.engine.engine import Engine
from cl_suite.engine.training import TrainingConfig
from cl_suite.errors import UserError
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.teen import TEENPlugin, calibrate
from cl_suite.strategies.teen_whitened import DEFAULTS, GRID, TEENWhitenedPlugin, whitened_figures

GIVEN = {"power": 0.5, "shrinkage": 0.3, "softmax_t": 8.0, "shift_weight": 0.4, "margin": 0.05}


def powered(x: Tensor, power: float) -> Tensor:
    return F.normalize(x.sign() * x.abs().pow(power))


def naive_scores(
    base: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], queries: Tensor, p: dict[str, float]
) -> Tensor:
    """Return cosines of queries against base, then new classes, by the docstring's formula."""
    z, y = powered(base[0], p["power"]), base[1]
    mean = z.mean(0)
    deviations = torch.cat([z[y == c] - z[y == c].mean(0) for c in y.unique()])
    within = deviations.T @ deviations / (len(z) - len(y.unique()))
    dim, rate = len(within), p["shrinkage"]
    within = (1 - rate) * within + rate * within.trace() / dim * torch.eye(dim)
    values, vectors = torch.linalg.eigh(within)
    root = vectors * values.rsqrt() @ vectors.T  # symmetric: another root gives the same cosines
    white = [(powered(x, p["power"]) - mean) @ root for x in (base[0], new[0], queries)]
    rows = [
        torch.stack([x[labels == c].mean(0) for c in labels.unique()])
        for x, (_, labels) in zip(white, (base, new), strict=False)
    ]
    rows[1] = calibrate(
        rows[1],
        rows[0],
        softmax_t=p["softmax_t"],
        shift_weight=p["shift_weight"],
        normalize_delta=True,
    )
    return F.normalize(white[2]) @ F.normalize(torch.cat(rows)).T


@pytest.mark.parametrize("signed", [True, False])
def test_scores_equal_the_formula_written_naively(signed: bool) -> None:
    stream = make_feature_stream(signed=signed)
    engine = trained(TEENWhitenedPlugin(**GIVEN), stream, num_sessions=2)  # type: ignore[arg-type]
    queries = features_of(stream, 2)[0]
    expected = naive_scores(features_of(stream, 0), features_of(stream, 1), queries, GIVEN)
    expected[:, 12:] += 0.05
    found = engine.model.head(queries.float())[:, :14] / 16
    torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-4)


def test_figures_of_the_choice_are_those_of_the_formula() -> None:
    features, labels = features_of(make_feature_stream(), 0)
    task = fake_tasks(labels, generator=torch.Generator().manual_seed(0))[0]
    grid = {**GRID, "power": (0.5, 1.0), "shrinkage": (0.3,), "shift_weight": (0.0, 0.4)}
    found = whitened_figures(grid, features, labels, task)
    for row, values in zip(found, itertools.product(*grid.values()), strict=True):
        p = dict(zip(grid, values, strict=True))
        # columns of the task in its own order
        base, new = (
            (features[rows], task.columns(labels)[rows]) for rows in (task.train, task.shots)
        )
        scores = naive_scores(base, new, features[task.test], p)
        expected = fake_figures(scores, labels, task, [p["margin"]])[0]
        # a query between two classes may fall to either side in single precision
        torch.testing.assert_close(row, expected, rtol=0, atol=0.02)


def test_what_is_given_is_taken_and_the_rest_is_chosen() -> None:
    plugin = TEENWhitenedPlugin(power=1.0, shift_weight=0.25)
    trained(plugin, make_feature_stream(), num_sessions=1)
    assert plugin.parameters_["power"] == 1.0
    assert plugin.parameters_["shift_weight"] == 0.25
    table = plugin.choice_["table"]
    names = plugin.choice_["columns"][:5]
    best = dict(zip(names, table[table[:, -1].argmax(), :5].tolist(), strict=True))
    assert plugin.parameters_ == pytest.approx(best)
    assert len(table) == len(GRID["shrinkage"]) * len(GRID["softmax_t"]) * len(GRID["margin"])


def test_too_small_a_base_session_takes_the_defaults() -> None:
    stream = make_stream()
    torch.manual_seed(0)
    plugin = TEENWhitenedPlugin()
    model = build_classifier(ModelConfig(), stream.info.input_shape, 8, plugin)
    engine = Engine(stream, model, plugin, TrainingConfig(base_epochs=0, incremental_epochs=0))
    engine.train_session(0)
    assert plugin.parameters_ == DEFAULTS
    assert plugin.choice_ == {}


def test_the_choice_sees_the_base_session_alone() -> None:
    plugins = []
    for seed in (0, 1):
        streams = [make_feature_stream(seed=s) for s in (0, seed)]
        plugin = TEENWhitenedPlugin()
        engine = make_engine(plugin, streams[0])
        engine.train_session(0)
        engine.stream = streams[1]  # other shots and tests
        engine.train_session(1)
        plugins.append(plugin)
    assert plugins[0].choice_["table"].equal(plugins[1].choice_["table"])


@pytest.mark.parametrize("signed", [True, False])
def test_it_beats_teen_where_spread_differs_by_direction(signed: bool) -> None:
    stream = make_feature_stream(signed=signed)
    gain = accuracy(trained(TEENWhitenedPlugin(), stream)) - accuracy(trained(TEENPlugin(), stream))
    assert gain > 0.02


def test_later_sessions_leave_base_rows_and_transform_alone() -> None:
    engine = make_engine(TEENWhitenedPlugin(), make_feature_stream())
    engine.train_session(0)
    head = engine.model.head
    assert head.transform is not None
    rows, whitening = head.rows(range(12)), head.transform.whitening.clone()
    for session in (1, 2, 3):
        engine.train_session(session)
    assert head.rows(range(12)).equal(rows)
    assert head.transform.whitening.equal(whitening)


def test_views_join_the_means_of_few_shot_classes_only() -> None:
    stream = make_stream(base_shots=6)
    heads = []
    for views in (0, 3):
        torch.manual_seed(0)
        plugin = TEENWhitenedPlugin(views=views)
        model = build_classifier(ModelConfig(), stream.info.input_shape, 8, plugin)
        engine = Engine(stream, model, plugin, TrainingConfig(base_epochs=0, incremental_epochs=0))
        for session in (0, 1):
            engine.train_session(session)
        heads.append(model.head)
    assert heads[0].rows([7, 2, 5, 0]).equal(heads[1].rows([7, 2, 5, 0]))
    assert not heads[0].rows([6, 1]).equal(heads[1].rows([6, 1]))


def test_a_power_of_zero_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"^power must be in \[0\.01, 10\], or null, got 0"):
        TEENWhitenedPlugin(power=0.0)
