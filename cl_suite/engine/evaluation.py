"""The confusion matrix of a classifier's predictions, from which every figure follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def confusion_matrix(
    predict: Callable[[Tensor], Tensor],
    batches: Iterable[list[Tensor]],
    num_classes: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return how often class `i` was predicted as class `j`, int64 `(num_classes, num_classes)`.

    Its diagonal holds the hits and its row sums the counts; every published figure follows.

    Args:
        predict: maps inputs `(batch, ...)` to class ids `(batch,)`, each sample independently.
        batches: batches `[inputs, class ids (batch,), ...]`.
    """
    confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
    for batch in batches:
        inputs, labels = batch[0].to(device), batch[1].to(device)
        confusion += torch.bincount(
            labels * num_classes + predict(inputs).to(device),
            minlength=num_classes * num_classes,
        )
    return confusion.view(num_classes, num_classes).cpu()
