"""Base, cosine and linear heads, which grow with the classes and keep the data set's class ids.

A head has one row a learned class, in order of arrival. Its output has one column a class id;
columns of unlearned classes are minus infinity, so they neither win nor get a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.models.heads.feature_transform import FeatureTransform, take_sizes


class ClassHead(nn.Module):
    """Rows of weights, one a learned class; subclasses define how a feature scores against them.

    Args:
        dim: width of a row.
        num_classes: minimum number of output columns; the head widens if a larger class id is
            learned.
        transform: acts on features before they are scored, and is saved with the head.

    Class attributes:
        row_tensors: names of buffers that, like `weight`, have one row a class; new rows are zeros.
    """

    class_ids: Tensor
    row_tensors: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, dim: int, num_classes: int = 0, transform: FeatureTransform | None = None
    ) -> None:
        super().__init__()
        self.dim = dim
        self.num_outputs = num_classes
        self.transform = transform
        self.weight = nn.Parameter(torch.empty(0, dim))
        self.register_buffer("class_ids", torch.empty(0, dtype=torch.long))

    @property
    def classes(self) -> list[int]:
        """Class ids learned so far, in order of arrival."""
        ids: list[int] = self.class_ids.tolist()
        return ids

    def scores(self, features: Tensor) -> Tensor:
        """Return scores `(batch, num_learned)` of features `(batch, dim)`."""
        raise NotImplementedError

    def query(self, features: Tensor) -> Tensor:
        """Return queries `(batch, width)` of features `(batch, dim)` that `transformed` returned.

        With `keys` it states a head whose scores are `query keys^T + offsets`, up to one factor.

        Raises:
            NotImplementedError: for a head that scores otherwise.
        """
        raise NotImplementedError(f"{type(self).__name__} has no keys")

    def keys(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys `(n, width)` and offsets `(n,)` of rows `(n, dim)`; see `query`."""
        raise NotImplementedError(f"{type(self).__name__} has no keys")

    def transformed(self, features: Tensor) -> Tensor:
        """Return features `(batch, dim)` transformed for `scores`."""
        if self.transform is None:
            return features
        transformed: Tensor = self.transform(features)
        return transformed

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `(batch, num_outputs)`, one column a class id."""
        scores = self.scores(self.transformed(features))
        logits = scores.new_full((len(features), self.num_outputs), -math.inf)
        return logits.index_copy(1, self.class_ids, scores)

    def grow(self, class_ids: Iterable[int]) -> list[int]:
        """Add a randomly initialised row for each class that has none; return the new ids."""
        known = set(self.classes)
        new = [int(c) for c in class_ids if int(c) not in known]
        if new:
            rows = self.weight.new_empty(len(new), self.dim)
            nn.init.kaiming_uniform_(rows, a=math.sqrt(5))
            # a new Parameter: recreate any optimiser made before this
            self.weight = nn.Parameter(torch.cat([self.weight.detach(), rows]))
            self.class_ids = torch.cat([self.class_ids, self.class_ids.new_tensor(new)])
            for name in self.row_tensors:
                present: Tensor = getattr(self, name)
                rows = present.new_zeros(len(new), *present.shape[1:])
                setattr(self, name, torch.cat([present, rows]))
            self.widen(max(new) + 1)
        return new

    def keep_first(self, num_rows: int) -> None:
        """Drop every row but the first `num_rows` learned."""
        self.weight = nn.Parameter(self.weight.detach()[:num_rows].clone())
        self.class_ids = self.class_ids[:num_rows].clone()
        for name in self.row_tensors:
            setattr(self, name, getattr(self, name)[:num_rows].clone())

    def widen(self, num_outputs: int) -> None:
        """Give the output at least this many columns; no parameter changes."""
        self.num_outputs = max(self.num_outputs, num_outputs)

    @torch.no_grad()
    def set_rows(self, class_ids: Sequence[int], rows: Tensor) -> None:
        """Write `rows` `(len(class_ids), dim)`; add rows for classes that have none."""
        self.grow(class_ids)
        self.weight[self.index(class_ids)] = rows.to(self.weight)

    def rows(self, class_ids: Sequence[int]) -> Tensor:
        """Return the rows `(len(class_ids), dim)` of learned classes, detached."""
        return self.weight.detach()[self.index(class_ids)]

    def index(self, class_ids: Sequence[int]) -> Tensor:
        """Return the row index of each of these learned classes."""
        position = {c: i for i, c in enumerate(self.classes)}
        places = [position[int(c)] for c in class_ids]
        return torch.tensor(places, dtype=torch.long, device=self.weight.device)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        # a fresh head has no rows yet: resize it to the loaded state
        weight = state_dict.get(f"{prefix}weight")
        class_ids = state_dict.get(f"{prefix}class_ids")
        if weight is not None and class_ids is not None:
            if weight.shape != self.weight.shape:
                self.weight = nn.Parameter(self.weight.new_empty(weight.shape))
                self.class_ids = self.class_ids.new_empty(class_ids.shape)
            take_sizes(self, state_dict, prefix)
            self.widen(int(class_ids.max()) + 1 if len(class_ids) else 0)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]  # a dict


class CosineHead(ClassHead):
    """Cosine classifier: `logit_k(x) = T cos(x, w_k)`.

    Args:
        temperature: `T`; larger is sharper, and it never changes the prediction.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        temperature: float = 16.0,
        transform: FeatureTransform | None = None,
    ) -> None:
        super().__init__(dim, num_classes, transform)
        self.temperature = temperature

    def query(self, features: Tensor) -> Tensor:
        return F.normalize(features)

    def keys(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(rows), rows.new_zeros(len(rows))

    def scores(self, features: Tensor) -> Tensor:
        return self.temperature * F.linear(self.query(features), F.normalize(self.weight))


class LinearHead(ClassHead):
    """Linear classifier with a bias: `logit_k(x) = w_k x + b_k`; the bias is the last column."""

    def __init__(self, dim: int, num_classes: int = 0) -> None:
        super().__init__(dim + 1, num_classes)

    def scores(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight[:, :-1], self.weight[:, -1])
