"""Temperature, familiarity and the threshold follow from leave-one-out scores."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.learned_rules import (
    BASE,
    DIM,
    FEW,
    WHITENED,
    closed_form,
    gaussians,
    learned,
    table_of,
)
from torch import Tensor

from cl_suite.learner.calibration import (
    calibrated,
    equal_classes,
    familiarity,
    left_out_familiarity,
    threshold,
)
from cl_suite.learner.rule import Rule
from cl_suite.models.heads.scale import fitted_scale

# --- temperature ---


def drawn(scale: float, num: int = 4000, num_classes: int = 5) -> tuple[Tensor, Tensor]:
    """Scores and classes that these, times `scale`, are the log-probabilities of."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(num, num_classes, generator=generator)
    columns = (scale * scores).softmax(1).multinomial(1, generator=generator)[:, 0]
    return scores, columns


@pytest.mark.parametrize("scale", [0.5, 5.0, 30.0])
def test_the_scale_that_drew_the_classes_is_found(scale: float) -> None:
    # three standard errors of 4000 draws
    assert fitted_scale(*drawn(scale)) == pytest.approx(scale, abs=0.2, rel=0.1)


def test_the_scale_minimises_the_loss_with_one_example_by_chance() -> None:
    scores, columns = drawn(6.0, num=50)
    weights = equal_classes(columns)

    def loss(scale: float) -> float:
        logs = (scale * scores.double()).log_softmax(1)
        own = logs.gather(1, columns[:, None])[:, 0]
        return -float((weights * own).sum() + (weights * logs.mean(1)).mean())

    found = fitted_scale(scores, columns, weights)
    # a normalised sum over 51 examples; a mean of lengths differs by the weight of one
    assert loss(found) == pytest.approx(min(loss(found * f) for f in (0.9, 0.97, 1.03, 1.1, 1)))


def test_a_few_examples_that_are_all_right_do_not_make_certain() -> None:
    scores = torch.eye(4)
    few = fitted_scale(scores, torch.arange(4))
    many = fitted_scale(scores.repeat(100, 1), torch.arange(4).repeat(100))
    # four of five, as one more is right by chance
    assert float((few * scores).softmax(1)[0, 0]) == pytest.approx((4 + 0.25) / 5, abs=1e-3)
    assert float((many * scores).softmax(1)[0, 0]) == pytest.approx((400 + 0.25) / 401, abs=1e-3)


@pytest.mark.parametrize("scores", [torch.zeros(9, 3), torch.rand(9, 1), torch.full((9, 2), -1e9)])
def test_scores_that_do_not_differ_leave_the_default(scores: Tensor) -> None:
    assert fitted_scale(scores, torch.zeros(9).long(), default=7.0) == 7.0


@pytest.mark.parametrize("right", [True, False])
def test_scores_of_any_size_give_a_positive_finite_scale(right: bool) -> None:
    for size in (1e-6, 1.0, 1e6):
        scores = size * torch.eye(6)
        columns = torch.arange(6) if right else (torch.arange(6) + 1) % 6
        found = fitted_scale(scores, columns)
        assert 0 < found < math.inf
        assert found * size == pytest.approx(fitted_scale(torch.eye(6), columns), rel=0.01)


# --- familiarity and the threshold ---


def test_familiarity_is_the_best_score_and_half_its_lead() -> None:
    rule, queries = Rule("simple_cil", {}, 2), torch.ones(2, 2)
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.4, 0.2, 0.4]])
    torch.testing.assert_close(familiarity(rule, queries, scores), torch.tensor([1.1, 0.4]))
    # a single class has no lead
    torch.testing.assert_close(familiarity(rule, queries, scores[:, :1]), scores[:, 0])


def test_familiarity_of_gaussians_is_the_distance_and_half_its_lead() -> None:
    rule, _, table = learned("lda", {"shrinkage": 0.5, "shift_weight": 0.0}, gaussians())
    queries = table.query(torch.rand(7, DIM))
    nearest = torch.cdist(queries, table.keys).square().sort(1).values / 2
    expected = -nearest[:, 0] + (nearest[:, 1] - nearest[:, 0]) / 2
    found = familiarity(rule, queries, table.scores(queries))
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-3)


def test_too_few_examples_or_no_false_alarms_set_no_threshold() -> None:
    assert threshold(torch.rand(18), 0.05) is None
    assert threshold(torch.rand(19), 0.05) is not None
    assert threshold(torch.rand(1000), 0.0) is None


def test_weights_move_the_threshold_as_copies_would() -> None:
    values = torch.arange(200.0)
    weights = torch.cat([torch.full((100,), 0.5), torch.full((100,), 1.5)])
    # half the mass below a value: twice the rank
    assert threshold(values, 0.05) == 9.0
    assert threshold(values, 0.05, weights) == 18.0


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_the_share_of_new_values_below_the_threshold_is_the_rate(rate: float) -> None:
    generator = torch.Generator().manual_seed(1)
    draws = torch.randn(3000, 100, generator=generator)
    below = 0
    for values in draws:
        limit = threshold(values[:-1], rate)
        below += limit is not None and bool(values[-1] < limit)
    # floor(rate (n + 1)) / (n + 1), within three standard errors
    assert below / 3000 == pytest.approx(rate, abs=3 * math.sqrt(rate * (1 - rate) / 3000))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("simple_cil", {}),
        ("teen", {}),
        ("teen_whitened", WHITENED),
        ("lda", {"shrinkage": 0.3, "shift_weight": 0.3}),
        ("ranpac", {"ridge": 0.1, "num_projections": 0}),
    ],
)
@torch.no_grad()
def test_known_pictures_are_called_unknown_at_most_at_the_rate(
    name: str, parameters: dict[str, Any]
) -> None:
    rate, rejected, total = 0.1, 0, 0
    for seed in range(20):
        # of each class the first pictures are learned, and 20 others are new
        drawn_ = gaussians(seed, pictures=32, shots=25)
        sizes = [12] * BASE + [5] * FEW
        parts = [(c, x[:n], x[-20:]) for (c, x), n in zip(drawn_.items(), sizes, strict=True)]
        rule, state, table = learned(name, parameters, {c: x for c, x, _ in parts})
        found = calibrated(rule, table, state, rate)
        queries = table.query(torch.cat([x for _, _, x in parts]))
        fits = familiarity(rule, queries, table.scores(queries))
        rejected += int((fits < found.threshold).sum())
        total += len(fits)
    # thresholds differ by draw: 97 examples each, so a rate's standard error is 0.03 a draw
    error = math.sqrt(rate * (1 - rate)) * math.sqrt(1 / total + 1 / (20 * 97))
    assert rejected / total < rate + 3 * error
    assert rejected / total > 0.2 * rate


@torch.no_grad()
def test_calibration_follows_from_the_state_alone() -> None:
    features = gaussians()
    rule, state, table = learned("teen", {}, features)
    left = closed_form(rule, state, table)
    found = calibrated(rule, table, state, 0.05)
    weights = equal_classes(left.columns)
    assert found.threshold == threshold(left_out_familiarity(rule, left), 0.05, weights)
    assert found.num_scored == len(left.columns) == 12 * BASE + 5 * FEW
    assert calibrated(rule, table_of(rule, state), state, 0.05) == found
