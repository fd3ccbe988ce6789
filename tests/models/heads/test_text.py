"""The text head: scaled cosines of stored rows, and of live ones while training."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.text import TextHead


def head_with(rows: list[list[float]], class_ids: list[int]) -> TextHead:
    head = TextHead(len(rows[0]))
    head.set_rows(class_ids, torch.tensor(rows))
    return head


def test_logits_are_a_hundred_times_the_cosine_and_minus_infinity_elsewhere() -> None:
    head = head_with([[0.0, 2.0], [3.0, 4.0]], [2, 0]).eval()
    assert head(torch.tensor([[5.0, 0.0]]))[0].tolist() == pytest.approx([60.0, -math.inf, 0.0])


def test_rows_are_never_trained_however_they_come() -> None:
    head = head_with([[1.0, 0.0]], [0])
    head.grow([3])
    assert not head.weight.requires_grad
    head.keep_first(1)
    assert not head.weight.requires_grad
    fresh = TextHead(2)
    fresh.load_state_dict(head_with([[1.0, 0.0], [0.0, 1.0]], [4, 1]).state_dict())
    assert not fresh.weight.requires_grad
    assert fresh.classes == [4, 1]


def test_live_rows_alone_are_scored_while_training_and_get_the_gradient() -> None:
    head = head_with([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [0, 1, 2])
    live = torch.tensor([[0.6, 0.8], [1.0, 0.0]], requires_grad=True)
    head.live = lambda: ([2, 1], live)
    logits = head.train()(torch.tensor([[1.0, 0.0]]))
    assert logits[0].tolist() == pytest.approx([-math.inf, 100.0, 60.0])
    F.cross_entropy(logits, torch.tensor([2])).backward()
    assert live.grad is not None
    assert live.grad.isfinite().all()
    assert live.grad.abs().max() > 0


def test_stored_rows_are_scored_in_evaluation_whatever_is_live() -> None:
    head = head_with([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    head.live = lambda: pytest.fail("names were embedded in evaluation")
    assert head.eval()(torch.tensor([[1.0, 0.0]]))[0].tolist() == pytest.approx([100.0, 0.0])


def test_o6_cross_entropy_over_the_sessions_classes_alone() -> None:
    # logits 9, 2, 1 of classes 0 (old), 1, 2: unit rows at these hundredths of the first axis
    cosines = torch.tensor([9.0, 2.0, 1.0]) / 100
    rows = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)
    head = head_with(rows.tolist(), [0, 1, 2])
    query, label = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    assert F.cross_entropy(head.eval()(query), label).item() == pytest.approx(7.0012466, abs=2e-5)
    head.live = lambda: ([1, 2], rows[1:])
    masked = F.cross_entropy(head.train()(query), label).item()
    assert masked == pytest.approx(0.3132617, abs=2e-6)


def test_bfloat16_autocast_scores_in_full_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, features = (torch.randn(5, 16, generator=generator) for _ in range(2))
    head = head_with(rows.tolist(), list(range(5))).eval()

    def scores() -> Tensor:
        found: Tensor = head(features)
        return found

    expected = scores()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert scores().equal(expected)
