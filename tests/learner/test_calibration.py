"""Leave-one-out scores equal those of a classifier without the picture; what follows from them."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cl_suite.learner.calibration import (
    DEFAULT_SCALE,
    Calibration,
    calibrated,
    equal_classes,
    familiarity,
    fitted_scale,
    left_out_familiarity,
    threshold,
)
from cl_suite.learner.leave_one_out import LeftOut, examples_to_score, left_out
from cl_suite.learner.records import Examples, State, grown, with_record, without
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table

DIM, BASE, FEW = 24, 6, 5  # width, base classes, classes of five shots
WHITENED = {"power": 0.5, "shrinkage": 0.3, "softmax_t": 8.0, "shift_weight": 0.0, "margin": 0.02}


def examples(features: Tensor) -> Examples:
    ids = tuple(hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest() for row in features)
    return Examples(features, ids, (b"",) * len(ids))


def gaussians(seed: int = 0, pictures: int = 12, shots: int = 5) -> dict[str, Tensor]:
    """Features of classes 0, 1, ...: the first `BASE` have more pictures than the others."""
    generator = torch.Generator().manual_seed(seed)
    means = 2 * torch.randn(BASE + FEW, DIM, generator=generator).abs()
    sizes = [pictures] * BASE + [shots] * FEW
    return {
        str(c): means[c] + 0.7 * torch.randn(size, DIM, generator=generator)
        for c, size in enumerate(sizes)
    }


def learned(
    name: str, parameters: dict[str, Any], features: dict[str, Tensor], num_base: int = BASE
) -> tuple[Rule, State, Table]:
    rule = Rule(name, parameters, DIM)
    base = list(features.values())[:num_base]
    if base:
        labels = torch.tensor([c for c, rows in enumerate(base) for _ in rows])
        rule.set_up(torch.cat(base), labels)
    state = State({})
    for place, (label, rows) in enumerate(features.items()):
        record = grown(rule, None, examples(rows), is_base=place < num_base)
        state = with_record(rule, state, label, record)
    return rule, state, table_of(rule, state)


@torch.no_grad()
def table_of(rule: Rule, state: State) -> Table:
    table = Table(rule, torch.device("cpu"))
    table.follow(state)
    return table


def closed_form(rule: Rule, state: State, table: Table) -> LeftOut:
    found = left_out(rule, table, state)
    assert found is not None
    return found


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
