"""Class statistics as exact running sums; all class means are computed here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Covariance = Literal["none", "diagonal", "shared", "full"]


@dataclass(frozen=True)
class ClassStats:
    """Sums over the features of each class, in float64, so order and split do not matter.

    Attributes:
        class_ids: `(num_classes,)`, ascending.
        total: `(num_classes, dim)` sum of the features.
        count: `(num_classes,)` number of samples; weights may make it fractional.
        scatter: sums of squares about zero: None, `(num_classes, dim)` diagonal, `(dim, dim)` of
            all classes' deviations from their means, or `(num_classes, dim, dim)` in full.
        kind: which of these `scatter` is.
    """

    class_ids: Tensor
    total: Tensor
    count: Tensor
    scatter: Tensor | None = None
    kind: Covariance = "none"

    @property
    def mean(self) -> Tensor:
        """Class means `(num_classes, dim)`, float64."""
        return self.total / self.count[:, None]

    @property
    def classes(self) -> list[int]:
        """Class ids, ascending."""
        ids: list[int] = self.class_ids.tolist()
        return ids

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance: one a class (diagonal, full) or pooled within classes (shared).

        It is zero for a class of one sample.

        Raises:
            ValueError: if no second moments were collected.
        """
        if self.scatter is None:
            raise ValueError("these statistics have no second moments; collect them with `kind`")
        if self.kind == "shared":
            freedom = (self.count.sum() - len(self.count)).clamp(min=1)
            return self.scatter / freedom
        freedom = (self.count - 1).clamp(min=1)
        mean = self.mean
        if self.kind == "diagonal":
            deviations = self.scatter - self.count[:, None] * mean**2
            return deviations.clamp(min=0) / freedom[:, None]
        outer = self.count[:, None, None] * mean[:, :, None] * mean[:, None, :]
        return (self.scatter - outer) / freedom[:, None, None]

    @property
    def first_moments(self) -> ClassStats:
        """The same statistics without second moments."""
        return replace(self, scatter=None, kind="none")

    def merge(self, other: ClassStats) -> ClassStats:
        """Return the statistics of both sets of samples together; classes may overlap.

        Raises:
            ValueError: if the two hold different kinds of second moments.
        """
        if self.kind != other.kind:
            raise ValueError(f"cannot merge {self.kind} with {other.kind} statistics")
        class_ids, row = torch.unique(
            torch.cat([self.class_ids, other.class_ids]), return_inverse=True
        )
        total = _sum_rows(torch.cat([self.total, other.total]), row, len(class_ids))
        count = _sum_rows(torch.cat([self.count, other.count]), row, len(class_ids))
        scatter = None
        if self.scatter is not None and other.scatter is not None:
            if self.kind == "shared":
                scatter = self.scatter + other.scatter + self._between(other)
            else:
                both = torch.cat([self.scatter, other.scatter])
                scatter = _sum_rows(both, row, len(class_ids))
        return ClassStats(class_ids, total, count, scatter, self.kind)

    def _between(self, other: ClassStats) -> Tensor:
        # if a class is in both, its samples deviate from a common mean (Chan et al., 1979)
        mine = {c: i for i, c in enumerate(self.classes)}
        pairs = [(mine[c], i) for i, c in enumerate(other.classes) if c in mine]
        between = self.total.new_zeros(self.total.shape[1], self.total.shape[1])
        for i, j in pairs:
            gap = self.mean[i] - other.mean[j]
            weight = self.count[i] * other.count[j] / (self.count[i] + other.count[j])
            between += weight * torch.outer(gap, gap)
        return between

    def select(self, class_ids: Iterable[int]) -> ClassStats:
        """Return the statistics of some classes; raise `ValueError` for shared second moments."""
        wanted = sorted(class_ids)
        position = {c: i for i, c in enumerate(self.classes)}
        rows = [position[c] for c in wanted]
        if self.kind == "shared":
            raise ValueError("shared second moments belong to all classes together")
        scatter = None if self.scatter is None else self.scatter[rows]
        return ClassStats(
            self.class_ids[rows], self.total[rows], self.count[rows], scatter, self.kind
        )

    def with_moments(self, mean: Tensor, covariance: Tensor | None = None) -> ClassStats:
        """Return statistics with the same counts and these moments.

        Args:
            mean: `(num_classes, dim)`.
            covariance: one a class, `(num_classes, dim)` or `(num_classes, dim, dim)`.
        """
        mean = mean.double()
        total = mean * self.count[:, None]
        if covariance is None:
            return ClassStats(self.class_ids, total, self.count)
        freedom = (self.count - 1).clamp(min=1)
        covariance = covariance.double()
        if covariance.dim() == 2:
            scatter = covariance * freedom[:, None] + self.count[:, None] * mean**2
            return ClassStats(self.class_ids, total, self.count, scatter, "diagonal")
        outer = self.count[:, None, None] * mean[:, :, None] * mean[:, None, :]
        scatter = covariance * freedom[:, None, None] + outer
        return ClassStats(self.class_ids, total, self.count, scatter, "full")

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as tensors and plain values."""
        return dict(vars(self))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> ClassStats:
        """Return the statistics that `state_dict` saved."""
        return cls(**state)


def class_stats(
    features: Tensor, labels: Tensor, *, kind: Covariance = "none", weights: Tensor | None = None
) -> ClassStats:
    """Return the statistics of features `(n, dim)` with class ids `labels` `(n,)`.

    Args:
        kind: second moments to collect in addition to the means.
        weights: `(n,)` weight of each sample, 1 by default.
    """
    class_ids, row = torch.unique(labels, return_inverse=True)
    num = len(class_ids)
    x = features.double()
    w = torch.ones_like(x[:, 0]) if weights is None else weights.double()
    total = _sum_rows(x * w[:, None], row, num)
    count = _sum_rows(w, row, num)
    scatter: Tensor | None = None
    if kind == "diagonal":
        scatter = _sum_rows(x**2 * w[:, None], row, num)
    elif kind == "shared":
        deviations = x - (total / count[:, None])[row]
        scatter = (deviations * w[:, None]).T @ deviations
    elif kind == "full":
        parts = [(x[row == i] * w[row == i, None]).T @ x[row == i] for i in range(num)]
        scatter = torch.stack(parts)
    return ClassStats(class_ids, total, count, scatter, kind)


def _sum_rows(values: Tensor, row: Tensor, num: int) -> Tensor:
    summed = values.new_zeros(num, *values.shape[1:])
    return summed.index_add_(0, row, values)


@torch.no_grad()
def extract(
    features: Callable[[Tensor], Tensor],
    batches: Iterable[list[Tensor]],
    *,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Return features `(n, dim)` and labels `(n,)` of every batch, on `device`."""
    rows, labels = [], []
    for batch in batches:
        rows.append(features(batch[0].to(device)))
        labels.append(batch[1].to(device))
    return torch.cat(rows), torch.cat(labels)


def unit(features: Tensor) -> Tensor:
    """Return features `(n, dim)` scaled to unit length."""
    return F.normalize(features)
