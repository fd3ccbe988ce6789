"""Leave-one-out scores equal those of a classifier without the picture; which ones are scored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.learned_rules import (
    BASE,
    DIM,
    FEW,
    WHITENED,
    closed_form,
    examples,
    gaussians,
    learned,
    table_of,
)
from torch import Tensor

from cl_suite.learner.calibration import Calibration, calibrated
from cl_suite.learner.leave_one_out import LeftOut, examples_to_score, left_out
from cl_suite.learner.records import State, grown, with_record, without
from cl_suite.learner.rule import Rule
from cl_suite.models.heads.scale import DEFAULT_SCALE


@torch.no_grad()
def by_removal(rule: Rule, state: State) -> LeftOut:
    """Scores of examples by tables that were made without each of them."""
    scores, half_squares = [], []
    for label, row in examples_to_score(state):
        record = state.records[label]
        rest = with_record(rule, state, label, without(rule, record, [record.kept.ids[row]]))
        table = table_of(rule, rest)
        query = table.query(record.kept.features[row][None])
        order = [table.labels.index(each) for each in state.records]
        scores.append(table.scores(query)[0, order])
        half_squares.append(query.square().sum() / 2)
    return LeftOut(torch.stack(scores), torch.empty(0), torch.stack(half_squares))


def distances(left: LeftOut) -> Tensor:
    """`-d^2 / 2` of a Gaussian."""
    return left.scores - left.half_squares[:, None]


def largest(difference: Tensor) -> float:
    return float(difference.abs().max())


# --- closed forms against removal ---


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("simple_cil", {}),
        ("simple_cil", {"centre": True}),
        ("prototype", {"normalize_features": True}),
        ("teen", {"shift_weight": 0.0}),
    ],
)
def test_the_closed_form_of_class_means_is_exact(name: str, parameters: dict[str, Any]) -> None:
    rule, state, table = learned(name, parameters, gaussians())
    left = closed_form(rule, state, table)
    assert largest(left.scores - by_removal(rule, state).scores) < 1e-6


def test_a_picture_of_a_few_shot_class_leaves_teen_exactly() -> None:
    rule, state, table = learned("teen", {}, gaussians())
    left = closed_form(rule, state, table)
    errors = left.scores - by_removal(rule, state).scores
    few = left.columns >= BASE
    assert int(few.sum()) == 5 * FEW
    assert largest(errors[few]) < 1e-6
    # a base picture moves the rows of few-shot classes too, which is left out
    assert largest(errors[torch.arange(len(few)), left.columns]) < 1e-6
    assert 1e-4 < largest(errors) < 0.02


@torch.no_grad()
def test_a_base_picture_leaves_a_whitening_that_was_fitted_to_it() -> None:
    features = gaussians()
    rule, state, table = learned("teen_whitened", WHITENED, features)
    left, errors, changes = closed_form(rule, state, table), [], []
    for scores, (label, row) in zip(left.scores, examples_to_score(state), strict=True):
        picture = state.records[label].kept.features[row]
        rest = {c: rows[(rows != picture).any(1)] for c, rows in features.items()}
        _, _, without_it = learned("teen_whitened", WHITENED, rest)
        truth = without_it.scores(without_it.query(picture[None]))[0]
        errors.append((scores - truth).abs().max())
        changes.append((table.scores(table.query(picture[None]))[0] - truth).abs().max())
    # left out: the picture's part in the centre and in the trace behind the shrinkage
    assert torch.stack(errors).mean() < 0.25 * torch.stack(changes).mean()
    assert torch.stack(errors).max() < 0.06


@pytest.mark.parametrize("shrinkage", [0.1, 0.3, 0.8])
def test_a_picture_leaves_the_covariance_of_all_classes(shrinkage: float) -> None:
    parameters = {"shrinkage": shrinkage, "shift_weight": 0.0}
    rule, state, table = learned("lda", parameters, gaussians())
    left, removed = closed_form(rule, state, table), distances(by_removal(rule, state))
    # the trace that scales the shrinkage changes in all directions alike, to first order
    spread = float((removed.max(1).values - removed.min(1).values).mean())
    assert largest(distances(left) - removed) < 0.01 * spread
    assert largest(table.scores(table.query(_features(state))) - left.scores) > 0.05 * spread


def test_ridge_of_equal_weights_is_exact_for_a_fixed_ridge() -> None:
    features = gaussians()
    parameters = {"balanced": False, "ridge": 0.1, "num_projections": 0}
    rule, state, table = learned("ranpac", parameters, features)
    left = closed_form(rule, state, table)
    x = torch.cat(list(features.values())).double()
    y = torch.tensor([int(c) for c, rows in features.items() for _ in rows])
    targets = torch.nn.functional.one_hot(y).double()
    ridge = 0.1 * (x.T @ x).diagonal().mean() * torch.eye(DIM).double()
    for scores, (label, row) in zip(left.scores, examples_to_score(state), strict=True):
        picture = state.records[label].kept.features[row].double()
        rest = (x != picture).any(1)
        rows = torch.linalg.solve(x[rest].T @ x[rest] + ridge, x[rest].T @ targets[rest])
        torch.testing.assert_close(scores.double(), picture @ rows, atol=2e-5, rtol=0)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("num_projections", [0, 64])
def test_ridge_differs_from_removal_only_by_the_ridge_in_units_of_the_trace(
    num_projections: int, balanced: bool
) -> None:
    parameters = {"balanced": balanced, "ridge": 0.1, "num_projections": num_projections}
    rule, state, table = learned("ranpac", parameters, gaussians())
    left = closed_form(rule, state, table)
    assert largest(left.scores - by_removal(rule, state).scores) < 4e-3
    assert largest(table.scores(table.query(_features(state))) - left.scores) > 0.04


def test_ridge_of_many_pictures_keeps_the_others_weights() -> None:
    rule, state, table = learned(
        "ranpac", {"ridge": 0.1, "num_projections": 0}, gaussians(pictures=60)
    )
    left = closed_form(rule, state, table)
    assert largest(left.scores - by_removal(rule, state).scores) < 1 / 60


def _features(state: State) -> Tensor:
    """Features of the examples that are scored."""
    chosen = examples_to_score(state)
    return torch.stack([state.records[label].kept.features[row] for label, row in chosen])


# --- which examples ---


def test_every_class_has_an_example_before_any_has_a_second() -> None:
    features = gaussians(pictures=40) | {"single": torch.ones(1, DIM)}
    _, state, _ = learned("simple_cil", {}, features)
    chosen = examples_to_score(state)
    firsts = chosen[: BASE + FEW]
    assert {label for label, _ in firsts} == set(features) - {"single"}
    assert {row for _, row in firsts} == {0}
    # 32 of 40 pictures are kept
    assert len(chosen) == 32 * BASE + 5 * FEW


def test_the_number_of_examples_does_not_grow_with_the_classes() -> None:
    record = grown(Rule("simple_cil", {}, 2), None, examples(torch.rand(2, 2)), is_base=False)
    counts = [len(examples_to_score(State({str(c): record for c in range(n)}))) for n in (9, 9000)]
    assert counts == [18, 2**22 // 9000]


def test_classes_of_one_picture_cannot_be_calibrated() -> None:
    rule, state, table = learned("simple_cil", {}, {c: torch.rand(1, DIM) for c in "ab"}, 0)
    assert left_out(rule, table, state) is None
    assert calibrated(rule, table, state, 0.05) == Calibration(DEFAULT_SCALE, None, 0)


def test_the_scale_of_gaussians_without_examples_is_their_own() -> None:
    parameters = {"shrinkage": 0.5, "shift_weight": 0.0}
    rule, state, table = learned("lda", parameters, {c: torch.rand(1, DIM) for c in "ab"}, 2)
    assert calibrated(rule, table, state, 0.05).scale == 1.0
