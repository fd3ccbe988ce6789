"""Losses against a network of the past: published numbers, formulas written naively, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cl_suite.losses.moco import moco_loss
from cl_suite.losses.nt_xent import nt_xent_loss
from cl_suite.losses.sycon import cassle_loss, sycon_loss, sycon_moco_loss

FEW = settings(max_examples=20, deadline=None, derandomize=True)
NONE = torch.empty(0, 2, dtype=torch.float64)
# one query of the MoCo form, worked by hand
QUERY, KEY, PREDICTED, PAST = rows((1, 0)), rows((0.8, 0.6)), rows((0, 1)), rows((0.6, 0.8))
QUEUE, PAST_QUEUE = rows((0, 1), (-1, 0)), rows((0.6, 0.8))
# one sample of the SimCLR form
ONE = {
    "predicted1": rows((0.6, 0.8)),
    "predicted2": rows((1, 0)),
    "past1": rows((0, 1)),
    "past2": rows((0.8, 0.6)),
    "temperature": 0.5,
}
Z1, Z2 = rows((1, 0)), rows((0.6, 0.8))


def moco_form(**changes: Any) -> Tensor:
    given = {
        "predicted1": PREDICTED,
        "past1": PAST,
        "queue": QUEUE,
        "past_queue": PAST_QUEUE,
        **changes,
    }
    return sycon_moco_loss(QUERY, KEY, **given)


def draw(batch: int, seed: int, dim: int = 5) -> list[Tensor]:
    """Return two views, their predictions, and what the past makes of them."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(6, batch, dim, generator=generator, dtype=torch.float64))


def named(tensors: list[Tensor]) -> dict[str, Tensor]:
    return dict(zip(("predicted1", "predicted2", "past1", "past2"), tensors[2:], strict=True))


def naive(tensors: list[Tensor], temperature: float, *, include_positive: bool) -> list[float]:
    """Return the SimCLR form's `L1 + L2` of each view, by the formula and nothing else."""
    z, p, f = (F.normalize(torch.cat(tensors[i : i + 2])) for i in (0, 2, 4))
    num = len(z)

    def e(x: Tensor, y: Tensor) -> float:
        return math.exp((x @ y).item() / temperature)

    found = []
    for i in range(num):
        others = [a for a in range(num) if a != i]
        other_view = (i + num // 2) % num
        l1 = math.log(sum(e(z[i], z[a]) + e(z[i], f[a]) for a in others) / e(z[i], z[other_view]))
        total = sum(e(p[i], f[a]) + e(p[i], z[a]) for a in others)
        total += e(p[i], f[i]) if include_positive else 0
        found.append(l1 + math.log(total / e(p[i], f[i])))
    return found


def naive_cassle(p: Tensor, f: Tensor, temperature: float) -> float:
    logits = F.normalize(p) @ F.normalize(f).T / temperature
    own = torch.arange(len(p))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)).item() / 2


def test_the_moco_form_is_that_worked_by_hand() -> None:
    plasticity = moco_loss(QUERY, KEY, queue=torch.cat([QUEUE, PAST_QUEUE])).item()
    assert plasticity == pytest.approx(0.326652, abs=1e-6)
    assert moco_loss(QUERY, KEY, queue=QUEUE).item() == pytest.approx(0.018271, abs=1e-6)
    assert moco_form().item() == pytest.approx(1.881971, abs=1e-6)
    assert moco_form().item() - plasticity == pytest.approx(1.555319, abs=1e-6)


def test_the_simclr_form_is_that_worked_by_hand() -> None:
    coded = sycon_loss(Z1, Z2, **ONE).item()
    assert coded == pytest.approx(1.703453, abs=1e-6)
    assert coded == pytest.approx(0.913015 + 0.790437, abs=2e-6)
    whole = sycon_loss(Z1, Z2, **ONE, l2_include_positive=True).item()
    assert whole == pytest.approx(0.913015 + 1.171954, abs=2e-6)


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_collapse_costs_what_the_number_of_views_says(batch: int) -> None:
    same = torch.ones(batch, 3, dtype=torch.float64)
    given = named([same] * 6)
    others = 2 * batch - 1
    coded = sycon_loss(same, same, **given).item()
    assert coded == pytest.approx(2 * math.log(2 * others))
    whole = sycon_loss(same, same, **given, l2_include_positive=True).item()
    assert whole == pytest.approx(math.log(2 * others) + math.log(2 * others + 1))
    if batch == 4:
        assert coded == pytest.approx(5.278115, abs=1e-6)
        assert whole == pytest.approx(math.log(14) + math.log(15))


@pytest.mark.parametrize(
    ("num_negatives", "expected"), [(1, 0.006715), (4, 0.026595), (131072, 6.784634)]
)
def test_orthogonal_negatives_cost_what_their_number_says(
    num_negatives: int, expected: float
) -> None:
    query = rows((1, 0))
    negatives = rows((0, 1)).expand(num_negatives, 2)
    half = num_negatives // 2
    value = sycon_moco_loss(
        query,
        query,
        predicted1=query,
        past1=query,
        queue=negatives[:half],
        past_queue=negatives[half:],
    )
    assert value.item() / 2 == pytest.approx(expected, abs=1e-6)


def test_without_past_negatives_plasticity_is_mocos_loss() -> None:
    plain = moco_loss(QUERY, KEY, queue=QUEUE)
    stability = moco_loss(PREDICTED, PAST, queue=QUEUE)
    assert moco_form(past_queue=NONE).equal(plain + stability)


def test_two_empty_queues_leave_the_other_samples_of_the_batch() -> None:
    z1, teacher2, predicted1, _, past1, _ = draw(5, seed=1)
    empty = torch.empty(0, 5, dtype=torch.float64)
    value = sycon_moco_loss(
        z1, teacher2, predicted1=predicted1, past1=past1, queue=empty, past_queue=empty
    )
    expected = sum(
        F.cross_entropy(F.normalize(a) @ F.normalize(b).T / 0.2, torch.arange(5)).item()
        for a, b in ((z1, teacher2), (predicted1, past1))
    )
    assert value.item() == pytest.approx(expected)


@FEW
@given(
    batch=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    temperature=st.floats(0.05, 2),
    include_positive=st.booleans(),
)
def test_the_simclr_form_equals_the_formula(
    batch: int, seed: int, temperature: float, include_positive: bool
) -> None:
    tensors = draw(batch, seed)
    values = sycon_loss(
        *tensors[:2],
        **named(tensors),
        temperature=temperature,
        l2_include_positive=include_positive,
        reduction="none",
    )
    expected = naive(tensors, temperature, include_positive=include_positive)
    assert values.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@FEW
@given(batch=st.integers(1, 6), seed=st.integers(0, 10**6), temperature=st.floats(0.05, 2))
def test_cassle_equals_the_formula(batch: int, seed: int, temperature: float) -> None:
    p1, p2, _, _, f1, f2 = draw(batch, seed)
    value = cassle_loss(p1, p2, past1=f1, past2=f2, temperature=temperature).item()
    expected = naive_cassle(torch.cat([p1, p2]), torch.cat([f1, f2]), temperature)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)


@FEW
@given(batch=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_both_views_have_the_same_part_in_it(batch: int, seed: int) -> None:
    z1, z2, p1, p2, f1, f2 = draw(batch, seed)
    forth = sycon_loss(z1, z2, **named([z1, z2, p1, p2, f1, f2])).item()
    back = sycon_loss(z2, z1, **named([z2, z1, p2, p1, f2, f1])).item()
    assert forth == pytest.approx(back, rel=1e-12)
    forth = cassle_loss(p1, p2, past1=f1, past2=f2).item()
    assert cassle_loss(p2, p1, past1=f2, past2=f1).item() == pytest.approx(forth, rel=1e-12)


@FEW
@given(seed=st.integers(0, 10**6))
def test_negatives_of_the_past_only_raise_plasticity(seed: int) -> None:
    tensors = draw(4, seed)
    z1, z2 = tensors[:2]
    both_losses = sycon_loss(
        z1, z2, **named(tensors), temperature=0.5, l2_include_positive=True
    ).item()
    stability = [
        F.cross_entropy(logits, torch.arange(8)).item()
        for logits in [_stability_logits(tensors, 0.5)]
    ]
    assert both_losses - stability[0] > nt_xent_loss(z1, z2, temperature=0.5).item()


def _stability_logits(tensors: list[Tensor], temperature: float) -> Tensor:
    z, p, f = (F.normalize(torch.cat(tensors[i : i + 2])) for i in (0, 2, 4))
    own = torch.eye(len(z), dtype=torch.bool)
    current = (p @ z.T / temperature).masked_fill(own, -math.inf)
    return torch.cat([p @ f.T / temperature, current], dim=1)


@pytest.mark.parametrize("include_positive", [True, False])
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_gradients_of_the_simclr_form_equal_finite_differences(
    include_positive: bool, chunk_size: int | None
) -> None:
    *learned, past1, past2 = draw(3, seed=2, dim=3)

    def loss(z1: Tensor, z2: Tensor, p1: Tensor, p2: Tensor) -> Tensor:
        return sycon_loss(
            z1,
            z2,
            **named([z1, z2, p1, p2, past1, past2]),
            l2_include_positive=include_positive,
            chunk_size=chunk_size,
        )

    assert torch.autograd.gradcheck(loss, [each.requires_grad_() for each in learned])


def test_gradients_of_cassle_equal_finite_differences() -> None:
    p1, p2, _, _, f1, f2 = draw(3, seed=3, dim=3)
    learned = (p1.requires_grad_(), p2.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: cassle_loss(a, b, past1=f1, past2=f2), learned)


def test_gradients_of_the_moco_form_equal_finite_differences() -> None:
    z1, teacher2, p1, queue, past1, past_queue = draw(3, seed=4, dim=3)

    def loss(query: Tensor, predicted: Tensor) -> Tensor:
        return sycon_moco_loss(
            query,
            teacher2,
            predicted1=predicted,
            past1=past1,
            queue=queue,
            past_queue=past_queue,
        )

    assert torch.autograd.gradcheck(loss, (z1.requires_grad_(), p1.requires_grad_()))


def test_teacher_past_and_queues_get_no_gradient() -> None:
    z1, teacher2, p1, queue, past1, past_queue = (t.requires_grad_() for t in draw(3, seed=5))
    sycon_moco_loss(
        z1, teacher2, predicted1=p1, past1=past1, queue=queue, past_queue=past_queue
    ).backward()
    assert all(t.grad is None for t in (teacher2, queue, past1, past_queue))
    assert all(t.grad is not None for t in (z1, p1))


def test_past_gets_no_gradient_in_the_simclr_form_and_in_cassle() -> None:
    tensors = [t.requires_grad_() for t in draw(3, seed=6)]
    sycon_loss(*tensors[:2], **named(tensors)).backward()
    cassle_loss(*tensors[2:4], past1=tensors[4], past2=tensors[5]).backward()
    assert [t.grad is None for t in tensors] == [False] * 4 + [True] * 2


def test_detached_negatives_leave_embeddings_the_gradient_of_plasticity_alone() -> None:
    tensors = [t.requires_grad_() for t in draw(4, seed=7)]
    z1, z2, _, _, past1, past2 = tensors

    def gradient(**options: Any) -> Tensor:
        [found] = torch.autograd.grad(sycon_loss(z1, z2, **named(tensors), **options), z1)
        return found

    zeros = torch.zeros_like(past1)
    # with predictions that do not move, stability's gradient is that of its negatives
    still = named([z1, z2, zeros, zeros, past1, past2])
    [plasticity] = torch.autograd.grad(
        sycon_loss(z1, z2, **still, detach_negatives=True), z1, allow_unused=True
    )
    torch.testing.assert_close(gradient(detach_negatives=True), plasticity)
    assert not torch.allclose(gradient(), plasticity)
    value = sycon_loss(z1, z2, **named(tensors)).item()
    assert sycon_loss(z1, z2, **named(tensors), detach_negatives=True).item() == value


@pytest.mark.parametrize("kind", ["collapsed", "opposite", "zero"])
def test_extreme_rows_are_finite_under_bfloat16_autocast(kind: str) -> None:
    first = torch.ones(4, 3)
    second = {"collapsed": first, "opposite": -first, "zero": torch.zeros(4, 3)}[kind]
    tensors = [t.clone().requires_grad_() for t in (first, second, second, first, second, first)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sycon_loss(*tensors[:2], **named(tensors))
        loss = loss + cassle_loss(*tensors[2:4], past1=tensors[4], past2=tensors[5])
        loss = loss + sycon_moco_loss(
            tensors[0],
            tensors[1],
            predicted1=tensors[2],
            past1=tensors[4],
            queue=tensors[1],
            past_queue=tensors[0],
        )
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(t.grad is None or t.grad.isfinite().all() for t in tensors)


def test_as_coded_the_loss_can_be_negative() -> None:
    one = rows((1, 0))
    far = named([one, -one, one, -one, one, -one])
    assert sycon_loss(one, -one, **far, reduction="none").min() < 0
    whole = sycon_loss(one, -one, **far, l2_include_positive=True, reduction="none")
    assert whole.min() > 0


@pytest.mark.parametrize("name", ["predicted1", "predicted2", "past1", "past2"])
def test_embeddings_of_another_shape_are_refused(name: str) -> None:
    tensors = draw(3, seed=8)
    given = named(tensors)
    given[name] = given[name][:2]
    with pytest.raises(ValueError, match="row i of each must show sample i"):
        sycon_loss(*tensors[:2], **given)


def test_a_queue_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="embeddings have dimension 2"):
        moco_form(past_queue=torch.ones(3, 4, dtype=torch.float64))
