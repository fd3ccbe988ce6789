"""Tasks of continual few-shot learning: labels, draws and corruption of the targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_suite.data.few_shot_tasks import (
    class_split,
    draw_class_task,
    draw_instance_task,
    noisy_pixels,
    occluded,
    set_labels,
)
from cl_suite.errors import UserError

ROWS = {c: list(range(20 * c, 20 * c + 20)) for c in range(40)}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_labels_advance_by_group_of_sets() -> None:
    assert set_labels(4, 2, 5) == [list(range(5)), list(range(5)), *[list(range(5, 10))] * 2]
    assert set_labels(3, 1, 2) == [[0, 1], [2, 3], [4, 5]]
    assert set_labels(3, 1, 2, overwrite=True) == [[0, 1]] * 3


@pytest.mark.parametrize(
    ("sets", "interval", "way", "overwrite", "outputs"),
    [(4, 2, 5, False, 10), (3, 1, 2, False, 6), (3, 1, 2, True, 2)],
)
def test_there_are_as_many_outputs_as_labels(
    sets: int, interval: int, way: int, overwrite: bool, outputs: int
) -> None:
    labels = set_labels(sets, interval, way, overwrite=overwrite)
    assert len({label for each in labels for label in each}) == outputs


@pytest.mark.parametrize(
    ("way", "sets", "classes", "images"),
    [(5, 4, 10, 20), (10, 4, 20, 40), (100, 4, 200, 400), (2, 20, 20, 40), (5, 80, 200, 400)],
)
def test_the_published_settings_have_their_numbers_of_classes_and_support_images(
    way: int, sets: int, classes: int, images: int
) -> None:
    rows = {c: list(range(12 * c, 12 * c + 12)) for c in range(211)}
    task = draw_class_task(
        rows, list(rows), task=0, way=way, shots=1, num_sets=sets, interval=2, targets=5
    )
    assert len({c for s in task for c in s.classes}) == classes
    assert sum(s.support.size for s in task) == images


def test_characters_are_divided_as_published() -> None:
    parts = [set(class_split(1622, part)) for part in ("train", "validation", "test")]  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [1200, 211, 211]
    assert set.union(*parts) == set(range(1622))


@given(
    task=st.integers(0, 50),
    interval=st.integers(1, 3),
    groups=st.integers(1, 3),
    way=st.integers(1, 4),
)
def test_no_image_of_a_task_comes_twice(task: int, interval: int, groups: int, way: int) -> None:
    sets = draw_class_task(
        ROWS,
        list(ROWS),
        task=task,
        way=way,
        shots=2,
        num_sets=groups * interval,
        interval=interval,
        targets=3,
    )
    shown = np.concatenate([np.concatenate([s.support.ravel(), s.target.ravel()]) for s in sets])
    assert len(np.unique(shown)) == len(shown)
    for s in sets:
        for class_id, support, target in zip(s.classes, s.support, s.target, strict=True):
            assert {*support.tolist(), *target.tolist()} <= set(ROWS[class_id])


def test_groups_of_sets_share_their_classes_and_no_others() -> None:
    sets = draw_class_task(
        ROWS, list(ROWS), task=1, way=3, shots=1, num_sets=4, interval=2, targets=1
    )
    assert sets[0].classes == sets[1].classes
    assert sets[2].classes == sets[3].classes
    assert not set(sets[0].classes) & set(sets[2].classes)


def test_the_task_decides_the_classes_and_the_seed_of_instances_the_images() -> None:
    def draw(task: int, seed: int) -> tuple[tuple[int, ...], list[int]]:
        [s] = draw_class_task(
            ROWS,
            list(ROWS),
            task=task,
            way=3,
            shots=1,
            num_sets=1,
            interval=1,
            targets=1,
            instance_seed=seed,
        )
        return s.classes, s.support.ravel().tolist()

    assert draw(0, 0) == draw(0, 0)
    assert draw(0, 0)[0] == draw(0, 1)[0]
    assert draw(0, 0)[1] != draw(0, 1)[1]
    assert draw(0, 0)[0] != draw(1, 0)[0]


def test_instances_are_distinct_images_of_one_class_each_its_own_target() -> None:
    sets = draw_instance_task(ROWS, list(ROWS), task=0, num_sets=4, set_size=5)
    assert [s.labels for s in sets] == [tuple(range(i, i + 5)) for i in (0, 5, 10, 15)]
    images = np.concatenate([s.support.ravel() for s in sets])
    assert len(np.unique(images)) == 20
    assert len({c for s in sets for c in s.classes}) == 1
    assert all((s.support == s.target).all() for s in sets)


def test_too_few_classes_or_images_are_refused() -> None:
    with pytest.raises(UserError, match="needs 45 classes, but this part of the data has 40"):
        draw_class_task(
            ROWS, list(ROWS), task=0, way=45, shots=1, num_sets=1, interval=1, targets=1
        )
    with pytest.raises(UserError, match="needs 24 images of each class, but one has 20"):
        draw_class_task(ROWS, list(ROWS), task=0, way=2, shots=1, num_sets=4, interval=4, targets=5)
    with pytest.raises(UserError, match="needs 21 images of each class"):
        draw_instance_task(ROWS, list(ROWS), task=0, num_sets=3, set_size=7)


@pytest.mark.parametrize(("share", "num"), [(0.05, 39), (0.1, 78), (0.2, 156), (0.4, 313)])
def test_noise_replaces_the_published_number_of_pixels(share: float, num: int) -> None:
    values = []
    for seed in range(20):
        image = torch.zeros(1, 28, 28, dtype=torch.uint8)
        spoiled = noisy_pixels(image, share, generator(seed))
        values += spoiled[spoiled > 0].tolist()
        # a value in 256 is drawn as it was
        assert num - 8 <= int((spoiled > 0).sum()) <= num
    assert 110 < np.mean(values) < 145  # uniform over the range


@pytest.mark.parametrize(
    ("side", "share", "num"),
    [
        *[(28, 0.05, 5), (28, 0.1, 13), (28, 0.2, 81), (28, 0.3, 197)],
        *[(64, 0.05, 29), (64, 0.1, 113), (64, 0.2, 441), (64, 0.3, 1129)],
    ],
)
def test_an_occlusion_hides_the_published_number_of_pixels(
    side: int, share: float, num: int
) -> None:
    for seed in range(20):
        image = torch.full((3, side, side), 255, dtype=torch.uint8)
        spoiled = occluded(image, share, generator(seed))
        assert [int((channel == 0).sum()) for channel in spoiled] == [num] * 3


def test_a_square_occlusion_is_twice_the_radius_and_one_wide() -> None:
    image = torch.full((1, 28, 28), 255, dtype=torch.uint8)
    spoiled = occluded(image, 0.1, generator(), square=True)
    assert int((spoiled == 0).sum()) == 25


def test_spoiling_leaves_the_image_itself_as_it_was() -> None:
    image = torch.full((1, 28, 28), 255, dtype=torch.uint8)
    noisy_pixels(image, 0.5, generator())
    occluded(image, 0.2, generator())
    assert (image == 255).all()
