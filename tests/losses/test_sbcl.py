"""Subclass-balancing contrast: values worked by hand, its terms written naively, subclasses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import LABELS, Z1, Z2, draw
from torch import Tensor

from cl_suite.losses.sbcl import class_temperatures, sbcl_loss, subclasses
from cl_suite.losses.supcon import supcon_loss

PARTS = torch.tensor([0, 1, 2, 2])
OF_CLASSES = torch.tensor([0.2, 0.2, 0.1, 0.1], dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_plain_form_is_as_worked_by_hand() -> None:
    value = sbcl_loss(Z1, Z2, labels=LABELS, subclasses=PARTS, class_term="plain")
    assert value.item() == pytest.approx(6.974632, abs=1e-6)


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


def test_only_frequent_classes_are_cut() -> None:
    labels = torch.tensor([0] * 30 + [1] * 12 + [2] * 5)
    features = torch.randn(47, 4, generator=generator())
    ids = subclasses(features, labels, smallest=10, generator=generator())
    assert [len(ids[labels == c].unique()) for c in range(3)] == [3, 1, 1]
    pairs = {(c, i) for c, i in zip(labels.tolist(), ids.tolist(), strict=True)}
    assert len({i for _, i in pairs}) == len(pairs)  # no subclass has two classes
    finer = subclasses(features, labels, smallest=1, generator=generator())
    assert len(finer[labels == 0].unique()) == 6  # of the rarest class's size


def test_subclasses_are_clusters_of_the_features() -> None:
    labels = torch.tensor([0] * 20 + [1])  # a rare class allows two parts of the other
    features = torch.eye(2)[torch.arange(21) % 2]
    ids = subclasses(features, labels, smallest=10, generator=generator())
    assert ids[:20:2].unique().numel() == ids[1:20:2].unique().numel() == 1
    assert ids[0] != ids[1]


def test_a_wider_class_has_a_higher_temperature_and_a_whole_one_the_given() -> None:
    torch.manual_seed(0)
    centre = F.normalize(torch.randn(3, 8))
    noise = torch.tensor([0.02, 0.3, 0.1]).repeat_interleave(10)[:, None] * torch.randn(30, 8)
    labels = torch.arange(3).repeat_interleave(10)
    parts = torch.where(labels == 2, 9, labels * 2 + torch.arange(30) % 2)
    found = class_temperatures(centre[labels] + noise, labels, parts, temperature=0.2)
    narrow, wide, whole = (found[labels == c].unique().item() for c in range(3))
    assert narrow < 0.2 < wide
    assert whole == pytest.approx(0.2)


def test_temperatures_are_those_of_the_formula() -> None:
    features = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0.6, 0.8]], dtype=torch.float64)
    labels = torch.tensor([5, 5, 7, 7])
    widths = torch.tensor([0.5**0.5, 0.2**0.5], dtype=torch.float64) / math.log(12)
    low, high = torch.quantile(widths, torch.tensor([0.2, 0.8], dtype=torch.float64))
    clipped = widths.clamp(low, high)
    expected = 0.1 * clipped / clipped.mean()
    found = class_temperatures(features, labels, torch.arange(4))
    assert found.tolist() == pytest.approx(expected.repeat_interleave(2).tolist())


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
