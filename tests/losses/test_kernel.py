"""The kernel against its formula in loops, its slices, and the pairs that it leaves out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cl_suite.losses import kernel
from cl_suite.losses.kernel import both, contrast, contrast_own, differ, same
from cl_suite.losses.nt_xent import nt_xent_loss


def problem(seed: int, num: int = 5, columns: int = 6) -> dict[str, Any]:
    """Random unit rows, weights with zeros, a denominator mask, biases and temperatures."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    weight = uniform(num, columns + 2) * (uniform(num, columns + 2) < 0.4)
    bias = uniform(num, columns + 2).where(uniform(num, columns + 2) < 0.8, -math.inf)
    return {
        "anchors": F.normalize(uniform(num, 3) - 0.5),
        "keys": F.normalize(uniform(columns, 3) - 0.5),
        "extra_keys": F.normalize(uniform(num, 2, 3) - 0.5, dim=2),
        "weight": weight,
        "denominator": uniform(num, columns + 2) < 0.6,
        "bias": bias,
        "temperature": 0.1 + uniform(num, columns + 2),
        "anchor_weight": uniform(num),
    }


def by_loops(given: dict[str, Any], numerator: str) -> tuple[list[float], int]:
    """Return the weighted loss of each anchor, and how many count."""
    values, count = [], 0
    for i, anchor in enumerate(given["anchors"]):
        columns = torch.cat([given["extra_keys"][i], given["keys"]])
        logits = [
            (anchor @ key / t + b).item()
            for key, t, b in zip(columns, given["temperature"][i], given["bias"][i], strict=True)
        ]
        live = [j for j, logit in enumerate(logits) if logit > -math.inf]
        weights = {j: given["weight"][i, j].item() for j in live if given["weight"][i, j] > 0}
        below = [j for j in live if given["denominator"][i, j]]
        if not weights or not below:
            values.append(0.0)
            continue
        count += 1
        if numerator == "mean":
            pull = sum(w * logits[j] for j, w in weights.items()) / sum(weights.values())
        else:
            pull = math.log(sum(math.exp(logits[j]) for j in weights))
        value = math.log(sum(math.exp(logits[j]) for j in below)) - pull
        values.append(given["anchor_weight"][i].item() * value)
    return values, count


def call(given: dict[str, Any], **options: Any) -> Tensor:
    masks = {name: given[name] for name in ("denominator", "bias")}
    return contrast(
        given["anchors"],
        given["keys"],
        positive=lambda rows: given["weight"][rows],
        extra_keys=given["extra_keys"],
        temperature=given["temperature"],
        anchor_weight=given["anchor_weight"],
        **{name: lambda rows, mask=mask: mask[rows] for name, mask in masks.items()},
        **options,
    )


@pytest.mark.parametrize("numerator", ["mean", "logsumexp"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), chunk_size=st.sampled_from([None, 1, 2]))
def test_it_equals_its_formula_in_loops(numerator: str, seed: int, chunk_size: int | None) -> None:
    inputs = problem(seed)
    expected, count = by_loops(inputs, numerator)
    options = {"numerator": numerator, "chunk_size": chunk_size}
    values = call(inputs, reduction="none", **options)
    assert values.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    mean = sum(expected) / max(1, count)
    assert call(inputs, **options).item() == pytest.approx(mean, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("numerator", ["mean", "logsumexp"])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_gradients_of_all_inputs_equal_finite_differences(
    numerator: str, chunk_size: int | None
) -> None:
    inputs = problem(3)
    names = ("anchors", "keys", "extra_keys", "temperature", "anchor_weight")
    leaves = tuple(inputs[name].requires_grad_() for name in names)

    def value(*tensors: Tensor) -> Tensor:
        changed = inputs | dict(zip(names, tensors, strict=True))
        return call(changed, numerator=numerator, chunk_size=chunk_size)

    assert call(inputs).item() != 0
    assert torch.autograd.gradcheck(value, leaves)
    if numerator == "mean" and chunk_size is None:
        assert torch.autograd.gradgradcheck(value, leaves)


def test_a_temperature_for_each_anchor_is_that_of_its_row() -> None:
    inputs = problem(5)
    inputs["temperature"] = torch.linspace(0.1, 1, 5, dtype=torch.float64)
    rows = inputs | {"temperature": inputs["temperature"][:, None].expand(5, 8)}
    for chunk_size in (None, 2):
        assert call(inputs, chunk_size=chunk_size).item() == call(rows).item()


def test_one_temperature_for_each_key_is_that_of_its_column() -> None:
    inputs = problem(5)
    inputs["temperature"] = torch.linspace(0.1, 1, 8, dtype=torch.float64)[None]
    columns = inputs | {"temperature": inputs["temperature"].expand(5, 8)}
    for chunk_size in (None, 2):
        assert call(inputs, chunk_size=chunk_size).item() == call(columns).item()


@pytest.mark.parametrize("left_out", ["positive", "denominator", "bias"])
@pytest.mark.parametrize("numerator", ["mean", "logsumexp"])
def test_rows_left_out_have_no_value_and_no_gradient(left_out: str, numerator: str) -> None:
    rows = torch.eye(3).requires_grad_()
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[0] = False
    bias = torch.zeros(3, 3).masked_fill(~mask, -math.inf) if left_out == "bias" else None
    values = contrast(
        rows,
        torch.eye(3) + 0.1,
        positive=lambda part: mask[part] if left_out == "positive" else torch.ones(1, 3),
        denominator=lambda part: mask[part] if left_out == "denominator" else ~mask[:1],
        bias=None if bias is None else lambda part: bias[part],
        numerator=numerator,
        reduction="none",
    )
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way either
        values.sum().backward()
    assert values[0] == 0
    assert values.isfinite().all()
    assert rows.grad is not None
    assert rows.grad[0].tolist() == [0, 0, 0]
    assert rows.grad.isfinite().all()


def test_masks_compare_marks_of_any_numbers() -> None:
    anchors, keys = torch.tensor([-5, 3, 3]), torch.tensor([3, -5])
    first_two = slice(0, 2)
    assert same(anchors, keys)(first_two).tolist() == [[False, True], [True, False]]
    assert differ(anchors, keys)(slice(1, 9)).tolist() == [[False, True], [False, True]]
    assert not both(same(anchors, keys), differ(anchors, keys))(slice(0, 3)).any()


def largest_saved(chunk_size: int | None) -> int:
    """Return the numbers in the largest tensor that NT-Xent of 64 samples keeps for backward."""
    z1, z2 = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(0))
    sizes = [0]

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        nt_xent_loss(z1.requires_grad_(), z2, chunk_size=chunk_size)
    return max(sizes)


def test_slices_keep_no_matrix_for_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    assert largest_saved(None) == 128 * 128
    assert largest_saved(16) <= 128 * 4
    monkeypatch.setattr(kernel, "CHUNK_ELEMENTS", 128 * 16)  # 16 anchors
    assert largest_saved(None) <= 128 * 4


@pytest.mark.parametrize(
    ("anchors", "keys", "expected"),
    [
        (torch.float64, torch.float32, torch.float64),
        (torch.float32, torch.float64, torch.float64),
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float16, torch.float32, torch.float32),
    ],
)
def test_rows_meet_in_the_higher_precision_and_at_least_in_single(
    anchors: torch.dtype, keys: torch.dtype, expected: torch.dtype
) -> None:
    unit = torch.eye(3)
    value = contrast(unit.to(anchors), unit.to(keys), positive=lambda rows: unit[rows])
    assert value.dtype == expected
    accuracy = torch.finfo(expected).eps * 4
    assert value.item() == pytest.approx(math.log(1 + 2 / math.e), rel=accuracy)


@pytest.mark.parametrize("masked", [False, True])
def test_a_column_is_a_mask_of_one_positive(masked: bool) -> None:
    rows = F.normalize(
        torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    numbers = torch.arange(6)
    column = numbers.roll(2)
    denominator = differ(numbers, numbers) if masked else None
    one, other = (
        contrast(
            rows,
            rows,
            positive=positive,
            denominator=denominator,
            temperature=0.1,
            reduction="none",
            chunk_size=4,
        )
        for positive in (column, same(column, numbers))
    )
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_own_keys_are_extra_keys_of_one_column(masked: bool) -> None:
    draws = torch.Generator().manual_seed(1)
    anchors, own, keys = (
        F.normalize(torch.randn(n, 4, generator=draws, dtype=torch.float64)) for n in (5, 5, 7)
    )
    anchors.requires_grad_()
    allowed = torch.rand(5, 7, generator=draws) > 0.4
    allowed[0] = False  # an anchor against which nothing stands
    found = contrast_own(
        anchors,
        own,
        keys,
        negative=(lambda rows: allowed[rows]) if masked else None,
        temperature=0.2,
        reduction="none",
        chunk_size=2,
    )
    logits = torch.cat([(anchors * own).sum(1, keepdim=True), anchors @ keys.T], dim=1) / 0.2
    if masked:
        logits[:, 1:] = logits[:, 1:].masked_fill(~allowed, -math.inf)
    expected = -logits.log_softmax(dim=1)[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), anchors, retain_graph=True)
    (other,) = torch.autograd.grad(expected.sum(), anchors)
    torch.testing.assert_close(gradient, other, rtol=1e-10, atol=1e-12)
