"""Class log-mean-exp: values worked by hand, its prior and counts, and left-out keys."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import LABELS, QUEUE, Z1, Z2, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_suite.losses.class_mean import class_mean_loss
from cl_suite.losses.kernel import contrast, same

QUEUE_LABELS = torch.tensor([0, 1, 1])
PRIOR = torch.tensor([0.75, 0.25], dtype=torch.float64).log()


@pytest.mark.parametrize(("prior", "expected"), [(PRIOR, 0.885982), (None, 0.726745)])
def test_values_worked_by_hand(prior: torch.Tensor | None, expected: float) -> None:
    value = class_mean_loss(
        Z1,
        Z2,
        labels=LABELS,
        queue=QUEUE,
        queue_labels=QUEUE_LABELS,
        class_log_prior=prior,
        temperature=0.5,
    )
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_with_equal_counts_it_is_supcon_with_the_sum_inside() -> None:
    value = class_mean_loss(Z1, Z2, labels=LABELS, temperature=0.5).item()
    expected = contrast(
        Z1, Z2, positive=same(LABELS, LABELS), temperature=0.5, numerator="logsumexp"
    )
    assert value == pytest.approx(expected.item(), rel=1e-12)


def naive(z1: torch.Tensor, keys: torch.Tensor, classes: list[int], own: list[list[int]]) -> list:
    """Cross-entropies of class scores; `own[i]` are the keys that anchor i must not see."""
    values = []
    for i, anchor in enumerate(F.normalize(z1)):
        scores = {}
        for label in set(classes):
            members = [j for j, c in enumerate(classes) if c == label and j not in own[i]]
            if members:
                cosine = F.cosine_similarity(keys[members], anchor[None])
                scores[label] = (cosine / 0.3).exp().mean().log().item() + math.log(label + 1)
        total = math.log(sum(math.exp(score) for score in scores.values()))
        values.append(total - scores[classes[i]] if classes[i] in scores else 0.0)
    return values


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_it_equals_the_class_scores_written_naively(chunk_size: int | None) -> None:
    z1, z2, state = draw()
    options = {
        "labels": state.labels,
        "queue": state.queue,
        "queue_labels": state.queue_labels,
        "class_log_prior": torch.arange(1.0, 4, dtype=torch.float64).log(),
        "temperature": 0.3,
        "reduction": "none",
        "chunk_size": chunk_size,
    }
    keys = torch.cat([z2, state.queue])
    classes = state.labels.tolist() + state.queue_labels.tolist()
    values = class_mean_loss(z1, z2, **options)
    assert values.tolist() == pytest.approx(naive(z1, keys, classes, [[]] * 6), rel=1e-12)
    # the queue holds older keys of samples 3 and 0
    ids = {"sample_ids": torch.arange(6), "queue_sample_ids": torch.tensor([3, 9, 0, 9, 9])}
    own = [[0, 8], [1], [2], [3, 6], [4], [5]]
    values = class_mean_loss(z1, z2, **options, **ids)
    assert values.tolist() == pytest.approx(naive(z1, keys, classes, own), rel=1e-12)


def test_an_anchor_whose_only_key_is_its_own_is_left_out() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    ids = torch.arange(4)
    values = class_mean_loss(Z1, Z2, labels=labels, sample_ids=ids, reduction="none")
    assert values[2:].tolist() == [0, 0]
    mean = class_mean_loss(Z1, Z2, labels=labels, sample_ids=ids).item()
    assert mean == pytest.approx(values[:2].mean().item())


def test_a_class_without_prior_is_left_out_of_value_and_gradient() -> None:
    z1 = Z1.clone().requires_grad_()
    prior = torch.tensor([0.0, -math.inf])
    value = class_mean_loss(z1, Z2, labels=LABELS, class_log_prior=prior)
    value.backward()
    assert value.item() == 0  # class 0 is certain, anchors of class 1 do not count
    assert z1.grad is not None
    assert z1.grad.isfinite().all()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), copies=st.integers(2, 5))
def test_more_copies_of_a_classs_keys_change_nothing(seed: int, copies: int) -> None:
    z1, z2, state = draw(seed=seed)
    first = state.queue_labels == 0
    more_keys = torch.cat([state.queue[first], z2[:2]]).repeat(copies - 1, 1)
    queue = torch.cat([state.queue, more_keys])
    labels = torch.cat([state.queue_labels, state.labels.new_zeros(len(more_keys))])
    value = class_mean_loss(z1, z2, labels=state.labels, queue=queue, queue_labels=labels)
    expected = class_mean_loss(
        z1, z2, labels=state.labels, queue=state.queue, queue_labels=state.queue_labels
    )
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_labels_need_no_order_without_a_prior() -> None:
    value = class_mean_loss(Z1, Z2, labels=LABELS * -70 + 5).item()
    assert value == class_mean_loss(Z1, Z2, labels=LABELS).item()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": QUEUE}, "queue of 3 rows has no queue_labels"),
        (
            {"queue": QUEUE, "queue_labels": QUEUE_LABELS, "sample_ids": LABELS},
            "no queue_sample_ids although",
        ),
        ({"class_log_prior": PRIOR[:1]}, "run from 0 to 1, but class_log_prior has 1 entries"),
        ({"sample_ids": LABELS[:2]}, "sample_ids of shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_mean_loss(Z1, Z2, labels=LABELS, **options)
