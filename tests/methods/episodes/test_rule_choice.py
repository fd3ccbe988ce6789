"""Rules compared on fake streams: their own scores, gaps with errors, and weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from helpers.feature_streams import features_of, make_feature_stream, trained

from cl_suite.features.stats import class_stats
from cl_suite.methods.episodes.rule_choice import (
    Comparison,
    compare,
    fake_scores,
    settled_parameters,
)
from cl_suite.methods.episodes.tuning import fake_figures, fake_tasks
from cl_suite.strategies.lda import LDAPlugin
from cl_suite.strategies.ranpac import RanPACPlugin
from cl_suite.strategies.simple_cil import SimpleCILPlugin
from cl_suite.strategies.teen import TEENPlugin

FEATURES, LABELS = features_of(make_feature_stream(), 0)
FEATURES = FEATURES.float()
TASKS = fake_tasks(LABELS, generator=torch.Generator().manual_seed(0), num_tasks=3)


def test_scores_are_those_of_the_rule_on_the_fake_stream() -> None:
    task = TASKS[0]
    rows = torch.cat([task.train, task.shots])
    means = class_stats(FEATURES[rows], task.columns(LABELS)[rows]).mean.float()
    expected = 16 * F.normalize(FEATURES[task.test]) @ F.normalize(means).T
    found = fake_scores(SimpleCILPlugin(), FEATURES, LABELS, task)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_base_classes_of_a_fake_stream_calibrate_its_new_classes() -> None:
    task, num_base = TASKS[0], len(TASKS[0].base_classes)
    plain = fake_scores(SimpleCILPlugin(), FEATURES, LABELS, task)
    pulled = fake_scores(TEENPlugin(), FEATURES, LABELS, task)
    torch.testing.assert_close(pulled[:, :num_base], plain[:, :num_base], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(pulled[:, num_base:], plain[:, num_base:], atol=1e-2)


def test_a_rule_is_compared_with_the_parameters_that_it_chose_and_stays_as_it_is() -> None:
    rule = LDAPlugin()
    engine = trained(rule, make_feature_stream(), num_sessions=1)
    settled = settled_parameters(rule)
    assert {name: settled[name] for name in rule.parameters_} == rule.parameters_
    before = {name: value.clone() for name, value in engine.model.head.state_dict().items()}
    state = torch.random.get_rng_state()
    fake_scores(rule, FEATURES, LABELS, TASKS[0])
    assert torch.random.get_rng_state().equal(state)
    assert all(value.equal(before[n]) for n, value in engine.model.head.state_dict().items())
    assert settled_parameters(RanPACPlugin(ridge=3.0))["ridge"] == 1.0  # the value in use


def test_figures_and_spreads_are_those_of_the_scores() -> None:
    rules = {"means": SimpleCILPlugin(), "teen": TEENPlugin()}
    found = compare(rules, FEATURES, LABELS, TASKS)
    scores = fake_scores(rules["teen"], FEATURES, LABELS, TASKS[2])
    assert found.figures[1, 2].equal(fake_figures(scores, LABELS, TASKS[2])[0])
    spreads = [fake_scores(rules["teen"], FEATURES, LABELS, task) for task in TASKS]
    expected = sum(float(s.std(1, correction=0).square().mean().sqrt()) for s in spreads) / 3
    assert float(found.spreads[1]) == pytest.approx(expected, rel=1e-4)


# scores of four streams, as average = harmonic mean
SCORES = {
    "best": (0.80, 0.70, 0.80, 0.70),
    "near": (0.76, 0.74, 0.76, 0.70),  # behind by 0.01, error 0.0191
    "steady": (0.78, 0.68, 0.78, 0.68),  # behind by 0.02 each time
}


def comparison() -> Comparison:
    table = torch.tensor(list(SCORES.values()), dtype=torch.float64)
    return Comparison(
        list(SCORES), table[:, :, None].expand(-1, -1, 2), torch.tensor([2.0, 1.0, 4])
    )


def test_gaps_and_their_errors_are_those_of_the_same_streams() -> None:
    behind = comparison().behind
    assert behind[0].tolist() == [0.0, 0.0]
    gaps = torch.tensor([0.04, -0.04, 0.04, 0.0], dtype=torch.float64)
    assert behind[1].tolist() == pytest.approx([0.01, float(gaps.std()) / 2])
    assert behind[2].tolist() == pytest.approx([0.02, 0.0], abs=1e-12)


def test_what_cannot_be_told_from_the_best_counts_too() -> None:
    found = comparison()
    assert found.level(2.0) == ["best", "near"]
    assert found.level(0.0) == ["best"]


def test_weights_even_out_the_spreads_and_average() -> None:
    assert comparison().weights(["best", "near"]) == {"best": 0.25, "near": 0.5}
    assert comparison().weights(["steady"]) == {"steady": 0.25}


def test_one_stream_has_no_error() -> None:
    found = compare({"a": SimpleCILPlugin(), "b": TEENPlugin()}, FEATURES, LABELS, TASKS[:1])
    assert found.behind[:, 1].tolist() == [0.0, 0.0]
