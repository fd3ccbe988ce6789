"""SupCon: values worked by hand, limits, and equality with the formula written naively."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import LABELS, Z1, Z2, Z3, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cl_suite.losses.supcon import supcon, supcon_loss

E1, E2 = torch.eye(2, dtype=torch.float64)


def loss(rows: list[Tensor] | Tensor, labels: list[int], temperature: float = 0.07) -> float:
    vectors = rows if isinstance(rows, Tensor) else torch.stack(rows)
    return supcon(vectors, torch.tensor(labels), temperature=temperature).item()


def test_two_classes_of_two_equal_orthogonal_vectors() -> None:
    expected = math.log1p(2 * math.exp(-1 / 0.07))
    assert expected == pytest.approx(1.249749e-6, rel=1e-6)
    assert loss([E1, E2, E1, E2], [0, 1, 0, 1]) == pytest.approx(expected, rel=1e-6)


def test_the_same_vectors_in_one_class() -> None:
    assert loss([E1, E2, E1, E2], [0, 0, 0, 0]) == pytest.approx(9.5238108, abs=1e-7)


@pytest.mark.parametrize(
    ("temperature", "labels", "expected"),
    [
        (0.07, [0, 1, 0, 1], 1.2218560),
        (0.5, [0, 1, 0, 1], 0.8707138),
        (0.5, [0, 0, 0, 0], 1.2173804),
    ],
)
def test_values_worked_by_hand(temperature: float, labels: list[int], expected: float) -> None:
    v1, v2 = torch.tensor([[0.8, 0.6], [0.6, 0.8]], dtype=torch.float64)
    assert loss([E1, E2, v1, v2], labels, temperature) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("num", "expected"), [(128, 4.8441871), (192, 5.2522734)])
def test_collapse_gives_the_logarithm_of_the_other_vectors(num: int, expected: float) -> None:
    vectors = F.normalize(torch.ones(num, 5, dtype=torch.float64))
    labels = [i % 8 for i in range(num)]
    assert loss(vectors, labels) == pytest.approx(expected, abs=1e-7)


def test_one_image_in_two_views_gives_exactly_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(2, 5, generator=generator))
    assert loss(vectors, [3, 3]) == 0.0


def test_without_positives_it_is_zero_with_a_finite_gradient() -> None:
    for num in (1, 3):
        vectors = torch.eye(num, 5, requires_grad=True)
        value = supcon(vectors, torch.arange(num))
        value.backward()
        assert value.item() == 0.0
        assert vectors.grad is not None
        assert vectors.grad.isfinite().all()


def test_an_anchor_without_positives_counts_in_the_mean() -> None:
    # the stranger is at right angles to all, so it adds exp(0) to each denominator
    vectors = torch.eye(3, dtype=torch.float64)[[0, 0, 1]]
    expected = 2 * math.log((math.e + 1) / math.e) / 3
    assert loss(vectors, [0, 0, 1], 1.0) == pytest.approx(expected, rel=1e-12)


def test_it_equals_the_formula_written_naively() -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = F.normalize(torch.randn(9, 4, generator=generator, dtype=torch.float64))
    labels = [0, 1, 2, 0, 1, 0, 5, 1, 1]
    total = 0.0
    for a in range(9):
        positives = [p for p in range(9) if p != a and labels[p] == labels[a]]
        others = sum(math.exp(vectors[a] @ vectors[n] / 0.3) for n in range(9) if n != a)
        for p in positives:
            share = math.exp(vectors[a] @ vectors[p] / 0.3) / others
            total -= math.log(share) / len(positives)
    assert loss(vectors, labels, 0.3) == pytest.approx(total / 9, rel=1e-12)


def test_order_of_the_rows_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(2)
    vectors = F.normalize(torch.randn(8, 4, generator=generator, dtype=torch.float64))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    order = torch.randperm(8, generator=generator)
    assert supcon(vectors[order], labels[order]).item() == pytest.approx(
        supcon(vectors, labels).item(), rel=1e-12
    )


def test_under_bfloat16_autocast_it_is_that_of_float32() -> None:
    generator = torch.Generator().manual_seed(3)
    vectors = F.normalize(torch.randn(16, 8, generator=generator)).requires_grad_()
    labels = torch.arange(16) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = supcon(vectors, labels)
    mixed.backward()
    assert mixed.dtype == torch.float32
    assert mixed.equal(supcon(vectors, labels))
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        supcon(torch.eye(2), torch.tensor([0, 0]), temperature=temperature)


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="pass one label per row"):
        supcon(torch.eye(3), torch.tensor([0, 0]))


@pytest.mark.parametrize(("temperature", "expected"), [(0.5, 2.492381), (0.1, 7.179706)])
def test_two_views_worked_by_hand(temperature: float, expected: float) -> None:
    value = supcon_loss(Z1, Z2, labels=LABELS, temperature=temperature).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_the_sum_and_the_mean_inside_the_logarithm() -> None:
    inside = supcon_loss(Z1, Z2, labels=LABELS, temperature=0.5, numerator="logsumexp").item()
    assert inside == pytest.approx(0.975688, abs=1e-6)
    assert inside + math.log(3) == pytest.approx(2.074300, abs=1e-6)


@pytest.mark.parametrize(("temperature", "expected"), [(0.5, 1.976599), (0.1, 6.232293)])
def test_decoupled_worked_by_hand(temperature: float, expected: float) -> None:
    value = supcon_loss(Z1, Z2, labels=LABELS, temperature=temperature, decoupled=True).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_one_class_in_two_views() -> None:
    value = supcon_loss(Z1, Z2, labels=torch.zeros(4), temperature=0.5).item()
    assert value == pytest.approx(2.385715, abs=1e-6)
    equal = torch.ones(4, 3, dtype=torch.float64)
    least = supcon_loss(equal, equal, labels=torch.zeros(4), temperature=0.5).item()
    assert least == pytest.approx(1.945910, abs=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.05, 10))
def test_one_class_is_least_at_collapse(seed: int, temperature: float) -> None:
    z1, z2, _ = draw(4, seed=seed)
    value = supcon_loss(z1, z2, labels=torch.zeros(4), temperature=temperature).item()
    assert value >= math.log(7) - 1e-12


def test_anchors_without_positives_are_left_out() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    value = supcon_loss(Z1, labels=labels, temperature=0.5).item()
    assert value == pytest.approx(1.868040, abs=1e-6)
    values = supcon_loss(Z1, labels=labels, temperature=0.5, reduction="none")
    assert values[2:].tolist() == [0, 0]
    assert values[:2].mean().item() == pytest.approx(value)


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_batch_without_anchors_is_zero_with_a_graph(decoupled: bool) -> None:
    z1 = Z1.clone().requires_grad_()
    # all of one class have no negatives once decoupled
    labels = torch.zeros(4) if decoupled else torch.arange(4)
    value = supcon_loss(z1, labels=labels, decoupled=decoupled)
    value.backward()
    assert value.item() == 0
    assert z1.grad is not None
    assert z1.grad.equal(torch.zeros_like(z1))


def test_prototypes_give_every_anchor_a_positive() -> None:
    prototypes, classes = torch.eye(2, dtype=torch.float64), torch.tensor([0, 1])
    values = supcon_loss(
        Z1[2:],
        labels=torch.tensor([0, 1]),
        temperature=0.5,
        queue=prototypes,
        queue_labels=classes,
        reduction="none",
    )
    # of (0.6, 0.8): its prototype 0.6, the other 0.8, the other anchor 0; of (-0.8, 0.6): 0.6, -0.8
    first = -1.2 + math.log(math.exp(1.2) + math.exp(1.6) + 1)
    second = -1.2 + math.log(math.exp(1.2) + math.exp(-1.6) + 1)
    assert values.tolist() == pytest.approx([first, second])


def test_a_queue_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="no queue_labels"):
        supcon_loss(Z1, Z2, labels=LABELS, queue=Z3)


def test_the_plain_form_counts_anchors_without_positives() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    mean = supcon_loss(Z1, labels=labels, temperature=0.5).item()
    assert supcon(Z1, labels, temperature=0.5).item() == pytest.approx(mean / 2)


def test_an_unknown_numerator_is_refused() -> None:
    with pytest.raises(ValueError, match="numerator must be mean or logsumexp, got 'sum'"):
        supcon_loss(Z1, Z2, labels=LABELS, numerator="sum")
