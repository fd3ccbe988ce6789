"""A user's own criterion on a head whose columns of classes to come are minus infinity."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.models.heads.class_head import LinearHead
from cl_suite.models.heads.learned_columns import LearnedColumns, refuse_infinite


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    rates = (1 - F.softmax(logits, 1)) ** 2 * F.log_softmax(logits, 1)
    return -rates.gather(1, labels[:, None]).mean()


def squared(logits: Tensor, labels: Tensor) -> Tensor:
    return F.mse_loss(logits, F.one_hot(labels, logits.shape[1]).float())


def binary(logits: Tensor, labels: Tensor) -> Tensor:
    wanted = F.one_hot(labels, logits.shape[1]).float()
    return F.binary_cross_entropy_with_logits(logits, wanted)


Criterion = Callable[[Tensor, Tensor], Tensor]
NOT_FINITE = [focal, squared, binary, nn.CrossEntropyLoss(label_smoothing=0.1)]


def head_with(classes: list[int], columns: int) -> LinearHead:
    head = LinearHead(3, columns)
    head.grow(classes)
    return head


@pytest.mark.parametrize("criterion", NOT_FINITE)
def test_a_criterion_of_every_column_is_refused_before_a_weight_changes(
    criterion: Criterion,
) -> None:
    with pytest.raises(UserError, match=r"classes to come.*LearnedColumns\(criterion, model\)"):
        refuse_infinite(criterion, head_with([4, 1], 6))


@pytest.mark.parametrize("criterion", NOT_FINITE)
def test_learned_columns_make_loss_and_gradient_finite_and_equal_to_a_narrow_head(
    criterion: Criterion,
) -> None:
    head, x = head_with([4, 1], 6), torch.randn(5, 3)
    refuse_infinite(LearnedColumns(criterion, head), head)
    loss = LearnedColumns(criterion, head)(head(x), torch.tensor([1, 4, 4, 1, 1]))
    loss.backward()  # type: ignore[no-untyped-call]  # no types there
    assert head.weight.grad is not None
    assert head.weight.grad.isfinite().all()
    narrow = criterion(head.scores(x), torch.tensor([1, 0, 0, 1, 1]))
    assert loss.equal(narrow)


@pytest.mark.parametrize("criterion", [*NOT_FINITE, nn.CrossEntropyLoss()])
def test_a_head_whose_columns_are_all_learned_takes_any_criterion(criterion: Criterion) -> None:
    refuse_infinite(criterion, head_with([1, 0], 2))


def test_cross_entropy_with_class_weights_is_not_refused() -> None:
    refuse_infinite(nn.CrossEntropyLoss(weight=torch.ones(6)), head_with([4, 1], 6))


def test_a_class_that_was_never_learned_has_an_infinite_loss() -> None:
    head = head_with([4, 1], 6)
    loss = LearnedColumns(squared, head)(head(torch.zeros(1, 3)), torch.tensor([2]))
    assert loss.isposinf()
