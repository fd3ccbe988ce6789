"""Losses of COCONUT: negative-student positive-teacher distillation, and a multimodal loss.

Cappellazzo, Fini, Yang, Falavigna, Brutti, Raj, "Continual Contrastive Spoken Language
Understanding", ACL Findings 2024, arXiv 2310.02699. `nspt_loss` distils the last session's network
into the current one. A rehearsed sample is pulled towards the teacher's embeddings of its class and
pushed away from the student's embeddings of the batch, because the teacher does not know the new
classes. `multimodal_loss` is CLIP's, with only samples of new classes as anchors.

We found no code by the authors. The positives and the choice of anchors are theirs. The form of the
denominator follows their reviewers' reading of it, hence the variants.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from cl_suite.losses.inputs import check_labels, check_temperature, check_views, unit_rows
from cl_suite.losses.kernel import Mask, Reduction, both, contrast, differ, same

Denominator = Literal[
    "student_all", "student_all_minus_self", "teacher_pos_student_neg", "teacher_all"
]
Anchors = Literal["rehearsal", "all"]


def nspt_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    labels: Tensor,
    rehearsal: Tensor,
    temperature: float | Tensor = 0.1,
    denominator: Denominator = "student_all",
    anchors: Anchors = "rehearsal",
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over anchors `k` of the following, where `P(k)` are the anchors of its class.

        -1/|P(k)| sum_{p in P(k)} log( exp(a_k.b_p / t) / Z_k )

        Z_k = sum_i exp(a_k.a_i / t)                                     student_all
        Z_k = sum_{i != k} exp(a_k.a_i / t)                              student_all_minus_self
        Z_k = sum_{P(k)} exp(a_k.b_p / t) + sum_{others} exp(a_k.a_i / t)
                                                                         teacher_pos_student_neg
        Z_k = sum_i exp(a_k.b_i / t)                                     teacher_all

    Sums over `i` run over the whole batch, and `k` itself is in `P(k)`. "teacher_all" is the usual
    contrastive distillation, called NTPT.

    Args:
        student: `(batch, dim)` embeddings `a`.
        teacher: `(batch, dim)` embeddings `b` of the same samples; without gradient. Rows of
            other samples than anchors count only with "teacher_all"; otherwise any finite numbers
            will do.
        labels: `(batch,)` class ids.
        rehearsal: `(batch,)` whether each sample's class is from an earlier session.
        temperature: `t`.
        denominator: which `Z_k` to use.
        anchors: "rehearsal" samples, or "all" of them as an ablation.
        reduction: "mean" over the anchors, "sum", or "none": `(batch,)` with 0 for other samples.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Returns:
        0 with a graph if the batch has no anchor. With unit rows "student_all" is never below 0,
        because `a_k.a_k` is its largest exponent.

    Raises:
        ValueError: if the inputs do not match each other, or a choice is unknown.
    """
    check_views(student, teacher, smallest_batch=1)
    check_temperature(temperature)
    check_labels(labels, student)
    check_labels(rehearsal, student, "rehearsal")
    for name, value, known in (
        ("denominator", denominator, get_args(Denominator)),
        ("anchors", anchors, get_args(Anchors)),
    ):
        if value not in known:
            raise ValueError(f"{name} '{value}' is unknown; known: {', '.join(known)}")
    a = unit_rows(student, normalize=normalize)
    b = unit_rows(teacher.detach(), normalize=normalize).to(a.dtype)
    is_anchor = rehearsal.bool() if anchors == "rehearsal" else torch.ones_like(labels).bool()

    def positive(rows: slice) -> Tensor:
        return (labels[rows, None] == labels) & is_anchor[rows, None] & is_anchor

    by_teacher = denominator == "teacher_all"
    return contrast(
        a,
        b if by_teacher else torch.cat([a, b]),
        positive=positive if by_teacher else lambda rows: _halves(None, positive(rows)),
        denominator=None if by_teacher else _student_denominator(denominator, positive, labels),
        temperature=temperature,
        reduction=reduction,
        chunk_size=chunk_size,
    )


def multimodal_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    anchors: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    reduction: Reduction = "mean",
    normalize: bool = True,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the mean over anchors of the symmetric InfoNCE between two modalities.

    Like `info_nce.clip_loss`, but only some samples may be anchors; the denominators run over all
    samples. Rows with the same text are still negatives of each other.

    Args:
        z1: `(batch, dim)` embeddings in one modality.
        z2: `(batch, dim)` of the same samples in the other; gradient flows into both.
        anchors: `(batch,)` whether each sample is an anchor; None for all.
        temperature: `t`.
        reduction: "mean" over the anchors, "sum", or "none": `(batch,)` with 0 for other samples.
        normalize: scale the rows to unit length; pass False if they already have it.
        chunk_size: anchors per slice of the similarity matrix (see `kernel`).

    Returns:
        0 with a graph for a batch without anchors or of one sample.

    Raises:
        ValueError: if the inputs do not match each other.
    """
    check_views(z1, z2, smallest_batch=1)
    check_temperature(temperature)
    samples = torch.arange(len(z1), device=z1.device)
    positive = same(samples, samples)
    if anchors is not None:
        check_labels(anchors, z1, "anchors")
        is_anchor = anchors.bool()
        positive = both(positive, lambda rows: is_anchor[rows, None])
    z1, z2 = unit_rows(z1, normalize=normalize), unit_rows(z2, normalize=normalize)
    forth, back = (
        contrast(
            queries,
            keys,
            positive=positive,
            temperature=temperature,
            reduction=reduction,
            chunk_size=chunk_size,
        )
        for queries, keys in ((z1, z2), (z2, z1))
    )
    return (forth + back) / 2


def _student_denominator(denominator: Denominator, positive: Mask, labels: Tensor) -> Mask:
    """Return the mask of a denominator over the keys [student, teacher]."""
    numbers = torch.arange(len(labels), device=labels.device)

    def mask(rows: slice) -> Tensor:
        if denominator == "student_all_minus_self":
            return _halves(differ(numbers, numbers)(rows), None)
        pairs = positive(rows)
        if denominator == "teacher_pos_student_neg":
            return _halves(~pairs, pairs)
        return _halves(torch.ones_like(pairs), None)

    return mask


def _halves(student: Tensor | None, teacher: Tensor | None) -> Tensor:
    """Join masks `(slice, batch)` of both halves into `(slice, 2 batch)`; None for no pairs."""
    given = student if student is not None else teacher
    assert given is not None, "one of them is there"
    nothing = torch.zeros_like(given)
    parts = [nothing if half is None else half for half in (student, teacher)]
    return torch.cat(parts, dim=1)
