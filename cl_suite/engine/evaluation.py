"""True and predicted classes of test samples, from which every figure follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """The class of each test sample, and the one predicted; they grow with the samples alone.

    Attributes:
        labels, predicted: class ids, int64 `(num_samples,)`, on the CPU.
        num_classes: number of class ids.
    """

    labels: Tensor
    predicted: Tensor
    num_classes: int

    def hits(self) -> Tensor:
        """Return the samples predicted correctly, of each class, int64 `(num_classes,)`."""
        right = self.labels[self.labels == self.predicted]
        return torch.bincount(right, minlength=self.num_classes)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return the pairs of true and predicted class, `(2, num_pairs)`, and how often each came.

        They are the confusion matrix without its zeros.
        """
        codes = self.labels * self.num_classes + self.predicted
        found, counts = torch.unique(codes, return_counts=True)
        pairs = torch.stack([found // self.num_classes, found % self.num_classes])
        return pairs, counts

    def matrix(self) -> Tensor:
        """Return the confusion matrix, int64 `(num_classes, num_classes)`."""
        codes = self.labels * self.num_classes + self.predicted
        square = torch.bincount(codes, minlength=self.num_classes**2)
        return square.view(self.num_classes, self.num_classes)


def predictions(
    predict: Callable[[Tensor], Tensor],
    batches: Iterable[list[Tensor]],
    num_classes: int,
    device: torch.device | str = "cpu",
) -> Predictions:
    """Return the predictions for these batches.

    Args:
        predict: maps inputs `(batch, ...)` to class ids `(batch,)`, each sample independently.
        batches: batches `[inputs, class ids (batch,), ...]`.
    """
    labels, predicted = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
    for batch in batches:
        predicted.append(predict(batch[0].to(device)).cpu())
        labels.append(batch[1].cpu())
    return Predictions(torch.cat(labels), torch.cat(predicted), num_classes)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several sets of samples as those of one."""
    return Predictions(
        torch.cat([part.labels for part in parts]),
        torch.cat([part.predicted for part in parts]),
        parts[0].num_classes,
    )
