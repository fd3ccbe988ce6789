"""NT-Xent: values worked by hand, limits, the gradient, and losses that it is a case of."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.contrast_inputs import LABELS, Z1, Z2, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_suite.losses.nonnegative import nonnegative
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.supcon import supcon_loss

FEW = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.mark.parametrize(("temperature", "expected"), [(0.5, 1.385715), (0.1, 1.646372)])
def test_values_worked_by_hand(temperature: float, expected: float) -> None:
    value = nt_xent_loss(Z1, Z2, temperature=temperature).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_the_value_of_each_view() -> None:
    values = nt_xent_loss(Z1, Z2, reduction="none").tolist()
    expected = [1.299513, 1.255607, 2.062622, 0.816715, 1.616411, 1.255607, 1.699513, 1.079728]
    assert values == pytest.approx(expected, abs=1e-6)


def test_the_gradient_worked_by_hand() -> None:
    z1 = Z1.clone().requires_grad_()
    nt_xent_loss(z1, Z2).backward()
    expected = [[0, -0.110581], [0.021859, 0], [-0.332464, 0.249348], [0.059613, 0.079484]]
    torch.testing.assert_close(z1.grad, torch.tensor(expected).double(), rtol=0, atol=1e-6)


@FEW
@given(batch=st.integers(2, 20), temperature=st.floats(0.01, 100))
def test_collapse_gives_the_logarithm_of_the_other_views(batch: int, temperature: float) -> None:
    equal = torch.ones(batch, 3, dtype=torch.float64)
    value = nt_xent_loss(equal, equal, temperature=temperature).item()
    assert value == pytest.approx(math.log(2 * batch - 1), rel=1e-12)


@FEW
@given(seed=st.integers(0, 10**6), temperature=st.floats(1e-3, 1e3))
def test_it_is_never_negative(seed: int, temperature: float) -> None:
    z1, z2, _ = draw(seed=seed)
    assert (nt_xent_loss(z1, z2, temperature=temperature, reduction="none") >= 0).all()


def test_it_equals_the_formula_written_naively() -> None:
    z1, z2, _ = draw(5)
    both = [z / z.norm() for z in torch.cat([z1, z2])]
    expected = []
    for i, anchor in enumerate(both):
        others = sum(math.exp(anchor @ both[j] / 0.3) for j in range(10) if j != i)
        expected.append(-math.log(math.exp(anchor @ both[(i + 5) % 10] / 0.3) / others))
    values = nt_xent_loss(z1, z2, temperature=0.3, reduction="none")
    assert values.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_supcon_with_different_labels_is_the_same(temperature: float) -> None:
    value = supcon_loss(Z1, Z2, labels=torch.tensor([7, -2, 0, 5]), temperature=temperature)
    assert value.item() == pytest.approx(
        nt_xent_loss(Z1, Z2, temperature=temperature).item(), rel=1e-14
    )


def test_half_supervised_and_half_unsupervised() -> None:
    supervised = supcon_loss(Z1, Z2, labels=LABELS, temperature=0.5)
    mixed = 0.5 * supervised + 0.5 * nt_xent_loss(Z1, Z2, temperature=0.5)
    assert mixed.item() == pytest.approx(1.939048, abs=1e-6)


@pytest.mark.parametrize(("temperature", "expected"), [(0.5, 1.647651), (0.2, 1.695144)])
@pytest.mark.parametrize("mode", ["relu", "rep_relu"])
def test_values_of_non_negative_embeddings(mode: str, temperature: float, expected: float) -> None:
    value = nt_xent_loss(nonnegative(Z1, mode), nonnegative(Z2, mode), temperature=temperature)
    assert value.item() == pytest.approx(expected, abs=1e-6)


@FEW
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.05, 10))
def test_non_negative_embeddings_have_their_lower_bound(seed: int, temperature: float) -> None:
    z1, z2, _ = draw(6, seed=seed)
    value = nt_xent_loss(nonnegative(z1), nonnegative(z2), temperature=temperature)
    assert value.item() >= math.log1p(10 * math.exp(-1 / temperature)) - 1e-12
