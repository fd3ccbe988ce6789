"""Pretext tasks against transforms worked out by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from cl_suite.errors import UserError
from cl_suite.methods.pretext.tasks import (
    Jigsaw,
    Puzzle,
    draw_labels,
    make_tasks,
    mirror,
    patch_permutations,
    permute_patches,
    rotate,
)

RAMP = torch.arange(16.0).view(1, 1, 4, 4)


def puzzle(image: Tensor, permutation: list[int], rows: int = 2, columns: int = 2) -> Tensor:
    permutations = torch.tensor([permutation]).expand(len(image), -1)
    return permute_patches(image, permutations, rows, columns)


@pytest.mark.parametrize(
    ("permutation", "expected"),
    [
        ([1, 0, 2, 3], [[2, 3, 0, 1], [6, 7, 4, 5], [8, 9, 10, 11], [12, 13, 14, 15]]),
        ([2, 3, 0, 1], [[8, 9, 10, 11], [12, 13, 14, 15], [0, 1, 2, 3], [4, 5, 6, 7]]),
        ([3, 0, 1, 2], [[10, 11, 0, 1], [14, 15, 4, 5], [2, 3, 8, 9], [6, 7, 12, 13]]),
    ],
)
def test_patches_move_as_the_reference_code_moves_them(
    permutation: list[int], expected: list[list[int]]
) -> None:
    assert puzzle(RAMP, permutation)[0, 0].tolist() == expected


def test_each_image_of_a_batch_has_an_order_of_its_own() -> None:
    images = torch.rand(3, 2, 6, 6)
    permutations = torch.tensor([[1, 0, 2, 3], [0, 1, 2, 3], [3, 0, 1, 2]])
    together = permute_patches(images, permutations, 2, 2)
    for image, permutation, moved in zip(images, permutations, together, strict=True):
        assert moved.equal(puzzle(image[None], permutation.tolist())[0])
    assert together[1].equal(images[1])


def test_the_identity_leaves_an_image_that_had_to_be_padded_unchanged() -> None:
    image = torch.rand(1, 3, 8, 8)
    assert puzzle(image, list(range(9)), 3, 3).equal(image)


def test_padding_is_at_the_left_and_at_the_top() -> None:
    # 3 x 3 padded to 4 x 4: the first row and column are zeros, and are cut off of the result
    image = torch.arange(1.0, 10).view(1, 1, 3, 3)
    moved = puzzle(image, [3, 1, 2, 0])
    assert moved[0, 0].tolist() == [[9, 2, 3], [4, 0, 0], [7, 0, 1]]


@pytest.mark.parametrize("label", range(4))
def test_quarter_turns_are_counter_clockwise(label: int) -> None:
    images = torch.rand(2, 3, 7, 7)
    turned = rotate(images, torch.full((2,), label))
    torch.testing.assert_close(turned, torch.rot90(images, label, dims=(2, 3)), atol=1e-4, rtol=0)


def test_eight_angles_turn_by_45_degrees_and_two_by_180() -> None:
    images = torch.rand(1, 1, 9, 9)
    quarter = rotate(images, torch.tensor([2]), 8)
    torch.testing.assert_close(quarter, torch.rot90(images, 1, dims=(2, 3)), atol=1e-4, rtol=0)
    half = rotate(images, torch.tensor([1]), 2)
    torch.testing.assert_close(half, torch.rot90(images, 2, dims=(2, 3)), atol=1e-4, rtol=0)
    # what lay right of the centre goes up and to the right
    dot = torch.zeros(1, 1, 9, 9)
    dot[0, 0, 4, 7] = 1
    row, column = divmod(int(rotate(dot, torch.tensor([1]), 8).argmax()), 9)
    assert (row, column) == (2, 6)


def test_four_patches_have_all_24_permutations_each_once_in_an_order_that_is_drawn() -> None:
    all_of_them = list(itertools.permutations(range(4)))
    first = patch_permutations(4, generator=torch.Generator().manual_seed(0))
    assert sorted(map(tuple, first.tolist())) == all_of_them
    assert list(map(tuple, first.tolist())) != all_of_them
    assert not first.equal(patch_permutations(4, generator=torch.Generator().manual_seed(1)))
    assert first.equal(patch_permutations(4, generator=torch.Generator().manual_seed(0)))


def test_nine_patches_have_100_different_permutations() -> None:
    found = patch_permutations(9)
    assert found.shape == (100, 9)
    assert len(set(map(tuple, found.tolist()))) == 100
    assert found.sort(1).values.equal(torch.arange(9).expand(100, 9))


def test_the_combined_task_leaves_the_identity_out() -> None:
    jigsaw, rotation = make_tasks("jig_rot")
    assert (jigsaw.num_labels, rotation.num_labels) == (23, 4)
    assert [0, 1, 2, 3] not in jigsaw.permutations.tolist()  # type: ignore[operator, union-attr]


def test_labels_are_uniform_and_reproducible() -> None:
    torch.manual_seed(0)
    labels = draw_labels(24_000, 24)
    counts = labels.bincount(minlength=24)
    assert len(counts) == 24
    assert (counts - 1000).abs().max() < 150  # five standard deviations
    torch.manual_seed(0)
    assert draw_labels(24_000, 24).equal(labels)


def test_vertical_flip_and_time_reversal() -> None:
    images = torch.rand(2, 1, 4, 5)
    labels = torch.tensor([0, 1])
    flipped = mirror(images, labels, 2)
    assert flipped[0].equal(images[0])
    assert flipped[1].equal(images[1].flip(1))
    [reversal] = make_tasks("time_reversal")
    assert reversal(images, labels)[1].equal(images[1].flip(2))
    [flip] = make_tasks("vflip")
    assert flip(images, labels).equal(flipped)


def test_sounds_need_not_be_square() -> None:
    sounds = torch.arange(12.0).view(1, 1, 2, 6)
    [time] = make_tasks("time_jigsaw", patches=3)
    label = time.permutations.tolist().index([2, 0, 1])  # type: ignore[operator, union-attr]
    moved = time(sounds, torch.tensor([label]))[0, 0]
    assert moved.tolist() == [[4, 5, 0, 1, 2, 3], [10, 11, 6, 7, 8, 9]]
    [bands] = make_tasks("band_permutation", patches=2)
    label = bands.permutations.tolist().index([1, 0])  # type: ignore[operator, union-attr]
    assert bands(sounds, torch.tensor([label])).equal(sounds.flip(2))
    assert not time.needs_square
    assert not bands.needs_square


def test_the_permutations_are_saved_with_the_module() -> None:
    first, second = Jigsaw(4), Puzzle(1, 4)
    second.load_state_dict(first.state_dict())
    assert second.permutations.equal(first.permutations)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"name": "jigsaw", "patches": 5}, "patches must be the square.*got 5"),
        ({"name": "jigsaw", "patches": 1}, "patches must be the square.*got 1"),
        ({"name": "rotation", "angles": 3}, "angles must be 2, 4 or 8, got 3"),
        ({"name": "time_jigsaw", "patches": 1}, "patches must be at least 2, got 1"),
        ({"name": "colour"}, "pretext 'colour' is unknown; known: jigsaw"),
    ],
)
def test_tasks_that_there_are_not_are_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_tasks(**wanted)
