"""Evaluation after a session: one pass over the test data of the classes seen, split by label."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cl_suite.modes import evaluating


@torch.no_grad()
def confusion_matrix(
    model: nn.Module,
    batches: Iterable[list[Tensor]],
    num_classes: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return how often class `i` was predicted as class `j`, int64 `(num_classes, num_classes)`.

    The prediction is the argmax of `model(x)` in eval mode, of each sample on its own. Hits are the
    diagonal and counts the row sums, so every published figure follows from it.
    """
    confusion = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=device)
    with evaluating(model):
        for batch in batches:
            inputs, labels = batch[0].to(device), batch[1].to(device)
            predicted = model(inputs).argmax(dim=1)
            confusion += torch.bincount(
                labels * num_classes + predicted, minlength=num_classes * num_classes
            )
    return confusion.view(num_classes, num_classes).cpu()
