"""The dot-product head."""

from __future__ import annotations

import math

import torch

from cl_suite.models.heads.dot import DotHead


def test_scores_worked_by_hand() -> None:
    head = DotHead(2, num_classes=3)
    head.set_rows([2, 0], torch.tensor([[1.0, 0.5], [2.0, 0.0]]))
    assert head(torch.tensor([[3.0, 4.0]])).tolist() == [[6.0, -math.inf, 5.0]]


def test_a_longer_row_scores_higher() -> None:
    head = DotHead(2)
    head.set_rows([0, 1], torch.tensor([[1.0, 1.0], [3.0, 3.0]]))
    assert head(torch.tensor([[1.0, 0.0]])).argmax(1).item() == 1
