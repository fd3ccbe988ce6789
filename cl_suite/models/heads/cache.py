"""A head that scores by class means and by a cache of single samples, as in Tip-Adapter and CaFo.

Zhang et al., "Tip-Adapter", ECCV 2022, arXiv 2207.09519; Zhang et al., "Prompt, Generate, then
Cache", CVPR 2023, arXiv 2303.02151. The formulas are in `cl_suite.strategies.cache`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.models.heads.class_head import ClassHead


class CacheHead(ClassHead):
    """Cosine to class means, plus what caches of single samples agree on.

    The rows are class means. A sample is one key in each cache, such as one view of it. A new class
    appends its keys; those before it stay as they are.

    Args:
        temperature: factor on the cosines to class means.
        num_caches: keys of each sample.
        alpha: weight of the caches; 0: class means alone.
        beta: sharpness of a cache; larger: the nearest keys alone count.
        by_count: divide a class's cache logit by its number of keys.
        per_class: divide the agreement of a cache with the class means by the number of classes.
    """

    weights: Tensor
    samples: Tensor
    owners: Tensor

    def __init__(
        self,
        dim: int,
        num_classes: int = 0,
        temperature: float = 16.0,
        *,
        num_caches: int = 1,
        alpha: float = 0.6,
        beta: float = 1.0,
        by_count: bool = True,
        per_class: bool = True,
    ) -> None:
        super().__init__(dim, num_classes)
        self.temperature = temperature
        # numbers of the state: they may be chosen in the base session
        self.register_buffer("weights", torch.tensor([alpha, beta]))
        self.by_count, self.per_class = by_count, per_class
        # of unit length, (num_caches, num_samples, dim)
        self.register_buffer("samples", torch.empty(num_caches, 0, dim))
        self.register_buffer("owners", torch.empty(0, dtype=torch.long))  # row of each one's class

    def set_weights(self, *, alpha: float, beta: float) -> None:
        """Set weight and sharpness of the caches."""
        self.weights = self.weights.new_tensor([alpha, beta])

    def append(self, samples: Tensor, class_ids: Tensor) -> None:
        """Append keys `(num_caches, num, dim)` of learned classes `(num,)`, of any length."""
        unit = F.normalize(samples, dim=2).to(self.samples)
        self.samples = torch.cat([self.samples, unit], dim=1)
        owners = self.index(class_ids.tolist())
        self.owners = torch.cat([self.owners, owners.to(self.owners)])

    def keep_first(self, num_rows: int) -> None:
        super().keep_first(num_rows)
        kept = self.owners < num_rows
        self.samples, self.owners = self.samples[:, kept].clone(), self.owners[kept].clone()

    def scores(self, features: Tensor) -> Tensor:
        unit = F.normalize(features)
        means = self.temperature * F.linear(unit, F.normalize(self.weight))
        alpha, beta = self.weights.tolist()
        if not len(self.owners) or not alpha:
            return means
        caches = torch.stack(
            [
                cache_logits(unit @ keys.T, self.owners, len(self.weight), beta, self.by_count)
                for keys in self.samples
            ]
        )
        return agreed(means, caches, alpha=alpha, per_class=self.per_class)


def cache_logits(
    cosines: Tensor, owners: Tensor, num_classes: int, beta: float, by_count: bool = False
) -> Tensor:
    """Return `sum_i exp(-beta (1 - cos(q, key_i)))` over the keys of each class.

    Args:
        cosines: `(batch, num_keys)` of queries to keys.
        owners: `(num_keys,)` class of each key, from 0.
        by_count: the mean over a class's keys instead of the sum; 0 for a class without keys.

    Returns:
        `(batch, num_classes)`.

    Example:
        >>> cosines, owners = torch.tensor([[0.8, 0.6, 0.96]]), torch.tensor([0, 1, 1])
        >>> cache_logits(cosines, owners, 2, beta=1.0)
        tensor([[0.8187, 1.6311]])
    """
    likeness = torch.exp(-beta * (1 - cosines))
    logits = likeness.new_zeros(len(cosines), num_classes).index_add_(1, owners, likeness)
    if by_count:
        logits = logits / torch.bincount(owners, minlength=num_classes).clamp(min=1)
    return logits


def agreed(means: Tensor, caches: Tensor, *, alpha: float, per_class: bool = True) -> Tensor:
    """Return `z + alpha sum_m w_m h_m`, with `w` the softmax over caches of `h_m . z'`.

    `h_m` are a cache's logits and `z'` those of the class means, both standardised over classes. A
    cache that agrees more with the class means has the larger say.

    Args:
        means: `z`, `(batch, num_classes)`.
        caches: `(num_caches, batch, num_classes)`.
        per_class: divide `h_m . z'` by the number of classes, with which it grows.
    """
    plain, cached = standardised(means), standardised(caches)
    agreement = (cached * plain).sum(2)  # (num_caches, batch)
    if per_class:
        agreement = agreement / means.shape[1]
    weights = agreement.softmax(dim=0)
    return means + alpha * (weights[:, :, None] * cached).sum(0)


def standardised(logits: Tensor) -> Tensor:
    """Return logits `(..., num_classes)` of mean 0 and unbiased variance 1; 0 if all are equal."""
    if logits.shape[-1] < 2:
        return torch.zeros_like(logits)
    centred = logits - logits.mean(dim=-1, keepdim=True)
    scale = centred.square().sum(dim=-1, keepdim=True) / (logits.shape[-1] - 1)
    # rounding leaves a trace of equal logits
    spread = scale.sqrt() > 1e-6 * logits.abs().amax(dim=-1, keepdim=True)
    return torch.where(spread, centred / torch.where(spread, scale, 1.0).sqrt(), 0.0)
