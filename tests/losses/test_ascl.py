"""ASCL: values worked by hand, the teacher's confidence, and the cases that are MoCo."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import QUEUE, Z1, Z2, draw

from cl_suite.losses.ascl import ascl_loss, teacher_confidence
from cl_suite.losses.moco import moco_loss


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("soft", 0.835569), ("adaptive_hard", 0.721672), ("hard", 0.923761)],
)
def test_values_worked_by_hand(variant: str, expected: float) -> None:
    value = ascl_loss(
        Z1, Z2, queue=QUEUE, temperature=0.5, teacher_temperature=0.5, variant=variant
    )
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_the_value_at_the_defaults_worked_by_hand() -> None:
    assert ascl_loss(Z1, Z2, queue=QUEUE).item() == pytest.approx(2.419895, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(0.5, [0.379849, 0.269759, 0.500098, 0.655391]), (0.05, [1, 0.999927, 0.999998, 1])],
)
def test_confidences_worked_by_hand(temperature: float, expected: list[float]) -> None:
    found = teacher_confidence(Z2 @ QUEUE.T / temperature)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_confidence_is_0_for_equal_shares_and_1_for_one_share() -> None:
    logits = torch.tensor([[2.0, 2, 2, 2], [1e4, 0, 0, 0]])
    assert teacher_confidence(logits).tolist() == pytest.approx([0, 1], abs=1e-6)
    assert teacher_confidence(logits[:, :1]).tolist() == [0, 0]


@pytest.mark.parametrize("variant", ["soft", "adaptive_hard", "hard"])
def test_without_neighbours_it_is_moco(variant: str) -> None:
    value = ascl_loss(Z1, Z2, queue=QUEUE, temperature=0.5, neighbours=0, variant=variant)
    assert value.item() == pytest.approx(0.483761, abs=1e-6)


def test_an_unsure_teacher_leaves_moco() -> None:
    z1, _, state = draw()
    keys = torch.zeros_like(z1)  # equally far from all
    value = ascl_loss(z1, keys, queue=state.queue, teacher_temperature=0.5, neighbours=3)
    expected = moco_loss(z1, keys, queue=state.queue, temperature=0.1).item()
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_a_sure_teacher_gives_its_neighbour_half_the_weight() -> None:
    z1, z2, state = draw()
    own = F.cosine_similarity(z1, z2)[:, None]
    shares = torch.cat([own, F.normalize(z1) @ state.queue.T], dim=1).div(0.1).log_softmax(dim=1)
    nearest = (F.normalize(z2) @ state.queue.T).argmax(dim=1)
    expected = -(shares[:, 0] + shares[torch.arange(6), 1 + nearest]) / 2
    values = ascl_loss(z1, z2, queue=state.queue, teacher_temperature=1e-4, reduction="none")
    torch.testing.assert_close(values, expected)


def test_several_neighbours_follow_the_formula_written_naively() -> None:
    z1, z2, state = draw()
    z1, z2 = F.normalize(z1), F.normalize(z2)
    expected = 0.0
    for query, key in zip(z1, z2, strict=True):
        p = (state.queue @ key / 0.3).softmax(dim=0)
        sure = 1 + (p * p.log()).sum() / math.log(5)
        weight = torch.cat([torch.ones(1), (3 * sure * p).clamp(max=1)])
        logits = torch.cat([(query @ key)[None], state.queue @ query]) / 0.2
        expected -= (weight / weight.sum() * logits.log_softmax(dim=0)).sum().item() / 6
    value = ascl_loss(
        z1, z2, queue=state.queue, temperature=0.2, teacher_temperature=0.3, neighbours=3
    )
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_an_empty_queue_is_that_of_moco() -> None:
    value = ascl_loss(Z1, Z2, queue=QUEUE[:0], temperature=0.5).item()
    assert value == moco_loss(Z1, Z2, queue=QUEUE[:0], temperature=0.5).item()


@pytest.mark.parametrize("variant", ["soft", "adaptive_hard", "hard"])
def test_more_neighbours_than_rows_are_fine(variant: str) -> None:
    assert ascl_loss(Z1, Z2, queue=QUEUE, neighbours=50, variant=variant).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": -1}, "neighbours must be at least 0, got -1"),
        ({"variant": "ahcl"}, "variant must be soft, adaptive_hard or hard, got 'ahcl'"),
        ({"teacher_temperature": 0.0}, "teacher_temperature must be above 0"),
    ],
)
def test_settings_outside_their_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ascl_loss(Z1, Z2, queue=QUEUE, **options)
