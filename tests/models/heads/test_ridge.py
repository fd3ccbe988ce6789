"""Streaming ridge regression: exact in any split and order, and balanced if required."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.ridge import RidgeHead


def samples(counts: list[int], dim: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.full((num,), c) for c, num in enumerate(counts)])
    centres = 2 * torch.randn(len(counts), dim, generator=generator)
    return centres[labels] + torch.randn(len(labels), dim, generator=generator), labels


def learned(parts: list[tuple[Tensor, Tensor]], **settings: int | bool) -> RidgeHead:
    head = RidgeHead(6, num_classes=4, **{"num_projections": 16, **settings}).double()  # type: ignore[arg-type]
    for features, labels in parts:
        head.learn(features.double(), labels)
    head.solve(0.1)
    return head


def test_scores_equal_the_formula_written_naively() -> None:
    features, labels = samples([20, 5, 8, 3])
    head = learned([(features, labels)])
    h = F.relu(features.double() @ head.projection)
    targets = F.one_hot(labels, 4).double()
    weights = torch.diag(1 / torch.bincount(labels).double()[labels])
    gram = h.T @ weights @ h
    ridge = 0.1 * gram.trace() / 16 * torch.eye(16, dtype=torch.float64)
    expected = h @ torch.linalg.solve(gram + ridge, h.T @ weights @ targets)
    torch.testing.assert_close(head(features.double()), expected)


def test_a_stream_equals_the_batch_in_any_order() -> None:
    features, labels = samples([20, 5, 8, 3])
    whole = learned([(features, labels)])
    parts = [(features[labels == c], labels[labels == c]) for c in (2, 0, 3, 1)]
    stream = learned([(f.flip(0), y) for f, y in parts])
    torch.testing.assert_close(stream.gram, whole.gram, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        stream(features.double()), whole(features.double()), rtol=1e-10, atol=1e-10
    )


def test_samples_of_one_class_may_come_in_several_parts() -> None:
    features, labels = samples([20, 6])
    settings = {"balanced": False, "num_projections": 0}
    whole = learned([(features, labels)], **settings)
    parts = [(features[rows], labels[rows]) for rows in (slice(0, 7), slice(7, 23), slice(23, 26))]
    stream = learned(parts, **settings)
    torch.testing.assert_close(
        stream(features.double()), whole(features.double()), rtol=1e-10, atol=1e-10
    )


def test_without_balance_a_class_of_few_shots_is_lost() -> None:
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(6, 40, generator=generator)
    labels = torch.cat([torch.full((num,), c) for c, num in enumerate([400] * 5 + [3])])
    features = centres[labels] + 1.5 * torch.randn(len(labels), 40, generator=generator)
    queries = centres[5] + 1.5 * torch.randn(200, 40, generator=generator)
    rates = []
    for balanced in (True, False):
        head = RidgeHead(40, num_projections=0, balanced=balanced)
        head.learn(features, labels)
        head.solve(1.0)
        rates.append((head(queries).argmax(1) == 5).float().mean().item())
    assert rates[0] > 0.5
    assert rates[1] < 0.05


def test_a_session_leaves_the_rows_of_others_alone() -> None:
    features, labels = samples([20, 5, 8, 3])
    old = labels < 2
    head = learned([(features[old], labels[old])])
    before = head.rows([0, 1])
    head.learn(features[~old].double(), labels[~old])
    assert head.rows([0, 1]).equal(before)


def test_it_scores_by_cosine_before_anything_was_learned() -> None:
    head = RidgeHead(2, num_projections=0, temperature=10.0)
    head.set_rows([0], torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(head(torch.tensor([[0.6, 0.8]])), torch.tensor([[6.0]]))


def test_single_precision_scores_agree_with_double() -> None:
    features, labels = samples([50, 5, 5, 5])
    double = learned([(features, labels)], num_projections=64)
    single = RidgeHead(6, num_classes=4, num_projections=64)
    single.load_state_dict({k: v.float() for k, v in double.state_dict().items()})
    torch.testing.assert_close(
        single(features), double(features.double()).float(), atol=1e-3, rtol=0
    )


def test_a_fresh_head_goes_on_from_what_it_loads() -> None:
    features, labels = samples([20, 5, 8, 3])
    old = labels < 2
    head = learned([(features[old], labels[old])])
    fresh = RidgeHead(6, num_classes=4, num_projections=16, seed=9).double()
    fresh.load_state_dict(head.state_dict())
    for one in (head, fresh):
        one.learn(features[~old].double(), labels[~old])
        one.solve(0.1)
    assert fresh(features.double()).equal(head(features.double()))
