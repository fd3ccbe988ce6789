"""Loss functions on a head whose columns of classes to come are minus infinity.

Cross-entropy fits such a head: a column of minus infinity has probability 0 and no gradient. Label
smoothing, squared errors, binary cross-entropy or a focal loss compute with every column, so their
value or their gradient is not finite. `LearnedColumns` gives them the learned columns alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cl_suite.errors import UserError
from cl_suite.models.heads.class_head import ClassHead

Criterion = Callable[[Tensor, Tensor], Tensor]


class LearnedColumns:
    """A criterion on the columns of learned classes, with class ids counted in these columns.

    Columns are in the order of the head's rows, so weights by class belong to that order.

    Args:
        criterion: function of logits `(batch, num_learned)` and positions `(batch,)`.
        model: a `Classifier`, or its head.

    Example:
        >>> from cl_suite.models.heads.class_head import LinearHead
        >>> head = LinearHead(dim=2, num_classes=10)  # ten columns, of which two are learned
        >>> head.grow([7, 3])
        [7, 3]
        >>> criterion = LearnedColumns(nn.CrossEntropyLoss(label_smoothing=0.1), head)
        >>> criterion(head(torch.zeros(4, 2)), torch.tensor([3, 7, 7, 3])).isfinite()
        tensor(True)
    """

    def __init__(self, criterion: Criterion, model: nn.Module) -> None:
        self.criterion = criterion
        self.model = model

    def __call__(self, logits: Tensor, class_ids: Tensor) -> Tensor:
        """Return the loss; infinity if a class was never learned, as cross-entropy does."""
        learned = _head_of(self.model).class_ids.to(logits.device)
        is_own = class_ids[:, None] == learned
        if not bool(is_own.any(1).all()):
            return logits.new_tensor(math.inf)
        return self.criterion(logits[:, learned], is_own.int().argmax(1))


def refuse_infinite(criterion: Any, head: ClassHead) -> None:
    """Raise `UserError` if a criterion is not finite on a head with columns of classes to come.

    It is tried on zeros in the learned columns, so no weight changes before the message.
    """
    plain = isinstance(criterion, nn.CrossEntropyLoss) and not criterion.label_smoothing
    if criterion is None or plain or isinstance(criterion, LearnedColumns):
        return
    if not head.classes or len(head.classes) == head.num_outputs:
        return
    scores = torch.zeros(2, len(head.classes), device=head.class_ids.device, requires_grad=True)
    logits = scores.new_full((2, head.num_outputs), -math.inf)
    logits = logits.index_copy(1, head.class_ids, scores)
    try:
        loss = criterion(logits, head.class_ids[[0, -1]]).sum()
        (gradient,) = torch.autograd.grad(loss, scores)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return  # it does not take such a batch: its own error in training says more
    if not (loss.isfinite() and gradient.isfinite().all()):
        raise UserError(
            "the criterion is not finite on columns of classes to come, which are -inf in "
            "cl_suite's Classifier; give it the learned columns alone: criterion="
            "LearnedColumns(criterion, model), from cl_suite.models.heads.learned_columns"
        )


def _head_of(model: nn.Module) -> ClassHead:
    head = getattr(model, "head", model)
    assert isinstance(head, ClassHead), "of cl_suite"
    return head
