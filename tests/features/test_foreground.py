"""What images share: the crops that are chosen, and the prototypes made of them."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_suite.features.foreground import alike, foreground_prototype, shared_features


def unit_crops(num_images: int, num_crops: int, seed: int = 0, dim: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(num_images, num_crops, dim, generator=generator, dtype=torch.float64)
    return F.normalize(drawn, dim=2)


def with_object(crops: Tensor, places: list[int]) -> Tensor:
    """Return crops of which one an image shows the same thing, slightly changed."""
    crops = crops.clone()
    for image, place in enumerate(places):
        crops[image, place] = F.normalize(torch.ones(crops.shape[2]) + 0.1 * crops[image, 0], dim=0)
    return crops


def likeness(crops: Tensor, chosen: tuple[int, ...]) -> float:
    """Return the sum of pairwise cosines of one crop an image."""
    picked = crops[torch.arange(len(crops)), torch.tensor(chosen)]
    return float((picked @ picked.T).triu(1).sum())


def test_the_crops_that_show_one_thing_are_chosen() -> None:
    places = [2, 0, 3, 1, 2]
    assert alike(with_object(unit_crops(5, 4), places)).tolist() == places


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_choice_is_near_the_best_of_all_tuples(seed: int) -> None:
    crops = unit_crops(3, 4, seed)
    best = max(likeness(crops, chosen) for chosen in itertools.product(range(4), repeat=3))
    found = likeness(crops, tuple(alike(crops).tolist()))
    typical = sum(likeness(crops, c) for c in itertools.product(range(4), repeat=3)) / 64
    assert found - typical >= 0.6 * (best - typical)


def test_each_crop_counts_once() -> None:
    crops = unit_crops(3, 4)
    sums = shared_features(crops)
    assert sums.shape == (4, 6)
    torch.testing.assert_close(sums.norm(dim=1), torch.ones(4, dtype=torch.float64))
    both = F.normalize(crops[:, :1].repeat(1, 2, 1), dim=2)  # the same crop twice
    first, second = shared_features(both)
    torch.testing.assert_close(first, second)


def test_equal_crops_give_the_plain_prototype() -> None:
    image = unit_crops(4, 1)
    plain = F.normalize(image[:, 0].mean(0), dim=0)
    for alpha in (0.0, 0.5, 1.0):
        torch.testing.assert_close(foreground_prototype(image.repeat(1, 3, 1), alpha), plain)


def test_one_crop_an_image_gives_the_plain_prototype() -> None:
    crops = unit_crops(4, 1)
    torch.testing.assert_close(foreground_prototype(crops, 0.5), F.normalize(crops.mean(0))[0])


def test_copies_of_the_chosen_crops_do_not_change_what_is_shared_most() -> None:
    places = [1, 2, 3, 4]
    crops = with_object(unit_crops(4, 5), places)
    copies = crops[torch.arange(4), torch.tensor(places)][:, None]
    torch.testing.assert_close(
        foreground_prototype(torch.cat([crops, copies], dim=1), 0.0),
        foreground_prototype(crops, 0.0),
    )


def test_the_order_of_crops_does_not_matter() -> None:
    crops = with_object(unit_crops(4, 5), [1, 2, 3, 4])
    order = torch.tensor([3, 0, 4, 1, 2])
    for alpha in (0.0, 0.5):
        torch.testing.assert_close(
            foreground_prototype(crops[:, order], alpha), foreground_prototype(crops, alpha)
        )


def test_alpha_0_is_what_is_shared_most_and_1_is_all_class_features() -> None:
    crops = with_object(unit_crops(5, 3), [0, 1, 2, 0, 1])
    shared = shared_features(crops)
    torch.testing.assert_close(foreground_prototype(crops, 0.0), shared[0])
    torch.testing.assert_close(foreground_prototype(crops, 1.0), F.normalize(shared.sum(0), dim=0))
    assert F.cosine_similarity(shared[0], torch.ones(6, dtype=torch.float64), dim=0) > 0.95


def test_of_one_image_all_crops_are_kept() -> None:
    crops = unit_crops(1, 3)
    expected = F.normalize(crops[0].sum(0), dim=0)
    torch.testing.assert_close(foreground_prototype(crops, 1.0), expected)
