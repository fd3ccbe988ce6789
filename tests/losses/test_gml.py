"""GML: which term trains what, the logit adjustment, and which keys a queue keeps."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.contrast_inputs import LABELS, QUEUE, Z1, Z2

from cl_suite.losses.class_mean import class_mean_loss
from cl_suite.losses.gml import (
    class_quotas,
    gml_loss,
    logit_adjusted_cross_entropy,
    newest_of_each,
)

KEYS = {"queue": QUEUE, "queue_labels": torch.tensor([0, 1, 1])}
OLD_ROWS = torch.tensor([0, 9, 2])
PRIOR = torch.tensor([0.75, 0.25], dtype=torch.float64).log()


def test_it_is_the_class_scores_once_with_and_once_without_own_keys() -> None:
    log_temperature = torch.tensor(math.log(0.5), dtype=torch.float64)
    value = gml_loss(
        Z1,
        Z2,
        labels=LABELS,
        log_temperature=log_temperature,
        sample_ids=torch.arange(4),
        queue_sample_ids=OLD_ROWS,
        class_log_prior=PRIOR,
        **KEYS,
    )
    shared = {"labels": LABELS, "class_log_prior": PRIOR, "temperature": 0.5, **KEYS}
    ids = {"sample_ids": torch.arange(4), "queue_sample_ids": OLD_ROWS}
    first = class_mean_loss(Z1, Z2, **shared).item()
    assert first == pytest.approx(0.885982, abs=1e-6)
    assert value.item() == pytest.approx(first + class_mean_loss(Z1, Z2, **shared, **ids).item())


def test_the_encoder_learns_from_the_first_term_and_the_temperature_from_the_second() -> None:
    z1 = Z1.clone().requires_grad_()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    ids = torch.arange(4)
    gml_loss(z1, Z2, labels=LABELS, log_temperature=log_temperature, sample_ids=ids).backward()
    alone, scale = Z1.clone().requires_grad_(), torch.zeros_like(log_temperature)
    class_mean_loss(alone, Z2, labels=LABELS, temperature=1.0).backward()
    scale.requires_grad_()
    class_mean_loss(Z1, Z2, labels=LABELS, temperature=scale.exp(), sample_ids=ids).backward()
    assert z1.grad is not None
    assert log_temperature.grad is not None
    torch.testing.assert_close(z1.grad, alone.grad)
    torch.testing.assert_close(log_temperature.grad, scale.grad)


def test_the_logit_adjustment_raises_frequent_classes_and_leaves_others_out() -> None:
    logits = torch.tensor([[1.0, 2.0, 5.0]])
    prior = torch.tensor([0.8, 0.2, 0.0]).log()
    found = logit_adjusted_cross_entropy(logits, torch.tensor([1]), prior).item()
    shares = 0.8 * math.e, 0.2 * math.e**2
    assert found == pytest.approx(-math.log(shares[1] / sum(shares)), rel=1e-6)


def test_a_queue_has_a_floor_and_a_share_for_each_class() -> None:
    quotas = class_quotas(torch.tensor([60, 30, 0, 10]), size=50, floor=5)
    assert quotas.tolist() == [35, 20, 0, 10]


def test_the_newest_keys_of_each_class_stay() -> None:
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 0, 1])
    kept = newest_of_each(labels, torch.tensor([2, 5, 1]))
    assert kept.tolist() == [2, 3, 5, 6, 7]


def test_an_empty_queue_stays_empty() -> None:
    assert newest_of_each(torch.zeros(0).long(), torch.tensor([1])).tolist() == []
