"""Linear projections of features and class embeddings into a shared contrastive space."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.models.heads.class_head import ClassHead


class Projections(nn.Module):
    """Projections of features and of a second modality, which may be learned label rows.

    Args:
        dim: width of the features, also in the second modality.
        projection_dim: width of a projection.
        second: whether there is a second modality.
        labels: whether there are label rows.
    """

    labels: LabelRows
    second: Projection

    def __init__(self, dim: int, projection_dim: int, *, second: bool, labels: bool) -> None:
        super().__init__()
        self.first = Projection(dim, projection_dim)
        if second:
            self.second = Projection(dim, projection_dim)
        if labels:
            self.labels = LabelRows(dim)


class Projection(nn.Module):
    """A linear map, but not an `nn.Linear`: the last of these counts as a network's classifier."""

    def __init__(self, dim: int, projection_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(projection_dim, dim))
        self.bias = nn.Parameter(torch.empty(projection_dim))
        for tensor in (self.weight, self.bias):
            nn.init.uniform_(tensor, -(dim**-0.5), dim**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight, self.bias)


class LabelRows(ClassHead):
    """A learned row per class, with normal initial values like an embedding layer."""

    def grow(self, class_ids: Iterable[int]) -> list[int]:
        new = super().grow(class_ids)
        rows = self.weight.detach().clone()
        rows[len(rows) - len(new) :].normal_()
        # always a new Parameter: a resumed session already has the rows, and its optimiser must get
        # the same list of parameters as when the session began
        self.weight = nn.Parameter(rows)
        return new

    def embedding(self, labels: Tensor) -> Tensor:
        """Return the rows `(batch, dim)` of the classes `(batch,)`, all of which must have one."""
        place = (labels[:, None] == self.class_ids).long().argmax(dim=1)
        return self.weight[place]
