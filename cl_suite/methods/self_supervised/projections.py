"""Linear projections of features and of class embeddings into a space to contrast them in."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.models.heads.class_head import ClassHead


class Projections(nn.Module):
    """A projection of features, one of a second modality, and rows of labels to be that modality.

    Args:
        dim: width of the features, and of what the second modality has in their place.
        projection_dim: width of what comes out.
        second: whether there is a second modality.
        labels: whether there are rows of labels.
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
    """A linear map that is no `nn.Linear`: a foreign network's last one of these classifies."""

    def __init__(self, dim: int, projection_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(projection_dim, dim))
        self.bias = nn.Parameter(torch.empty(projection_dim))
        for tensor in (self.weight, self.bias):
            nn.init.uniform_(tensor, -(dim**-0.5), dim**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight, self.bias)


class LabelRows(ClassHead):
    """A learned row for each class, normal at first as those of any embedding layer."""

    def grow(self, class_ids: Iterable[int]) -> list[int]:
        new = super().grow(class_ids)
        rows = self.weight.detach().clone()
        rows[len(rows) - len(new) :].normal_()
        # a new Parameter in any case: a session that is gone on with has the rows already, and its
        # optimiser must come to the same list of parameters as when the session began
        self.weight = nn.Parameter(rows)
        return new

    def embedding(self, labels: Tensor) -> Tensor:
        """Return the rows `(batch, dim)` of the classes `(batch,)`, which all have one."""
        place = (labels[:, None] == self.class_ids).long().argmax(dim=1)
        return self.weight[place]
