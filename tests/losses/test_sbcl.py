"""Subclass-balancing contrast: values worked by hand, its terms written naively."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import LABELS, Z1, Z2, draw
from torch import Tensor

from cl_suite.losses.sbcl import sbcl_loss
from cl_suite.losses.supcon import supcon_loss

PARTS = torch.tensor([0, 1, 2, 2])
OF_CLASSES = torch.tensor([0.2, 0.2, 0.1, 0.1], dtype=torch.float64)


def test_the_plain_form_is_as_worked_by_hand() -> None:
    value = sbcl_loss(Z1, Z2, labels=LABELS, subclasses=PARTS, class_term="plain")
    assert value.item() == pytest.approx(6.974632, abs=1e-6)
    first = sbcl_loss(Z1, Z2, labels=LABELS, subclasses=PARTS, class_term="plain", beta=0.0)
    assert (value - first).item() / 0.25 == pytest.approx(7.179706, abs=1e-6)


def test_the_ranked_form_is_as_worked_by_hand() -> None:
    found = [
        sbcl_loss(
            Z1, Z2, labels=LABELS, subclasses=PARTS, class_temperature=OF_CLASSES, beta=beta
        ).item()
        for beta in (0.0, 0.25)
    ]
    assert found[0] == pytest.approx(5.179706, abs=1e-6)
    assert found[1] == pytest.approx(5.834143, abs=1e-6)
    assert (found[1] - found[0]) / 0.25 == pytest.approx(2.617751, abs=4e-6)


def test_with_a_subclass_a_class_the_plain_form_is_supcon_times_one_and_beta() -> None:
    z1, z2, state = draw()
    value = sbcl_loss(
        z1, z2, labels=state.labels, subclasses=state.labels, class_term="plain", beta=0.4
    )
    assert value.item() == pytest.approx(1.4 * supcon_loss(z1, z2, labels=state.labels).item())


def naive_rank(rows: Tensor, labels: list[int], parts: list[int], temperature: float) -> float:
    num, values = len(labels), []
    for i in range(2 * num):
        pairs = [j for j in range(2 * num) if j % num == i % num and j != i]
        others = [j for j in range(2 * num) if parts[j % num] != parts[i % num]]
        same = [j for j in others if labels[j % num] == labels[i % num]]
        score = {j: (rows[i] @ rows[j]).item() / temperature for j in {*pairs, *others}}
        total = math.log(sum(math.exp(value) for value in score.values()))
        values.append(total - sum(score[j] for j in pairs + same) / len(pairs + same))
    return sum(values) / len(values)


def test_the_ranked_term_equals_its_definition_written_naively() -> None:
    z1, z2, _ = draw(8)
    labels, parts = torch.arange(8) // 4, torch.arange(8) // 2
    whole, first = (
        sbcl_loss(z1, z2, labels=labels, subclasses=parts, temperature=0.3, beta=beta).item()
        for beta in (1.0, 0.0)
    )
    rows = F.normalize(torch.cat([z1, z2]))
    expected = naive_rank(rows, labels.tolist(), parts.tolist(), 0.3)
    assert whole - first == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subclasses": PARTS[:2]}, "subclasses of shape"),
        ({"subclasses": PARTS, "class_term": "best"}, "class_term must be rank or plain"),
        (
            {"subclasses": PARTS, "class_temperature": -OF_CLASSES},
            "class_temperature must be above 0",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sbcl_loss(Z1, Z2, labels=LABELS, **options)
