"""Scores of training pictures, each as if its class had been learned without it, in closed form.

A picture `x` of a class of `n` pictures leaves as follows.

    means    its class's mean becomes `(n m - x) / (n - 1)`; the other rows stay. Exact for class
             means. If rows depend on base classes, as TEEN's do, a base picture moves other rows
             too, by an order less; this is left out.
    whitened with `z` the whitened deviation of `x` from its class mean, the metric `I` of whitened
             space becomes `I + v z z^T`: the rank-one downdate of the pooled covariance (Sherman
             and Morrison, 1950). Without it, a picture would be judged by a covariance that has
             adapted to it. Left out: its part in the trace that scales the shrinkage.
    ridge    a class's examples lose or change their weights, a change of `A` of the rank of the
             class: `A' = A + H^T D H`, solved by Woodbury's identity. Left out: the picture's part
             in the trace that scales the ridge, and, in classes of more than `MOST_KEPT` pictures,
             the change of the other pictures' weights from `1/n` to `1/(n - 1)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_suite.learner.records import MOST_KEPT, ClassRecord, State
from cl_suite.learner.rule import Rule
from cl_suite.learner.table import Table
from cl_suite.models.heads.gaussian import GaussianHead
from cl_suite.models.heads.ridge import RidgeHead

MOST_SCORED, LEAST_SCORED = 1024, 256  # examples
MOST_SCORES = 2**22  # numbers in their scores of all classes, within these bounds
LEAST_SHRINKAGE = 1e-5  # as `shrunk` raises it
LARGEST_HAT = 0.999
AT_ONCE = 64  # classes whose examples pass a ridge together


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Leave-one-out scores of examples.

    Attributes:
        scores: `(n, num_classes)`.
        columns: `(n,)` each one's class.
        half_squares: `(n,)` half the squared length of each query; what Gaussian scores lack.
    """

    scores: Tensor
    columns: Tensor
    half_squares: Tensor


def left_out(rule: Rule, table: Table, state: State) -> LeftOut | None:
    """Return the scores of examples, each as if its class had been learned without it.

    Classes of one example have none to spare. None if no example can be scored.

    Args:
        table: up to date with the state.
    """
    chosen = examples_to_score(state)
    if not chosen:
        return None
    place = {label: column for column, label in enumerate(state.records)}
    columns = torch.tensor([place[label] for label, _ in chosen])
    if isinstance(rule.head, RidgeHead):
        return _without_ridge(rule, table, state, chosen, columns)
    records = [state.records[label] for label, _ in chosen]
    features = torch.stack(
        [record.kept.features[row] for record, (_, row) in zip(records, chosen, strict=True)]
    )
    queries = rule.query(features)
    keys, offsets = _own_keys(rule, features, records)
    scores = table.scores(queries.to(table.device)).cpu()
    scores[torch.arange(len(columns)), columns] = (queries * keys).sum(1) + offsets
    found = LeftOut(scores, columns, queries.square().sum(1) / 2)
    deviation = _deviation(rule, state, features, records)
    if deviation is None:
        return found
    along_keys = (deviation.vectors.to(table.device) @ table.keys.T).cpu()  # (n, num_classes)
    along_keys[torch.arange(len(columns)), columns] = (deviation.vectors * keys).sum(1)
    along_queries = (deviation.vectors * queries).sum(1)
    if isinstance(rule.head, GaussianHead):
        return _gaussian(found, deviation, along_queries, along_keys)
    all_offsets = table.offsets.cpu().expand_as(scores)
    return _cosine(found, deviation, along_queries, along_keys, all_offsets)


def examples_to_score(state: State) -> list[tuple[str, int]]:
    """Return label and row of the examples to score.

    Each class has one before any has a second, in the order of their identities.
    """
    ranked = [
        (row, identity, label)
        for label, record in state.records.items()
        if record.count > 1
        for row, identity in enumerate(record.kept.ids)
    ]
    # so that the cost does not grow with the classes' number squared
    most = min(MOST_SCORED, max(LEAST_SCORED, MOST_SCORES // max(1, len(state.records))))
    return [(label, row) for row, _, label in sorted(ranked)[:most]]


def _own_keys(
    rule: Rule, features: Tensor, records: Sequence[ClassRecord]
) -> tuple[Tensor, Tensor]:
    """Return key `(n, width)` and offset `(n,)` of each example's class, learned without it."""
    totals = torch.stack([record.total for record in records]) - rule.averaged(features)
    counts = torch.tensor([record.count - 1 for record in records])
    is_base = torch.tensor([record.is_base for record in records])
    keys, offsets = torch.empty(len(records), rule.width), torch.empty(len(records))
    for base, vectors_of in ((True, rule.base_vectors), (False, rule.new_vectors)):
        rows = (is_base == base).nonzero()[:, 0]
        if len(rows):
            vectors = vectors_of(totals[rows], counts[rows])
            keys[rows], offsets[rows] = rule.keys(vectors, is_base=base)
    return keys, offsets


@dataclass(frozen=True, eq=False)
class _Deviation:
    """How a whitening changes without an example: the metric `I` becomes `scale (I + v z z^T)`.

    Attributes:
        vectors: `z` `(n, width)`, the example's whitened deviation from its class mean.
        weights: `v` `(n,)`; 0 for an example that the whitening does not contain.
        scales: `(n,)`.
    """

    vectors: Tensor
    weights: Tensor
    scales: Tensor


def _deviation(
    rule: Rule, state: State, features: Tensor, records: Sequence[ClassRecord]
) -> _Deviation | None:
    """Return what the examples contribute to the rule's whitening, None if it has none."""
    counts = torch.tensor([float(record.count) for record in records])
    spread = counts / (counts - 1)
    means = torch.stack([record.total / record.count for record in records])
    if isinstance(rule.head, GaussianHead):
        assert state.pooled is not None
        freedom, inside = state.freedom, torch.ones_like(counts)
        vectors = rule.query(features) - rule.query(means.to(features))
        lost = spread * (features - means).square().sum(1).float() / state.pooled.trace().float()
    elif rule.head.transform is not None and rule.head.transform.whitening.numel():
        freedom = float(sum(r.count - 1 for r in state.records.values() if r.is_base))
        inside = torch.tensor([float(record.is_base) for record in records])
        vectors = (rule.averaged(features) - means).float()
        lost = torch.zeros_like(counts)
    else:
        return None
    rate = max(rule.shrinkage, LEAST_SHRINKAGE)
    kept = 1 - rate * lost.nan_to_num().clamp(max=0.5)
    part = inside * (1 - rate) * spread / max(freedom, 1.0) / kept
    weights = part / (1 - part * vectors.square().sum(1)).clamp(min=1e-3)
    return _Deviation(vectors, weights, max(freedom - 1, 1.0) / max(freedom, 1.0) / kept)


def _gaussian(found: LeftOut, by: _Deviation, queries: Tensor, keys: Tensor) -> LeftOut:
    """Return Gaussian scores in the changed metric.

    Args:
        queries, keys: products of the deviation with queries `(n,)` and keys `(n, num_classes)`.
    """
    scores = found.scores + by.weights[:, None] * (queries[:, None] - keys / 2) * keys
    half_squares = found.half_squares + by.weights * queries.square() / 2
    return LeftOut(by.scales[:, None] * scores, found.columns, by.scales * half_squares)


def _cosine(
    found: LeftOut, by: _Deviation, queries: Tensor, keys: Tensor, offsets: Tensor
) -> LeftOut:
    """Return cosines in the changed metric; see `_gaussian`."""
    weights = by.weights[:, None]
    products = found.scores - offsets + weights * queries[:, None] * keys
    squares = (1 + weights * queries[:, None].square()) * (1 + weights * keys.square())
    return LeftOut(products / squares.sqrt() + offsets, found.columns, found.half_squares)


def _without_ridge(
    rule: Rule, table: Table, state: State, chosen: Sequence[tuple[str, int]], columns: Tensor
) -> LeftOut:
    rows_of: dict[str, list[int]] = {}
    for label, row in chosen:
        rows_of.setdefault(label, []).append(row)
    column_of = dict(zip((label for label, _ in chosen), columns.tolist(), strict=True))
    scores: dict[tuple[str, int], Tensor] = {}
    labels = list(rows_of)
    for first in range(0, len(labels), AT_ONCE):
        part = labels[first : first + AT_ONCE]
        features = [_ridge_features(rule, state.records[label], rows_of[label]) for label in part]
        sizes = [len(each) for each in features]
        queries, h = rule.query(torch.cat(features)), _projected(rule, torch.cat(features))
        found = table.scores(queries.to(table.device)).cpu()  # h_i A^-1 Q
        pieces = zip(*(torch.split(each, sizes) for each in (queries, h, found)), strict=True)
        for label, (q, one, own) in zip(part, pieces, strict=True):
            # h_i A^-1 h_j; many small matrix products are slow on several threads
            products = (q[:, None].double() * one).sum(2)
            record, rows = state.records[label], rows_of[label]
            left = _ridge_scores(rule, record, rows, column_of[label], own.double(), products)
            scores |= {(label, row): each for row, each in zip(rows, left, strict=True)}
    stacked = torch.stack([scores[each] for each in chosen])
    return LeftOut(stacked, columns, torch.zeros(len(columns)))


def _is_reweighted(rule: Rule, record: ClassRecord) -> bool:
    assert isinstance(rule.head, RidgeHead)
    return rule.head.balanced and record.count <= MOST_KEPT


def _ridge_features(rule: Rule, record: ClassRecord, rows: Sequence[int]) -> Tensor:
    kept = record.kept.features
    return kept if _is_reweighted(rule, record) else kept[list(rows)]


def _projected(rule: Rule, features: Tensor) -> Tensor:
    assert isinstance(rule.head, RidgeHead)
    return rule.head.projected(rule.head.transformed(features))


def _ridge_scores(
    rule: Rule,
    record: ClassRecord,
    rows: Sequence[int],
    column: int,
    scores: Tensor,
    products: Tensor,
) -> Tensor:
    """Return the scores `(len(rows), num_classes)` of examples of one class.

    Args:
        rows: positions among the examples kept.
        column: of the class.
        scores, products: see `_reweighted`; of these rows alone if nothing is reweighted.
    """
    assert isinstance(rule.head, RidgeHead)
    if _is_reweighted(rule, record):
        found = [_reweighted(scores, products, row, column) for row in rows]
        return torch.stack(found).float()
    weight = 1 / record.count if rule.head.balanced else 1.0
    hats = (weight * products.diagonal()).clamp(max=LARGEST_HAT)
    scores[:, column] -= hats
    return (scores / (1 - hats[:, None])).float()


def _reweighted(scores: Tensor, products: Tensor, row: int, column: int) -> Tensor:
    """Return the scores `(num_classes,)` of an example without which its class weighs the same.

    Args:
        scores: `(n, num_classes)`, `h_i A^-1 Q` of all examples of the class.
        products: `(n, n)`, `h_i A^-1 h_j`.
    """
    n = len(products)
    weights = torch.full_like(products[0], 1 / (n - 1))
    weights[row] = 0
    change = (weights - 1 / n).diag()
    solved = torch.linalg.solve(torch.eye(n).to(change) + change @ products, change)
    lost = products[row] @ solved  # (n,): `h' A'^-1 = (h' - lost H) A^-1`
    found: Tensor = scores[row] - lost @ scores
    found[column] = products[row] @ weights - lost @ products @ weights
    return found
