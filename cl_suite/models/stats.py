"""Class statistics as exact running sums: the one place where a class mean is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class ClassStats:
    """Sums over the features of each class; float64, so that the order of batches does not matter.

    Attributes:
        class_ids: `(num_classes,)`, ascending.
        total: `(num_classes, dim)` sum of the features.
        count: `(num_classes,)` number of samples.
    """

    class_ids: Tensor
    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """Class means `(num_classes, dim)`, float64."""
        return self.total / self.count[:, None]

    @property
    def classes(self) -> list[int]:
        ids: list[int] = self.class_ids.tolist()
        return ids

    def state_dict(self) -> dict[str, Tensor]:
        return {"class_ids": self.class_ids, "total": self.total, "count": self.count}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> ClassStats:
        return cls(state["class_ids"], state["total"], state["count"])


def class_stats(features: Tensor, labels: Tensor) -> ClassStats:
    """Return the statistics of features `(n, dim)` with class ids `labels` `(n,)`."""
    class_ids, row = torch.unique(labels, return_inverse=True)
    total = torch.zeros(len(class_ids), features.shape[1], dtype=torch.float64, device=row.device)
    total.index_add_(0, row, features.double())
    return ClassStats(class_ids, total, torch.bincount(row, minlength=len(class_ids)).double())


@torch.no_grad()
def extract(
    features: Callable[[Tensor], Tensor],
    batches: Iterable[list[Tensor]],
    *,
    device: torch.device | str = "cpu",
    normalize: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return features `(n, dim)` and labels `(n,)` of every batch, on `device`.

    Args:
        normalize: scale each feature to unit length (then the mean is that of directions).
    """
    rows, labels = [], []
    for batch in batches:
        embedded = features(batch[0].to(device))
        rows.append(F.normalize(embedded) if normalize else embedded)
        labels.append(batch[1].to(device))
    return torch.cat(rows), torch.cat(labels)
