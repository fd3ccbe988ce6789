"""Prototypes refined by unlabelled samples: all oracles of their specification."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.features.refine import (
    Assignment,
    adapted,
    normalised_cost,
    refined,
    transport_plan,
    transported,
)

PROTOTYPES = torch.eye(2, dtype=torch.float64)
SAMPLES = torch.tensor([[0.9, 0.3], [0.7, 0.1], [0.2, 0.8], [0.1, 1.1]], dtype=torch.float64)
# three of the first class, one of the second
UNEQUAL = torch.tensor([[0.9, 0.3], [0.7, 0.1], [0.8, 0.2], [0.1, 1.1]], dtype=torch.float64)


def close(values: object) -> object:
    return pytest.approx(values, abs=2e-6)  # the oracles have six digits


def rows(found: Tensor) -> list[float]:
    flat: list[float] = found.flatten().tolist()
    return flat


def uniform(samples: Tensor, entropy: float = 0.05, blend: float = 1.0) -> Tensor:
    return transported(PROTOTYPES, samples, entropy=entropy, relaxation=math.inf, blend=blend)


def test_the_cost_is_the_squared_distance_over_the_largest() -> None:
    expected = torch.tensor([[0.1, 0.1, 1.28, 2.02], [1.3, 1.3, 0.08, 0.02]]).double()
    torch.testing.assert_close(2.02 * normalised_cost(PROTOTYPES, SAMPLES), expected)


def test_transport_with_equal_masses() -> None:
    assert rows(uniform(SAMPLES)) == close([0.799996, 0.200004, 0.150002, 0.949998])
    assert rows(uniform(SAMPLES, blend=0.7)) == close([0.859998, 0.140002, 0.105002, 0.964999])
    assert rows(uniform(SAMPLES, entropy=0.5)) == pytest.approx(
        [0.670685, 0.343434, 0.279323, 0.806557], abs=2e-5
    )
    everywhere = uniform(SAMPLES, entropy=1e6)
    torch.testing.assert_close(everywhere, SAMPLES.mean(0).expand(2, 2), rtol=0, atol=1e-5)


def test_several_passes_reach_a_fixed_point() -> None:
    found, passes = PROTOTYPES, []
    for _ in range(5):
        found = transported(found, SAMPLES, relaxation=math.inf)
        passes.append(found)
    torch.testing.assert_close(passes[1], found, rtol=0, atol=1e-6)  # after two already
    assert rows(found) == pytest.approx([0.799994, 0.200006, 0.15, 0.950001], abs=5e-6)


def test_equal_masses_drag_a_rare_class_towards_the_frequent_one() -> None:
    plan = transport_plan(normalised_cost(PROTOTYPES, UNEQUAL), relaxation=math.inf, enough=0)
    moved = plan @ UNEQUAL / plan.sum(1, keepdim=True)
    assert rows(moved) == pytest.approx([0.8, 0.2, 0.45, 0.65], abs=1e-4)
    assert rows(uniform(UNEQUAL))[2:] == pytest.approx([0.449955, 0.650058], abs=1e-5)


@pytest.mark.parametrize(
    ("relaxation", "expected"),
    [
        (0.1, (0.100131, 1.099832)),
        (0.5, (0.195139, 0.977679)),
        (1.0, (0.332608, 0.800932)),
        (0.0, (0.100015, 1.099981)),  # a softmax over the classes
    ],
)
def test_free_masses_leave_a_rare_class_where_it_is(
    relaxation: float, expected: tuple[float, float]
) -> None:
    plan = transport_plan(
        normalised_cost(PROTOTYPES, UNEQUAL), relaxation=relaxation, steps=100_000, enough=1e-12
    )
    moved = plan @ UNEQUAL / plan.sum(1, keepdim=True)
    assert rows(moved[1]) == close(expected)
    if relaxation == 0.1:
        assert plan.sum(1).tolist() == close([0.749953, 0.250047])


def test_expensive_masses_are_equal_ones() -> None:
    cost = normalised_cost(PROTOTYPES, UNEQUAL)
    plan = transport_plan(cost, relaxation=1e6, steps=100_000, enough=1e-12)
    moved = plan @ UNEQUAL / plan.sum(1, keepdim=True)
    assert rows(moved) == pytest.approx([0.8, 0.2, 0.45, 0.65], abs=2e-5)


def test_given_shares_are_kept() -> None:
    shares = torch.tensor([0.75, 0.25])
    found = transported(PROTOTYPES, UNEQUAL, relaxation=math.inf, shares=shares)
    assert rows(found[1]) == pytest.approx([0.1, 1.1], abs=1e-3)


def test_the_plan_ships_every_sample_and_fills_every_class() -> None:
    plan = transport_plan(normalised_cost(PROTOTYPES, SAMPLES), relaxation=math.inf)
    assert plan.sum(1).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert plan.sum(0).tolist() == pytest.approx([0.25] * 4, abs=1e-4)
    free = transport_plan(normalised_cost(PROTOTYPES, UNEQUAL))
    assert free.sum(0).tolist() == pytest.approx([0.25] * 4, abs=1e-4)


def test_samples_that_are_the_prototypes_leave_them_there() -> None:
    found = transported(PROTOTYPES, PROTOTYPES.flip(0), entropy=0.01, relaxation=math.inf)
    torch.testing.assert_close(found, PROTOTYPES)


def test_larger_features_move_prototypes_as_far_in_their_scale() -> None:
    once = transported(PROTOTYPES, SAMPLES)
    torch.testing.assert_close(transported(3 * PROTOTYPES, 3 * SAMPLES), 3 * once)


SUPPORT = torch.tensor([[1.0, 0.2], [0.3, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("passes", "expected", "shares"),
    [
        (0, (0.980581, 0.196116, 0.287348, 0.957826), (0.984751, 0.996937, 0.003307, 0.00095)),
        (1, (0.972089, 0.218579, 0.211353, 0.970441), (0.992161, 0.998469, 0.004067, 0.001053)),
        (3, (0.971818, 0.219008, 0.209081, 0.972525), None),
    ],
)
def test_iterative_adaptation(
    passes: int, expected: tuple[float, ...], shares: tuple[float, ...] | None
) -> None:
    units, ones = F.normalize(SAMPLES), torch.ones(2)
    found = adapted(F.normalize(SUPPORT), ones, units, passes=passes)
    # the means of unit samples are a little shorter than the unit prototypes
    length = adapted_means(passes)
    assert rows(length) == close(expected)
    torch.testing.assert_close(found, F.normalize(length), rtol=0, atol=2e-4)
    if shares is not None:
        likely = (10 * units @ F.normalize(length).T).softmax(1)[:, 0]
        assert likely.tolist() == close(shares)


def adapted_means(passes: int) -> Tensor:
    """Return the means of the specification, written naively."""
    support, units = F.normalize(SUPPORT), F.normalize(SAMPLES)
    means = support
    for _ in range(passes):
        p = torch.softmax(10 * units @ F.normalize(means).T, dim=1)
        means = torch.stack(
            [(support[k] + (p[:, k : k + 1] * units).sum(0)) / (1 + p[:, k].sum()) for k in (0, 1)]
        )
    return means


def test_adaptation_reaches_a_fixed_point() -> None:
    units, ones = F.normalize(SAMPLES), torch.ones(2)
    tenth = adapted(F.normalize(SUPPORT), ones, units, passes=10)
    far = adapted(F.normalize(SUPPORT), ones, units, passes=50)
    torch.testing.assert_close(tenth, far, rtol=0, atol=1e-6)


@pytest.mark.parametrize("assignment", ["softmax", "sinkhorn"])
def test_without_samples_the_prototypes_stay(assignment: Assignment) -> None:
    found = refined(SUPPORT, SAMPLES[:0], torch.ones(2), assignment)
    torch.testing.assert_close(found, F.normalize(SUPPORT))


@pytest.mark.parametrize("assignment", ["softmax", "sinkhorn"])
def test_refined_prototypes_of_one_shot_are_nearer_to_the_truth(assignment: Assignment) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = F.normalize(torch.randn(5, 16, generator=generator))
    labels = torch.arange(200) % 5
    samples = truth[labels] + 0.15 * torch.randn(200, 16, generator=generator)
    shots = truth + 0.15 * torch.randn(5, 16, generator=generator)
    found = refined(shots, samples, torch.ones(5), assignment)
    before = (F.normalize(shots) * truth).sum(1)
    assert bool(((found * truth).sum(1) > before).all())
