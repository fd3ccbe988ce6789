"""MoCo and its filter: values worked by hand, limits, and which negatives are kept."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import LABELS, QUEUE, Z1, Z2, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cl_suite.losses.info_nce import info_nce_loss
from cl_suite.losses.moco import dual_moco_loss, moco_loss


@pytest.mark.parametrize(("temperature", "expected"), [(0.2, 0.283163), (0.5, 0.483761)])
def test_values_worked_by_hand(temperature: float, expected: float) -> None:
    value = moco_loss(Z1, Z2, queue=QUEUE, temperature=temperature).item()
    assert value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("hardest", "expected"),
    [(None, 0.494965), (1, 0.421056), (2, 0.475699), (3, 0.494965), (9, 0.494965)],
)
def test_both_views_as_queries_worked_by_hand(hardest: int | None, expected: float) -> None:
    value = dual_moco_loss(
        Z1, Z2, teacher1=Z1, teacher2=Z2, queue=QUEUE, temperature=0.5, hardest=hardest
    )
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_a_perfect_pair_among_orthogonal_keys() -> None:
    z1, queue = torch.eye(5)[:1], torch.eye(5)[1:]
    value = moco_loss(z1, z1, queue=queue, temperature=0.2).item()
    assert value == pytest.approx(math.log1p(4 * math.exp(-5)), abs=1e-6)
    assert value == pytest.approx(0.026595, abs=1e-6)


def test_it_equals_the_cross_entropy_at_column_0() -> None:
    z1, z2, state = draw()
    own = F.cosine_similarity(z1, z2)[:, None]
    logits = torch.cat([own, F.normalize(z1) @ state.queue.T], dim=1) / 0.3
    expected = F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64))
    value = moco_loss(z1, z2, queue=state.queue, temperature=0.3).item()
    assert value == pytest.approx(expected.item(), rel=1e-12)


def test_an_empty_queue_leaves_the_other_samples_of_the_batch() -> None:
    value = moco_loss(Z1, Z2, queue=QUEUE[:0], temperature=0.5).item()
    assert value == pytest.approx(info_nce_loss(Z1, Z2, temperature=0.5).item(), rel=1e-12)


def test_negatives_of_the_querys_class_are_left_out() -> None:
    kept = {0: [0], 1: [1, 2]}  # rows of the queue, whose labels are 1, 0, 0
    expected = []
    for query, key, label in zip(Z1, Z2, LABELS.tolist(), strict=True):
        others = QUEUE[kept[label]]
        expected.append(moco_loss(query[None], key[None], queue=others, temperature=0.5).item())
    values = moco_loss(
        Z1,
        Z2,
        queue=QUEUE,
        temperature=0.5,
        labels=LABELS,
        queue_labels=torch.tensor([1, 0, 0]),
        reduction="none",
    )
    assert values.tolist() == pytest.approx(expected)


def test_an_empty_queue_leaves_the_other_classes_of_the_batch() -> None:
    value = moco_loss(
        Z1, Z2, queue=QUEUE[:0], temperature=0.5, labels=LABELS, queue_labels=LABELS[:0]
    )
    logits = (Z1 @ Z2.T / 0.5).masked_fill(
        (LABELS[:, None] == LABELS) & ~torch.eye(4, dtype=torch.bool), -math.inf
    )
    assert value.item() == pytest.approx(F.cross_entropy(logits, torch.arange(4)).item())


def test_negatives_above_the_ceiling_are_left_out() -> None:
    query = torch.tensor([[1.0, 0.0]])  # cosines 0, 0.8, -1
    below = moco_loss(query, query, queue=QUEUE.float(), false_negative_ceiling=0.7)
    expected = moco_loss(query, query, queue=QUEUE[[0, 2]].float())
    assert below.item() == pytest.approx(expected.item())
    hardest = moco_loss(query, query, queue=QUEUE.float(), false_negative_ceiling=0.7, hardest=1)
    assert hardest.item() == pytest.approx(moco_loss(query, query, queue=QUEUE[:1].float()).item())


def test_no_negative_left_gives_exactly_zero() -> None:
    value = moco_loss(Z1, Z2, queue=QUEUE, false_negative_ceiling=-1.5)
    assert value.item() == 0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_more_negatives_never_lower_it(seed: int) -> None:
    z1, z2, state = draw(seed=seed)
    values: list[Tensor] = [
        moco_loss(z1, z2, queue=state.queue, hardest=num, reduction="none") for num in range(1, 6)
    ]
    for fewer, more in pairwise(values):
        assert (more >= fewer - 1e-12).all()
    assert values[-1].equal(moco_loss(z1, z2, queue=state.queue, reduction="none"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": torch.ones(3, 5)}, r"embeddings have dimension 2; pass a floating"),
        ({"queue": QUEUE, "hardest": 0}, "hardest must be at least 1, got 0"),
        ({"queue": QUEUE, "labels": LABELS}, "no queue_labels"),
        ({"queue": QUEUE, "queue_labels": LABELS}, "queue_labels of shape"),
        ({"queue": QUEUE, "labels": LABELS[:2], "queue_labels": LABELS[:3]}, "pass one label"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(options: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        moco_loss(Z1, Z2, **options)
