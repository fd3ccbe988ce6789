"""The kernel of the contrastive losses: one log-sum-exp; each loss supplies its masks.

Given unit rows `a_i` of anchors and `k_j` of keys, cosines `s_ij`, a temperature `t`, weights
`w_ij >= 0` of positive pairs, a mask `D_ij` of the pairs in the denominator and a bias `b_ij`:

    l_i = log sum_{j: D_ij} exp(s_ij / t + b_ij) - N_i
    N_i = sum_j w_ij (s_ij / t + b_ij) / sum_j w_ij             numerator "mean"
    N_i = log sum_{j: w_ij > 0} exp(s_ij / t + b_ij)            numerator "logsumexp"

With the right masks, numerator "mean" is SupCon's `L_out` (Khosla et al., NeurIPS 2020, arXiv
2004.11362), InfoNCE and the other losses of this package. A mask is a function from a slice of the
anchors to `(slice, keys)`, or to `(1, keys)` if it is the same for all anchors. So no mask of all
pairs is stored.

The matrix of cosines is computed in float32 (float64 for float64 rows) with autocast off: at a
temperature of 0.07 a bfloat16 exponent moves in steps of 0.06. If the matrix has more than
`CHUNK_ELEMENTS` entries, it is computed in slices of the anchors, and again for the gradient.
Memory then grows with one slice, and time grows by a third. A slice may be a single anchor, so long
queues need no slices of the keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Mask = Callable[[slice], Tensor]
Reduction = Literal["mean", "sum", "none"]
Numerator = Literal["mean", "logsumexp"]
Result = TypeVar("Result")

SOFTPLUS = 60.0  # past it, softplus is the identity even in float64
CHUNK_ELEMENTS = 2**24  # 64 MiB of float32; backward needs about three of them


def contrast(
    anchors: Tensor,
    keys: Tensor,
    *,
    positive: Mask | Tensor,
    denominator: Mask | None = None,
    temperature: float | Tensor = 1.0,
    bias: Mask | None = None,
    anchor_weight: Tensor | None = None,
    extra_keys: Tensor | None = None,
    numerator: Numerator = "mean",
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """Return the loss defined in the module docstring.

    An anchor without positives, or with an empty denominator, is left out. A key whose bias is
    -inf is left out for that anchor.

    Args:
        anchors: `(anchors, dim)`, of unit length.
        keys: `(keys, dim)`, of unit length.
        positive: returns `(slice, keys)` weights, not negative; or the column `(anchors,)` of each
            anchor's only positive, which is in its denominator: that takes less time.
        denominator: returns `(slice, keys)` booleans; None for all keys.
        temperature: a number, or a tensor that broadcasts to `(anchors, keys)`; `(anchors,)` is one
            per anchor.
        bias: returns `(slice, keys)` numbers, added to the exponents; None for 0.
        anchor_weight: `(anchors,)` factors; a mean still divides by the number of anchors.
        extra_keys: `(anchors, extra, dim)`, further keys per anchor. They are the first columns of
            all masks, before those of `keys`.
        numerator: whether positives are averaged outside the logarithm or summed inside.
        reduction: "mean" over the anchors not left out, "sum", or "none": `(anchors,)` with 0 for
            those left out.
        chunk_size: anchors per slice; None chooses it by `CHUNK_ELEMENTS`.

    Returns:
        A scalar or `(anchors,)`; 0 with a graph if all anchors are left out.

    Raises:
        ValueError: if `numerator`, `reduction` or `chunk_size` is not a valid value.
    """
    if numerator not in ("mean", "logsumexp"):
        raise ValueError(f"numerator must be mean or logsumexp, got {numerator!r}")
    assert bias is None or not isinstance(positive, Tensor), "a bias may leave the positive out"
    dtype = torch.promote_types(torch.promote_types(anchors.dtype, keys.dtype), torch.float32)
    anchors, keys = anchors.to(dtype), keys.to(dtype)

    def of_slice(rows: slice) -> tuple[Tensor, Tensor]:
        logits = scaled_cosines(anchors, keys, temperature, rows, extra_keys)
        allowed = None if denominator is None else denominator(rows)
        if isinstance(positive, Tensor):
            return _losses_of_one(logits, positive[rows], allowed)
        weight = positive(rows).to(dtype)
        if bias is not None:
            added = bias(rows).to(dtype)
            live = added > -math.inf
            logits = logits + added.masked_fill(~live, 0.0)
            weight = weight * live
            allowed = live if allowed is None else allowed & live
        return _anchor_losses(logits, weight, allowed, numerator)

    extra = 0 if extra_keys is None else extra_keys.shape[1]
    with torch.autocast(anchors.device.type, enabled=False):
        slices = row_slices(len(anchors), len(keys) + extra, chunk_size)
        parts = in_slices(of_slice, slices)
        values, counted = (torch.cat(column) for column in zip(*parts, strict=True))
        if anchor_weight is not None:
            values = values * anchor_weight
        return reduce(values, counted, reduction)


def contrast_own(
    anchors: Tensor,
    own: Tensor,
    keys: Tensor,
    *,
    negative: Mask | None = None,
    temperature: float | Tensor = 1.0,
    reduction: Reduction = "mean",
    chunk_size: int | None = None,
) -> Tensor:
    """Return the loss of anchors with a key of their own each, against keys that all share.

    It is `contrast` with the own key as the only positive; the own cosines are not copied beside
    the others, so a long queue takes less time.

    Args:
        anchors: `(anchors, dim)`, of unit length.
        own: `(anchors, dim)`, of unit length.
        keys: `(keys, dim)`, of unit length.
        negative: returns `(slice, keys)` booleans; None for all keys.
        temperature: a number, or a tensor that broadcasts to `(anchors, 1)`.
        reduction: as of `contrast`; no anchor is left out.
        chunk_size: anchors per slice; None chooses it by `CHUNK_ELEMENTS`.
    """
    dtype = torch.promote_types(torch.promote_types(anchors.dtype, keys.dtype), torch.float32)
    anchors, own, keys = anchors.to(dtype), own.to(dtype), keys.to(dtype)

    def of_slice(rows: slice) -> Tensor:
        logits = scaled_cosines(anchors, keys, temperature, rows)
        attraction = (anchors[rows] * own[rows] / _of_rows(temperature, rows)).sum(dim=1)
        allowed = None if negative is None else negative(rows)
        values = F.softplus(masked_logsumexp(logits, allowed) - attraction, threshold=SOFTPLUS)
        return values if allowed is None else values * allowed.any(dim=1)

    with torch.autocast(anchors.device.type, enabled=False):
        values = torch.cat(in_slices(of_slice, row_slices(len(anchors), len(keys), chunk_size)))
        return reduce(values, torch.ones_like(values), reduction)


def scaled_cosines(
    anchors: Tensor,
    keys: Tensor,
    temperature: float | Tensor,
    rows: slice,
    extra_keys: Tensor | None = None,
) -> Tensor:
    """Return `s_ij / t` of the anchors of a slice, `(slice, extra + keys)`."""
    t, some = _of_rows(temperature, rows), anchors[rows]
    # the rows are scaled if they may be: the matrix is larger
    by_row = not isinstance(t, Tensor) or t.dim() == 0 or t.shape[1] == 1
    some = some / t if by_row else some
    logits = some @ keys.T
    if extra_keys is not None:
        own = (extra_keys[rows].to(some.dtype) * some[:, None]).sum(dim=2)
        logits = torch.cat([own, logits], dim=1)
    return logits if by_row else logits / t


def _losses_of_one(logits: Tensor, column: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what `_anchor_losses` does, for one positive a row."""
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -math.inf)
    values = F.cross_entropy(logits, column, reduction="none")
    return values, torch.ones_like(column, dtype=torch.bool)


def _anchor_losses(
    logits: Tensor, weight: Tensor, allowed: Tensor | None, numerator: Numerator
) -> tuple[Tensor, Tensor]:
    """Return the losses `(slice,)`, 0 for anchors left out, and whether each anchor counts."""
    chosen = weight > 0
    counted = chosen.any(dim=1).expand(len(logits))
    if allowed is not None:
        counted = counted & allowed.any(dim=1)
    if numerator == "mean":
        total = weight.sum(dim=1)
        attraction = (weight * logits).sum(dim=1) / total.masked_fill(total == 0, 1.0)
    else:
        attraction = masked_logsumexp(logits, chosen)
    values = masked_logsumexp(logits, allowed) - attraction
    return values.masked_fill(~counted, 0.0), counted


def masked_logsumexp(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the log-sum-exp `(n,)` of each row's entries in the mask.

    A row without entries gives a finite number, which the caller must discard. Its true value -inf
    would have a gradient of NaN.
    """
    if mask is not None:
        mask = mask | ~mask.any(dim=1, keepdim=True)
        logits = logits.masked_fill(~mask, -math.inf)
    return logits.logsumexp(dim=1)


def reduce(values: Tensor, counted: Tensor, reduction: Reduction) -> Tensor:
    """Return the values `(n,)` unchanged, their sum, or the mean over those that count."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, got {reduction!r}")
    if reduction == "none":
        return values
    total = values.sum()
    if reduction == "sum":
        return total
    return total / counted.sum().clamp(min=1)


def row_slices(num_rows: int, num_columns: int, chunk_size: int | None) -> list[slice]:
    """Return slices over the rows of a matrix, of `chunk_size` rows; None chooses the size."""
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}; None chooses it")
    size = chunk_size or max(1, CHUNK_ELEMENTS // max(1, num_columns))
    return [slice(start, start + size) for start in range(0, num_rows, size)] or [slice(0, 0)]


def in_slices(function: Callable[[slice], Result], slices: list[slice]) -> list[Result]:
    """Return the function's result for each slice; several slices are recomputed in backward."""
    if len(slices) == 1:
        return [function(slices[0])]
    return [
        checkpoint(function, rows, use_reentrant=False, preserve_rng_state=False) for rows in slices
    ]


def same(anchors: Tensor, keys: Tensor) -> Mask:
    """Return the mask of the pairs whose labels or ids, `(anchors,)` and `(keys,)`, are equal."""
    return lambda rows: anchors[rows, None] == keys[None, :]


def differ(anchors: Tensor, keys: Tensor) -> Mask:
    """Return the mask of the pairs whose labels or ids differ."""
    return lambda rows: anchors[rows, None] != keys[None, :]


def both(first: Mask, second: Mask) -> Mask:
    """Return the mask of the pairs in both masks."""
    return lambda rows: first(rows) & second(rows)


def _of_rows(value: float | Tensor, rows: slice) -> float | Tensor:
    """Return the part of the temperature for the anchors of the slice."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    if value.dim() == 1:
        value = value[:, None]
    return value[rows] if len(value) > 1 else value
