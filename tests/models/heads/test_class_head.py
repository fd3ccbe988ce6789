"""Heads: they grow, keep the data set's ids, and never let an unlearned class win."""

from __future__ import annotations

import math

import pytest
import torch

from cl_suite.models.heads.class_head import ClassHead, CosineHead, LinearHead

every_head = pytest.mark.parametrize("make", [CosineHead, LinearHead])


@every_head
def test_classes_not_learned_score_minus_infinity(make: type[ClassHead]) -> None:
    head = make(3, num_classes=6)
    head.grow([4, 1])
    logits = head(torch.randn(5, 3))
    assert logits.shape == (5, 6)
    assert (logits[:, [0, 2, 3, 5]] == -math.inf).all()
    assert logits[:, [1, 4]].isfinite().all()


@every_head
def test_unlearned_classes_draw_no_gradient(make: type[ClassHead]) -> None:
    head = make(3, num_classes=6)
    head.grow([4, 1])
    loss = torch.nn.functional.cross_entropy(head(torch.randn(5, 3)), torch.tensor([4, 1, 1, 4, 4]))
    loss.backward()
    assert loss.isfinite()
    assert head.weight.grad is not None
    assert head.weight.grad.isfinite().all()


@every_head
def test_growing_keeps_the_rows_there_are(make: type[ClassHead]) -> None:
    head = make(3)
    head.grow([2, 9])
    before = head.weight.detach().clone()
    assert head.grow([9, 5]) == [5]
    assert head.weight[:2].equal(before)
    assert head.classes == [2, 9, 5]
    assert head.num_outputs == 10


@every_head
def test_a_fresh_head_takes_the_size_of_what_it_loads(make: type[ClassHead]) -> None:
    head, fresh = make(3), make(3)
    head.grow([7, 0])
    fresh.load_state_dict(head.state_dict())
    features = torch.randn(4, 3)
    assert fresh(features).equal(head(features))


def test_cosine_scores_worked_by_hand() -> None:
    head = CosineHead(2, temperature=10.0)
    head.set_rows([0, 1], torch.tensor([[2.0, 0.0], [3.0, 4.0]]))
    scores = head(torch.tensor([[0.0, 5.0]]))
    torch.testing.assert_close(scores, torch.tensor([[0.0, 8.0]]))


def test_linear_scores_worked_by_hand() -> None:
    head = LinearHead(2)
    head.set_rows([0], torch.tensor([[2.0, 1.0, 0.5]]))
    torch.testing.assert_close(head(torch.tensor([[3.0, 4.0]])), torch.tensor([[10.5]]))


def test_keep_first_drops_the_latest_rows() -> None:
    head = CosineHead(2)
    head.grow([3, 1, 2])
    head.keep_first(2)
    assert head.classes == [3, 1]
    assert head.weight.shape == (2, 2)


def test_no_rows_are_asked_for_where_no_class_is_learned() -> None:
    head = CosineHead(3, 5)
    assert head.rows([]).shape == (0, 3)
    assert head(torch.ones(2, 3)).shape == (2, 5)
