"""The choice of parameters: fake streams are cut cleanly, their figures are the published ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cl_suite.methods.episodes.tuning import FakeTask, choice_note, choose, fake_figures, fake_tasks
from cl_suite.metrics import figures
from cl_suite.metrics.accuracy_matrix import Hits, accuracy_matrix


def labels_of(num_classes: int = 20, per_class: int = 30) -> Tensor:
    shuffled = torch.randperm(num_classes * per_class, generator=torch.Generator().manual_seed(0))
    return (3 * torch.arange(num_classes)).repeat(per_class)[shuffled]  # ids with gaps


def tasks_of(labels: Tensor, seed: int = 0, **settings: int) -> list[FakeTask]:
    return fake_tasks(labels, generator=torch.Generator().manual_seed(seed), **settings)


def test_parts_of_a_task_share_no_sample_and_no_class() -> None:
    labels = labels_of()
    for task in tasks_of(labels):
        rows = torch.cat([task.train, task.shots, task.test])
        assert len(rows.unique()) == len(rows)
        assert set(labels[task.train].tolist()) == set(task.base_classes.tolist())
        assert set(labels[task.shots].tolist()) == set(task.new_classes.tolist())
        assert set(labels[task.test].tolist()) == set(task.classes.tolist())
        assert not set(task.base_classes.tolist()) & set(task.new_classes.tolist())


def test_new_classes_have_their_shots_and_base_classes_most_of_their_images() -> None:
    labels = labels_of()
    for task in tasks_of(labels, shots=5):
        assert len(task.base_classes) == 12
        assert torch.bincount(labels[task.shots])[task.new_classes].tolist() == [5] * 8
        assert torch.bincount(labels[task.train])[task.base_classes].tolist() == [24] * 12


def test_small_classes_give_at_most_half_their_images_as_shots() -> None:
    labels = labels_of(per_class=6)
    for task in tasks_of(labels, shots=5):
        assert torch.bincount(labels[task.shots])[task.new_classes].tolist() == [3] * 8


def test_shots_may_be_a_larger_share_if_the_rest_suffices_for_testing() -> None:
    labels = labels_of(per_class=10)
    for task in tasks_of(labels, shots=10, shot_share=0.8):
        assert torch.bincount(labels[task.shots])[task.new_classes].tolist() == [8] * 8
        assert torch.bincount(labels[task.test])[task.classes].tolist() == [2] * 20


@pytest.mark.parametrize(("num_classes", "per_class"), [(9, 100), (60, 3), (4, 12)])
def test_too_small_a_base_session_gives_no_task(num_classes: int, per_class: int) -> None:
    assert tasks_of(labels_of(num_classes, per_class)) == []


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone() -> None:
    labels, before = labels_of(), torch.get_rng_state()
    one, same, other = tasks_of(labels, 1), tasks_of(labels, 1), tasks_of(labels, 2)
    assert torch.get_rng_state().equal(before)
    assert one[0].test.equal(same[0].test)
    assert not one[0].test.equal(other[0].test)
    assert not one[0].test.equal(one[1].test)


def naive_figures(scores: Tensor, labels: Tensor, task: FakeTask, offset: float) -> list[float]:
    """Return the figures by the accuracy matrix, session for session."""
    num_base, num_new = len(task.base_classes), len(task.new_classes)
    ends = [0, *range(task.way, num_new, task.way), num_new]
    truth = task.columns(labels)[task.test]
    shifted = scores.clone()
    shifted[:, num_base:] += offset
    hits = []
    for end in ends:
        known = truth < num_base + end
        right = shifted[:, : num_base + end].argmax(1) == truth
        hits.append(torch.bincount(truth[known & right], minlength=num_base + num_new).numpy())
    session_of = np.zeros(num_base + num_new, dtype=np.int64)
    for session, end in enumerate(ends[:-1], start=1):
        session_of[num_base + end : num_base + ends[session]] = session
    counts = torch.bincount(truth, minlength=num_base + num_new).numpy()
    matrix, num_images = accuracy_matrix(Hits(np.stack(hits), counts, session_of))
    harmonic = float(figures.harmonic_mean(matrix, num_images)[-1])
    return [figures.average_accuracy(matrix, num_images), harmonic]


def test_figures_equal_those_of_the_accuracy_matrix() -> None:
    # as many test images of every class, so that weighing classes and images is the same
    labels = labels_of()
    generator = torch.Generator().manual_seed(3)
    for task in tasks_of(labels, test_images=6, num_sessions=3):
        truth = task.columns(labels)[task.test]
        scores = torch.randn(len(task.test), len(task.classes), generator=generator)
        scores[torch.arange(len(truth)), truth] += 1.5
        offsets = [-0.5, 0.0, 0.7, 50.0]
        found = fake_figures(scores, labels, task, offsets)
        expected = [naive_figures(scores, labels, task, offset) for offset in offsets]
        assert found.tolist() == [pytest.approx(figures, abs=1e-12) for figures in expected]


def test_never_predicting_a_new_class_has_no_harmonic_mean() -> None:
    labels = labels_of()
    task = tasks_of(labels)[0]
    scores = torch.nn.functional.one_hot(task.columns(labels)[task.test]).float()
    perfect, blind = fake_figures(scores, labels, task, [0.0, -2.0])
    assert perfect.tolist() == [1.0, 1.0]
    assert blind[1] == 0
    assert blind[0] < 1


def test_the_best_candidate_is_chosen_and_all_are_kept() -> None:
    labels = labels_of()
    tasks = tasks_of(labels, num_tasks=2)
    outcome = {id(tasks[0]): [[0.5, 0.5], [0.9, 0.1]], id(tasks[1]): [[0.6, 0.6], [0.9, 0.2]]}
    choice = choose(
        [{"width": 1.0}, {"width": 2.0}], tasks, lambda task: torch.tensor(outcome[id(task)])
    )
    assert choice.best == {"width": 1.0}
    assert choice.columns == ["width", "average", "harmonic", "score"]
    assert choice.table.tolist() == [
        pytest.approx([1, 0.55, 0.55, 0.55]),
        pytest.approx([2, 0.9, 0.15, 0.525]),
    ]
    words = "chose width 1 on streams cut from the base session's training data"
    assert choice_note(choice.state_dict()) == words
    assert choice_note({}) == ""


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ValueError, match="0 candidates and 4 tasks"):
        choose([], tasks_of(labels_of()), lambda task: torch.zeros(0, 2))
