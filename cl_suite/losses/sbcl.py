"""Subclass-balancing contrastive loss for long tails (Hou et al., ICCV 2023, arXiv 2306.15925).

"Subclass-balancing Contrastive Learning for Long-tailed Recognition". Classes with many samples are
cut into subclasses of about the size of the rarest class, so that frequent classes do not dominate.
SupCon over the subclasses is balanced; a second term with a smaller weight keeps the subclasses of
a class together. `subclasses.subclasses` cuts the classes, from features that the caller computes
anew every few epochs; `subclasses.class_temperatures` gives the second term's temperatures.

Differences from the authors' code: the second term's weight is `beta` exactly (theirs multiplies
the first term alone by 0.1 / 0.07, so `beta` acts as 0.175), and samples need no order by class.
For the cutting see `subclasses`.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from cl_suite.losses.inputs import (
    check_labels,
    check_temperature,
    check_views,
    stack_views,
    unit_rows,
)
from cl_suite.losses.kernel import Reduction, contrast
from cl_suite.losses.supcon import supcon_loss

ClassTerm = Literal["rank", "plain"]


def sbcl_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    labels: Tensor,
    subclasses: Tensor,
    temperature: float = 0.1,
    class_temperature: Tensor | None = None,
    beta: float = 0.25,
    class_term: ClassTerm = "rank",
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return `supcon_loss` over the subclasses plus `beta` times a term over the classes.

    The term "rank" is SupCon with other positives and denominators. Positives of a view are the
    rows of its class in other subclasses, and the other view of its sample. Its denominator has
    these and all rows of other classes. The term "plain" is `supcon_loss` over the classes.

    Args:
        z1: `(batch, dim)` embeddings of the first views.
        z2: `(batch, dim)` of the second views.
        labels: `(batch,)` class ids.
        subclasses: `(batch,)` ids of subclasses; rows of two classes never share one.
        temperature: of the subclass term, and of the class term without `class_temperature`.
        class_temperature: `(batch,)` temperature of each sample's class in the class term.
        beta: weight of the class term.
        class_term: "rank" or "plain".
        reduction: "mean", "sum", or "none": `(2 batch,)`, first views first.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Raises:
        ValueError: if the inputs do not match each other, or `class_term` is unknown.
    """
    check_views(z1, z2)
    check_labels(labels, z1)
    check_labels(subclasses, z1, "subclasses")
    if class_term not in ("rank", "plain"):
        raise ValueError(f"class_term must be rank or plain, got {class_term!r}")
    z1, z2 = unit_rows(z1, normalize=normalize), unit_rows(z2, normalize=normalize)
    own = temperature if class_temperature is None else class_temperature
    first = supcon_loss(
        z1,
        z2,
        labels=subclasses,
        temperature=temperature,
        reduction=reduction,
        normalize=False,
        chunk_size=chunk_size,
    )
    if class_term == "plain":
        of_rows = own.repeat(2) if isinstance(own, Tensor) else own
        second = supcon_loss(
            z1,
            z2,
            labels=labels,
            temperature=of_rows,
            reduction=reduction,
            normalize=False,
            chunk_size=chunk_size,
        )
    else:
        second = _rank_term(z1, z2, labels, subclasses, own, reduction, chunk_size)
    return first + beta * second


def _rank_term(
    z1: Tensor,
    z2: Tensor,
    labels: Tensor,
    subclasses: Tensor,
    temperature: float | Tensor,
    reduction: Reduction,
    chunk_size: int | None,
) -> Tensor:
    check_temperature(temperature, "class_temperature")
    rows, samples, numbers = stack_views(z1, z2)
    classes, parts = labels.repeat(2), subclasses.repeat(2)

    def partner(some: slice) -> Tensor:
        itself = numbers[some, None] == numbers
        return (samples[some, None] == samples) & ~itself

    def other_part(some: slice) -> Tensor:
        return parts[some, None] != parts

    def positive(some: slice) -> Tensor:
        return ((classes[some, None] == classes) & other_part(some)) | partner(some)

    return contrast(
        rows,
        rows,
        positive=positive,
        denominator=lambda some: other_part(some) | partner(some),
        temperature=temperature.repeat(2) if isinstance(temperature, Tensor) else temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )
