"""Properties of all contrastive losses: invariances, gradients, slices, precision, refusals."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import (
    EVERY,
    REDUCING,
    TEACHER,
    TWO_SIDED,
    TWO_TERMS,
    UNIFORMITY,
    State,
    draw,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

every = pytest.mark.parametrize("name", EVERY)
reducing = pytest.mark.parametrize("name", REDUCING)
FEW = settings(max_examples=10, deadline=None, derandomize=True)


def gradients(
    name: str, z1: Tensor, z2: Tensor, state: State, **options: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the value and both views' gradients, zero where there is none."""
    z1, z2 = z1.detach().requires_grad_(), z2.detach().requires_grad_()
    value = EVERY[name](z1, z2, state, **options)
    value.backward()
    assert z1.grad is not None
    return value.detach(), z1.grad, torch.zeros_like(z2) if z2.grad is None else z2.grad


@every
@FEW
@given(
    seed=st.integers(0, 10**6), batch=st.integers(2, 9), low=st.floats(-2, 0), high=st.floats(0, 3)
)
def test_lengths_of_the_rows_do_not_matter(
    name: str, seed: int, batch: int, low: float, high: float
) -> None:
    z1, z2, state = draw(batch, seed=seed)
    lengths = torch.logspace(low, high, batch, dtype=torch.float64)[:, None]
    value = EVERY[name](z1 * lengths, z2 * lengths.flip(0), state)
    assert value.item() == pytest.approx(EVERY[name](z1, z2, state).item(), rel=1e-9, abs=1e-9)


@every
@FEW
@given(seed=st.integers(0, 10**6), batch=st.integers(2, 9))
def test_order_of_the_batch_does_not_matter(name: str, seed: int, batch: int) -> None:
    z1, z2, state = draw(batch, seed=seed)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    value = EVERY[name](z1[order], z2[order], state.permuted(order))
    assert value.item() == pytest.approx(EVERY[name](z1, z2, state).item(), rel=1e-9, abs=1e-12)


@every
@FEW
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 7))
def test_a_rotation_of_all_embeddings_does_not_matter(name: str, seed: int, dim: int) -> None:
    z1, z2, state = draw(dim=dim, seed=seed)
    matrix = torch.linalg.qr(draw(dim, dim, seed=seed + 1)[0]).Q
    value = EVERY[name](z1 @ matrix, z2 @ matrix, state.rotated(matrix))
    assert value.item() == pytest.approx(EVERY[name](z1, z2, state).item(), rel=1e-9, abs=1e-12)


@every
def test_a_rows_gradient_is_orthogonal_to_the_row(name: str) -> None:
    z1, z2, state = draw()
    _, gradient1, gradient2 = gradients(name, z1, z2, state)
    assert gradient1.abs().max() > 1e-4
    for row, gradient in ((z1, gradient1), (z2, gradient2)):
        assert (row * gradient).sum(dim=1).abs().max() < 1e-12


@pytest.mark.parametrize("name", TWO_SIDED | UNIFORMITY)
def test_gradients_of_both_views_equal_finite_differences(name: str) -> None:
    z1, z2, state = draw(5, 3)
    views = (z1.requires_grad_(), z2.requires_grad_())
    assert torch.autograd.gradcheck(lambda *z: EVERY[name](*z, state), views)


@pytest.mark.parametrize("name", TEACHER)
def test_gradients_of_the_queries_equal_finite_differences(name: str) -> None:
    z1, z2, state = draw(5, 3)
    assert torch.autograd.gradcheck(lambda z: EVERY[name](z, z2, state), (z1.requires_grad_(),))


@pytest.mark.parametrize("name", ["nt_xent", "class_mean", "moco", "supcon inside"])
def test_the_gradient_of_a_learned_temperature_equals_finite_differences(name: str) -> None:
    z1, z2, state = draw(5, 3)
    log_temperature = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    for chunk_size in (None, 2):
        assert torch.autograd.gradcheck(
            lambda log, chunk_size=chunk_size: EVERY[name](
                z1, z2, state, temperature=log.exp(), chunk_size=chunk_size
            ),
            (log_temperature,),
        )


@every
@pytest.mark.parametrize("chunk_size", [1, 3, 1000])
def test_slices_change_neither_value_nor_gradients(name: str, chunk_size: int) -> None:
    z1, z2, state = draw(7)
    whole = gradients(name, z1, z2, state)
    sliced = gradients(name, z1, z2, state, chunk_size=chunk_size)
    for a, b in zip(whole, sliced, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@every
def test_teachers_queues_and_given_tensors_get_no_gradient_and_stay_as_they_are(name: str) -> None:
    z1, z2, state = draw()
    before = {key: value.clone() for key, value in vars(state).items()}
    for each in (z1, z2, state.queue, state.frozen):
        each.requires_grad_()
    first = z1.detach().clone()
    EVERY[name](z1, z2, state).backward()
    assert state.queue.grad is None
    assert state.frozen.grad is None
    assert (z2.grad is None) == (name in TEACHER | TWO_TERMS)
    assert z1.equal(first)
    assert all(before[key].equal(value) for key, value in vars(state).items())


@every
def test_autocast_does_not_change_the_value(name: str) -> None:
    z1, z2, state = draw(8, 16)
    z1, z2, state = z1.float(), z2.float(), state.to(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = EVERY[name](z1, z2, state)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(EVERY[name](z1, z2, state).item(), abs=1e-6)


@every
@pytest.mark.parametrize("chunk_size", [None, 3])
def test_backward_outside_autocast_gives_the_gradients_of_float32(
    name: str, chunk_size: int | None
) -> None:
    z1, z2, state = draw(8, 16)
    z1, z2, state = z1.float(), z2.float(), state.to(torch.float32)
    z1.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = EVERY[name](z1, z2, state, chunk_size=chunk_size)
    mixed.backward()
    assert z1.grad is not None
    expected = gradients(name, z1, z2, state)[1]
    torch.testing.assert_close(z1.grad, expected, rtol=1e-5, atol=1e-6)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rows_of_great_length_are_fine(name: str, dtype: torch.dtype) -> None:
    z1, z2, state = draw(8, 16)
    z1, z2, state = z1.to(dtype) * 1e4, z2.to(dtype) * 1e4, state.to(dtype)
    assert z1.isfinite().all()
    value, gradient1, gradient2 = gradients(name, z1, z2, state)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert gradient1.isfinite().all()
    assert gradient2.isfinite().all()
    exact = EVERY[name](z1.double(), z2.double(), state.to(torch.float64))
    assert value.item() == pytest.approx(exact.item(), abs=1e-4)


@every
@pytest.mark.parametrize("kind", ["collapsed", "zero", "opposite"])
def test_extreme_rows_have_finite_values_and_gradients(name: str, kind: str) -> None:
    z1, z2, state = draw()
    z1, z2 = {
        "collapsed": (torch.ones_like(z1), torch.ones_like(z2)),
        "zero": (torch.zeros_like(z1), z2),
        "opposite": (z1, -z1),
    }[kind]
    value, gradient1, gradient2 = gradients(name, z1.float(), z2.float(), state)
    assert value.isfinite()
    assert gradient1.isfinite().all()
    assert gradient2.isfinite().all()


@reducing
def test_the_reductions_agree(name: str) -> None:
    z1, z2, state = draw(7)  # the last sample has a class and a group of its own
    values = REDUCING[name](z1, z2, state, reduction="none")
    assert len(values) in (7, 14)
    total = REDUCING[name](z1, z2, state, reduction="sum").item()
    assert total == pytest.approx(values.sum().item(), rel=1e-12)
    count = len(values) if name != "mcl" else 12
    mean = REDUCING[name](z1, z2, state).item()
    assert mean == pytest.approx(total / count, rel=1e-12)


@reducing
def test_values_of_samples_follow_a_permutation(name: str) -> None:
    z1, z2, state = draw(7)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    values = REDUCING[name](z1, z2, state, reduction="none").view(-1, 7)[:, order].flatten()
    moved = REDUCING[name](z1[order], z2[order], state.permuted(order), reduction="none")
    torch.testing.assert_close(moved, values)


@every
def test_unit_rows_need_no_normalising(name: str) -> None:
    z1, z2, state = draw()
    z1, z2 = F.normalize(z1), F.normalize(z2)
    state.extra = F.normalize(state.extra, dim=2)
    value = EVERY[name](z1, z2, state, normalize=False).item()
    assert value == pytest.approx(EVERY[name](z1, z2, state).item(), rel=1e-12)
    assert EVERY[name](3 * z1, z2, state, normalize=False).item() != pytest.approx(value)


@every
def test_views_of_different_shapes_are_refused(name: str) -> None:
    z1, z2, state = draw()
    with pytest.raises(ValueError, match="row i of each must show sample i"):
        EVERY[name](z1, z2[:5], state)


@every
def test_numbers_that_are_not_floating_are_refused(name: str) -> None:
    z1, z2, state = draw()
    with pytest.raises(ValueError, match="must be a floating"):
        EVERY[name](z1.long(), z2.long(), state)


@reducing
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_positive_is_refused(name: str, temperature: float) -> None:
    z1, z2, state = draw()
    with pytest.raises(ValueError, match="temperature must be above 0"):
        REDUCING[name](z1, z2, state, temperature=temperature)


@pytest.mark.parametrize("name", ["nt_xent", "clip", "dcl", "macl", "cwcl", "moco without queue"])
def test_a_lone_sample_without_negatives_is_refused(name: str) -> None:
    z1, z2, state = draw(1)
    with pytest.raises(ValueError, match="has no negatives"):
        EVERY[name](z1, z2, state)


@every
def test_slices_of_no_rows_are_refused(name: str) -> None:
    z1, z2, state = draw()
    with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
        EVERY[name](z1, z2, state, chunk_size=0)


@reducing
def test_an_unknown_reduction_is_refused(name: str) -> None:
    z1, z2, state = draw()
    with pytest.raises(ValueError, match="reduction must be mean, sum or none, got 'average'"):
        REDUCING[name](z1, z2, state, reduction="average")
