"""The losses of COCONUT, against numbers worked by hand and against their formulas."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from helpers.contrast_inputs import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cl_suite.losses.info_nce import clip_loss
from cl_suite.losses.nspt import Denominator, multimodal_loss, nspt_loss

FEW = settings(max_examples=20, deadline=None, derandomize=True)
DENOMINATORS = get_args(Denominator)
every_denominator = pytest.mark.parametrize("denominator", DENOMINATORS)
both_anchors = pytest.mark.parametrize("anchors", ["rehearsal", "all"])

STUDENT = rows((1, 0), (0.6, 0.8), (0, 1), (-1, 0))
TEACHER = rows((0.8, 0.6), (1, 0), (0, 1), (0, -1))
LABELS = torch.tensor([0, 0, 1, 2])
REHEARSAL = torch.tensor([True, True, True, False])
BY_HAND = {
    "teacher_all": (0.863198, 1.167592, 0.471864),
    "student_all": (0.671864, 1.210299, 0.663198),
    "student_all_minus_self": (-0.305871, 0.588774, -0.060822),
    "teacher_pos_student_neg": (0.801016, 1.174062, 0.663198),
}
SUMS = {
    "teacher_all": (2.502654, 0.834218),
    "student_all": (2.545361, 0.848454),
    "student_all_minus_self": (0.222081, 0.074027),
    "teacher_pos_student_neg": (2.638276, 0.879425),
}


def example(denominator: str, **options: object) -> Tensor:
    given = {"labels": LABELS, "rehearsal": REHEARSAL, "temperature": 0.5, **options}
    return nspt_loss(STUDENT, TEACHER, denominator=denominator, **given)


def draw(batch: int, seed: int, dim: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return student, teacher, labels and which are rehearsal: classes 0 and 1 of 0 to 3."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, batch, dim, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (batch,), generator=generator)
    return student, teacher, labels, labels < 2


def naive(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    rehearsal: Tensor,
    temperature: float,
    denominator: str,
    anchors: str,
) -> list[float]:
    """Return the loss of each anchor, by the formula and nothing else."""
    a, b = F.normalize(student), F.normalize(teacher)
    everyone = range(len(a))
    chosen = [k for k in everyone if anchors == "all" or rehearsal[k]]

    def e(x: Tensor, y: Tensor) -> float:
        return math.exp((x @ y).item() / temperature)

    found = []
    for k in chosen:
        positives = [p for p in chosen if labels[p] == labels[k]]
        total = {
            "student_all": sum(e(a[k], a[i]) for i in everyone),
            "student_all_minus_self": sum(e(a[k], a[i]) for i in everyone if i != k),
            "teacher_pos_student_neg": sum(
                e(a[k], b[i]) if i in positives else e(a[k], a[i]) for i in everyone
            ),
            "teacher_all": sum(e(a[k], b[i]) for i in everyone),
        }[denominator]
        terms = [math.log(e(a[k], b[p]) / total) for p in positives]
        found.append(-sum(terms) / len(terms))
    return found


@every_denominator
def test_values_of_the_anchors_are_those_worked_out_by_hand(denominator: str) -> None:
    values = example(denominator, reduction="none").tolist()
    assert values[:3] == pytest.approx(BY_HAND[denominator], abs=1e-6)
    assert values[3] == 0  # of the current class, so no anchor


@every_denominator
def test_sum_and_mean_over_anchors_are_those_worked_out_by_hand(denominator: str) -> None:
    total, mean = SUMS[denominator]
    assert example(denominator, reduction="sum").item() == pytest.approx(total, abs=1e-6)
    assert example(denominator).item() == pytest.approx(mean, abs=1e-6)


def test_the_default_is_the_students_denominator_and_rehearsal_anchors() -> None:
    assert example("student_all").equal(
        nspt_loss(STUDENT, TEACHER, labels=LABELS, rehearsal=REHEARSAL, temperature=0.5)
    )


@both_anchors
@every_denominator
@FEW
@given(batch=st.integers(2, 9), seed=st.integers(0, 10**6), temperature=st.floats(0.05, 2))
def test_it_equals_the_formula(
    denominator: Denominator, anchors: str, batch: int, seed: int, temperature: float
) -> None:
    student, teacher, labels, rehearsal = draw(batch, seed)
    expected = naive(student, teacher, labels, rehearsal, temperature, denominator, anchors)
    value = nspt_loss(
        student,
        teacher,
        labels=labels,
        rehearsal=rehearsal,
        temperature=temperature,
        denominator=denominator,
        anchors=anchors,
    )
    mean = sum(expected) / len(expected) if expected else 0.0
    assert value.item() == pytest.approx(mean, rel=1e-9, abs=1e-9)


@both_anchors
@every_denominator
@FEW
@given(batch=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_order_and_lengths_do_not_matter(
    denominator: Denominator, anchors: str, batch: int, seed: int
) -> None:
    student, teacher, labels, rehearsal = draw(batch, seed)
    options = {"denominator": denominator, "anchors": anchors, "reduction": "none"}
    values = nspt_loss(student, teacher, labels=labels, rehearsal=rehearsal, **options)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    lengths = torch.logspace(-1, 2, batch, dtype=torch.float64)[:, None]
    moved = nspt_loss(
        (lengths * student)[order],
        (lengths.flip(0) * teacher)[order],
        labels=labels[order],
        rehearsal=rehearsal[order],
        **options,
    )
    torch.testing.assert_close(moved, values[order])


@FEW
@given(batch=st.integers(1, 9), seed=st.integers(0, 10**6), temperature=st.floats(0.05, 2))
def test_no_term_is_below_zero_where_the_anchor_is_in_its_own_denominator(
    batch: int, seed: int, temperature: float
) -> None:
    student, teacher, labels, rehearsal = draw(batch, seed)
    values = nspt_loss(
        student,
        teacher,
        labels=labels,
        rehearsal=rehearsal,
        temperature=temperature,
        reduction="none",
    )
    assert (values >= -1e-12).all()


@pytest.mark.parametrize("denominator", sorted(set(DENOMINATORS) - {"student_all_minus_self"}))
def test_equal_vectors_give_the_logarithm_of_the_batch(denominator: str) -> None:
    one = torch.ones(5, 3)
    values = nspt_loss(
        one,
        one,
        labels=torch.tensor([0, 0, 1, 2, 2]),
        rehearsal=torch.tensor([True, True, True, False, False]),
        denominator=denominator,
        reduction="none",
    )
    assert values.tolist() == pytest.approx([math.log(5)] * 3 + [0, 0], abs=1e-6)


@every_denominator
def test_without_rehearsal_it_is_exactly_zero_with_zero_gradients(denominator: str) -> None:
    student = STUDENT.clone().requires_grad_()
    nobody = torch.zeros(4, dtype=torch.bool)
    loss = nspt_loss(
        student,
        TEACHER,
        labels=LABELS,
        rehearsal=nobody,
        denominator=denominator,
    )
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.eq(0).all()


@every_denominator
def test_a_lone_rehearsal_sample_is_finite(denominator: str) -> None:
    student = STUDENT[:1].clone().requires_grad_()
    options = {"labels": LABELS[:1], "rehearsal": REHEARSAL[:1], "denominator": denominator}
    loss = nspt_loss(student, TEACHER[:1], **options)
    loss.backward()
    assert student.grad is not None
    assert torch.stack([loss, student.grad.abs().max()]).isfinite().all()


def student_gradient(denominator: str) -> Tensor:
    student = (1.5 * STUDENT).requires_grad_()
    teacher = (0.5 * TEACHER).requires_grad_()
    nspt_loss(
        student,
        teacher,
        labels=LABELS,
        rehearsal=REHEARSAL,
        temperature=0.5,
        denominator=denominator,
    ).backward()
    assert teacher.grad is None
    assert student.grad is not None
    return student.grad


@pytest.mark.parametrize("denominator", sorted(set(DENOMINATORS) - {"teacher_all"}))
def test_a_current_sample_learns_as_a_negative(denominator: str) -> None:
    gradient = student_gradient(denominator)
    assert gradient[3].abs().max() > 1e-3
    # it is pushed away from the anchors, which lie above and to the right of it
    assert gradient[3, 1] > 0


def test_a_current_sample_learns_nothing_from_the_teachers_negatives() -> None:
    assert student_gradient("teacher_all")[3].tolist() == [0, 0]


@both_anchors
@every_denominator
def test_the_students_gradient_equals_finite_differences(
    denominator: Denominator, anchors: str
) -> None:
    student, teacher, labels, rehearsal = draw(6, seed=3)
    assert rehearsal.any()
    assert not rehearsal.all()
    for chunk_size in (None, 2):
        assert torch.autograd.gradcheck(
            lambda z, chunk_size=chunk_size: nspt_loss(
                z,
                teacher,
                labels=labels,
                rehearsal=rehearsal,
                denominator=denominator,
                anchors=anchors,
                chunk_size=chunk_size,
            ),
            (student.requires_grad_(),),
        )


@pytest.mark.parametrize("denominator", sorted(set(DENOMINATORS) - {"teacher_all"}))
def test_what_the_teacher_makes_of_current_samples_does_not_count(denominator: str) -> None:
    student, teacher, labels, rehearsal = draw(8, seed=1)
    other = teacher.masked_fill(~rehearsal[:, None], 0.0)
    values = [
        nspt_loss(student, t, labels=labels, rehearsal=rehearsal, denominator=denominator)
        for t in (teacher, other)
    ]
    assert values[0].equal(values[1])


@every_denominator
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast_is_finite_and_near_float64(
    denominator: Denominator, dtype: torch.dtype
) -> None:
    student, teacher, labels, rehearsal = draw(16, seed=2)
    low, low_teacher = (1e3 * student).to(dtype).requires_grad_(), (1e3 * teacher).to(dtype)
    options = {"labels": labels, "rehearsal": rehearsal, "denominator": denominator}
    with torch.autocast("cpu", dtype=dtype):
        loss = nspt_loss(low, low_teacher, temperature=0.01, **options)
    loss.backward()
    assert loss.dtype == torch.float32
    assert low.grad is not None
    assert low.grad.isfinite().all()
    exact = nspt_loss(low.double(), low_teacher.double(), temperature=0.01, **options)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="denominator 'students' is unknown; known: student_all,"):
        example("students")
    with pytest.raises(ValueError, match="anchors 'current' is unknown; known: rehearsal, all"):
        example("student_all", anchors="current")
    with pytest.raises(ValueError, match=r"rehearsal of shape \(2,\) do not match"):
        example("student_all", rehearsal=REHEARSAL[:2])


def test_multimodal_is_the_value_worked_out_by_hand() -> None:
    z1, z2 = torch.eye(2, dtype=torch.float64), rows((0.8, 0.6), (0.6, 0.8))
    expected = math.log(1 + math.exp(-0.4))
    assert expected == pytest.approx(0.513015, abs=1e-6)
    values = multimodal_loss(z1, z2, temperature=0.5, reduction="none")
    assert values.tolist() == pytest.approx([expected] * 2, rel=1e-12)


def test_multimodal_of_a_lone_sample_is_zero() -> None:
    z1 = rows((3, 4)).requires_grad_()
    loss = multimodal_loss(z1, rows((1, 2)))
    loss.backward()
    assert loss.item() == 0
    assert z1.grad is not None
    assert z1.grad.eq(0).all()


@FEW
@given(batch=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_multimodal_is_clips_loss_averaged_over_the_anchors(batch: int, seed: int) -> None:
    z1, z2, _, anchors = draw(batch, seed)
    values = clip_loss(z1, z2, temperature=0.1, reduction="none")
    assert multimodal_loss(z1, z2).item() == pytest.approx(values.mean().item(), rel=1e-9)
    expected = values[anchors].mean().item() if anchors.any() else 0.0
    found = multimodal_loss(z1, z2, anchors=anchors).item()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_multimodal_without_anchors_is_exactly_zero() -> None:
    loss = multimodal_loss(STUDENT, TEACHER, anchors=torch.zeros(4, dtype=torch.bool))
    assert loss.item() == 0


def test_gradients_of_both_modalities_equal_finite_differences() -> None:
    z1, z2, _, anchors = draw(5, seed=4)
    assert torch.autograd.gradcheck(
        lambda *views: multimodal_loss(*views, anchors=anchors),
        (z1.requires_grad_(), z2.requires_grad_()),
    )


def test_one_text_for_a_class_is_the_supervised_contrast_of_samples_and_texts() -> None:
    """Which text of a class is an anchor's own does not matter: the mean is over its class."""
    z1, texts, labels, _ = draw(8, seed=5)
    shown = F.normalize(texts)[labels]
    cosines = F.normalize(z1) @ shown.T / 0.1
    same = (labels[:, None] == labels).double()
    to_texts = -(same * cosines.log_softmax(dim=1)).sum(1) / same.sum(1)
    to_samples = -(same * cosines.T.log_softmax(dim=1)).sum(1) / same.sum(1)
    expected = (to_texts + to_samples).mean().item() / 2
    assert multimodal_loss(z1, shown).item() == pytest.approx(expected, rel=1e-9)
