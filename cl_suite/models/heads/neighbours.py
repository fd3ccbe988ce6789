"""A head that scores a class by its samples nearest to the query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.feature_transform import FeatureTransform
from cl_suite.models.heads.offset import OffsetCosineHead


class NeighbourHead(OffsetCosineHead):
    """`logit_k(x) = T (s_k(x) + o_k)`, `s_k` the cosine to the mean of class k's nearest samples.

    The rows are class means, and keep no part in the score once a class has samples.

    Args:
        share: share of a class's samples that counts; see `neighbour_scores`.
    """

    samples: Tensor
    products: Tensor
    counts: Tensor
    share: Tensor
    row_tensors = ("offsets", "counts")

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        temperature: float = 16.0,
        transform: FeatureTransform | None = None,
        *,
        share: float = 0.2,
    ) -> None:
        super().__init__(dim, num_classes, temperature, transform)
        # of unit length, in the order of the rows
        self.register_buffer("samples", torch.empty(0, dim))
        self.register_buffer("products", torch.empty(0))  # once, not with every query
        self.register_buffer("counts", torch.empty(0, dtype=torch.long))
        self.register_buffer("share", torch.tensor([share]))  # it may be chosen

    def set_share(self, share: float) -> None:
        """Set the share of a class's samples that counts."""
        self.share = self.share.new_tensor([share])

    def set_samples(self, class_ids: Sequence[int], samples: Tensor, labels: Tensor) -> None:
        """Keep samples of new classes, and their means as rows.

        Args:
            class_ids: classes without a row.
            samples: `(n, dim)` transformed features.
            labels: `(n,)` class id of each.
        """
        own = [samples[labels == c] for c in class_ids]
        self.set_rows(class_ids, torch.stack([part.mean(0) for part in own]))
        counts = [len(part) for part in own]
        self.counts[self.index(class_ids)] = self.counts.new_tensor(counts)
        unit = F.normalize(torch.cat(own)).to(self.samples)
        self.samples = torch.cat([self.samples, unit])
        self.products = torch.cat([self.products, class_products(unit, counts)])

    def keep_first(self, num_rows: int) -> None:
        super().keep_first(num_rows)
        self.samples = self.samples[: int(self.counts.sum())].clone()
        self.products = self.products[: int(self.counts.square().sum())].clone()

    def scores(self, features: Tensor) -> Tensor:
        if not len(self.samples):
            return super().scores(features)  # the base session trains through the rows
        found = neighbour_scores(
            F.normalize(features),
            self.samples,
            self.products,
            self.counts.tolist(),
            self.share.tolist(),
        )
        return self.temperature * (found[0] + self.offsets)


def neighbour_scores(
    queries: Tensor,
    samples: Tensor,
    products: Tensor,
    counts: Sequence[int],
    shares: Sequence[float],
) -> Tensor:
    """Return the cosine to the mean of the nearest samples of each class, for each share.

    Of a class of `n_k` samples the `max(1, round(share n_k))` nearest count. A share, not a number,
    is the same for all classes: the nearest of five samples is as rare a likeness as the nearest
    twenty of a hundred. Share 1 gives the cosine to the class mean.

    Args:
        queries: `(batch, dim)`, of unit length.
        samples: `(num_samples, dim)`, of unit length, those of one class after those of another.
        products: what `class_products` returns of them.
        counts: `n_k`, the number of samples of each class, at least 1.
        shares: each in (0, 1].

    Returns:
        `(num_shares, batch, num_classes)`.

    Example:
        >>> samples = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> products = class_products(samples, [2, 1])
        >>> neighbour_scores(torch.tensor([[0.8, 0.6]]), samples, products, [2, 1], [0.5])
        tensor([[[0.9600, 0.6000]]])
    """
    scores = queries.new_empty(len(shares), len(queries), len(counts))
    parts = torch.split(samples, list(counts)), torch.split(products, [n * n for n in counts])
    for column, (own, among) in enumerate(zip(*parts, strict=True)):
        cosines = queries @ own.T
        for row, share in enumerate(shares):
            nearest = cosines.topk(neighbours(len(own), share), dim=1)
            chosen = torch.zeros_like(cosines).scatter_(1, nearest.indices, 1.0)
            # |sum of the chosen|^2
            squares = ((chosen @ among.view(len(own), len(own))) * chosen).sum(1)
            length = squares.clamp(min=1e-12).sqrt()
            scores[row, :, column] = nearest.values.sum(1) / length
    return scores


def class_products(samples: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the products between the samples of each class, `(sum_k n_k^2,)`, class by class."""
    parts = torch.split(samples, list(counts))
    return torch.cat([samples.new_empty(0), *((own @ own.T).flatten() for own in parts)])


def neighbours(count: int, share: float) -> int:
    """Return the number of neighbours of a class of `count` samples."""
    return min(count, max(1, round(share * count)))
