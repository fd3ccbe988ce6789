from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from cl_suite.data.transforms import (
    AutoAugment,
    Compose,
    Cutout,
    Identity,
    RandomAffine,
    RandomCropFlip,
    RandomResizedCrop,
    Resize,
    ResizeCenterCrop,
    ToFloat,
    Transform,
)

RANDOM: list[Transform] = [
    RandomAffine(),
    RandomCropFlip(),
    RandomResizedCrop(12),
    Cutout(6),
]
BATCHED: list[Transform] = [
    *RANDOM,
    Identity(),
    ToFloat((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)),
    Resize(12),
    ResizeCenterCrop(14, 12),
    Compose((ToFloat(), RandomAffine())),
]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(1)) + 0.1


def name(transform: Transform) -> str:
    return type(transform).__name__


@pytest.mark.parametrize("transform", BATCHED, ids=name)
def test_a_single_image_has_a_batchs_shape_without_its_first(
    transform: Transform, images: Tensor
) -> None:
    assert transform.batched
    assert transform(images).shape == (8, 3, 12, 12)
    assert transform(images[0]).shape == (3, 12, 12)


@pytest.mark.parametrize("transform", BATCHED, ids=name)
def test_the_same_seed_gives_the_same_bits(transform: Transform, images: Tensor) -> None:
    torch.manual_seed(3)
    first = transform(images)
    torch.manual_seed(3)
    assert torch.equal(first, transform(images))


@pytest.mark.parametrize("transform", BATCHED, ids=name)
def test_the_input_is_left_alone(transform: Transform, images: Tensor) -> None:
    before = images.clone()
    transform(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("transform", RANDOM, ids=name)
def test_each_image_of_a_batch_has_its_own_draw(transform: Transform, images: Tensor) -> None:
    torch.manual_seed(0)
    same = transform(images[:1].expand(8, 3, 12, 12))
    assert any(not torch.equal(same[0], other) for other in same[1:])


@pytest.mark.parametrize("transform", RANDOM, ids=name)
def test_another_seed_gives_another_draw(transform: Transform, images: Tensor) -> None:
    torch.manual_seed(0)
    first = transform(images)
    assert not torch.equal(first, transform(images))


@pytest.mark.parametrize("transform", BATCHED, ids=name)
def test_two_equal_transforms_have_equal_words(transform: Transform) -> None:
    # the words identify a transform in fingerprints and banks, so they must rebuild it
    assert eval(repr(transform)) == transform  # a text of our own class


def test_affine_without_extent_changes_nothing(images: Tensor) -> None:
    still = RandomAffine(degrees=0, translate=0, scale=(1, 1), shear=0)
    assert torch.allclose(still(images), images, atol=1e-5)  # interpolation at pixel centres


def test_affine_moves_by_at_most_the_asked_share() -> None:
    image = torch.zeros(200, 1, 20, 20)
    image[:, :, 10, 10] = 1.0
    moved = RandomAffine(degrees=0, translate=0.1, scale=(1, 1), shear=0)(image)
    rows = moved.sum((1, 3)).argmax(1)
    assert (rows - 10).abs().max() == 2  # a tenth of 20 pixels


def test_affine_scales_the_mass_with_the_area() -> None:
    image = torch.zeros(1, 1, 40, 40)
    image[:, :, 15:25, 15:25] = 1.0
    larger = RandomAffine(degrees=0, translate=0, scale=(2, 2), shear=0)(image)
    assert larger.sum().item() == pytest.approx(400, rel=0.01)


def test_affine_fills_with_zeros() -> None:
    torch.manual_seed(0)
    moved = RandomAffine(degrees=45, translate=0, scale=(1, 1), shear=0)(torch.ones(9, 1, 20, 20))
    assert moved.min() == 0


def test_crop_without_padding_and_flip_changes_nothing(images: Tensor) -> None:
    assert torch.equal(RandomCropFlip(padding=0, flip=False)(images), images)


def test_crop_cuts_a_piece_of_the_padded_image(images: Tensor) -> None:
    torch.manual_seed(0)
    cropped = RandomCropFlip(padding=2, flip=False)(images)
    padded = torch.nn.functional.pad(images, [2] * 4)
    for image, whole in zip(cropped, padded, strict=True):
        pieces = [whole[:, r : r + 12, c : c + 12] for r in range(5) for c in range(5)]
        assert any(torch.equal(image, piece) for piece in pieces)


def test_about_half_of_the_images_are_flipped(images: Tensor) -> None:
    torch.manual_seed(0)
    many = images[:1].expand(1000, 3, 12, 12)
    flipped = RandomCropFlip(padding=0)(many)
    is_flipped = (flipped == images[0].flip(-1)).flatten(1).all(1)
    assert ((flipped == images[0]).flatten(1).all(1) | is_flipped).all()
    assert 400 < is_flipped.sum() < 600  # 6 standard deviations


def test_crop_keeps_bytes() -> None:
    image = torch.full((3, 8, 8), 200, dtype=torch.uint8)
    assert RandomCropFlip()(image).dtype == torch.uint8


@pytest.mark.parametrize("size", [12, 8, 30])
def test_resized_crop_of_everything_is_a_resize(images: Tensor, size: int) -> None:
    whole = RandomResizedCrop(size, scale=(1, 1), ratio=(1, 1), flip=False)
    expected = torch.nn.functional.interpolate(images, (size, size), mode="bilinear")
    assert torch.allclose(whole(images), expected, atol=1e-5)


def test_resized_crop_shows_a_part_of_the_image() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(40.0).expand(64, 1, 40, 40)
    crop = RandomResizedCrop(10, scale=(0.25, 0.25), ratio=(1, 1), flip=False)(ramp)
    extent = crop.amax((1, 2, 3)) - crop.amin((1, 2, 3))
    # half of 40 columns, seen at 10 pixel centres 2 columns apart; at a border half a column less
    assert ((extent > 17.4) & (extent < 18.1)).all()
    assert crop.amin() < 3
    assert crop.amax() > 36


def test_resize_keeps_the_aspect_ratio() -> None:
    assert Resize(10)(torch.zeros(3, 20, 30)).shape == (3, 10, 15)


def test_centre_crop_is_torchvisions(images: Tensor) -> None:
    expected = v2.Compose([v2.Resize(16, antialias=True), v2.CenterCrop(12)])(images)
    assert torch.equal(ResizeCenterCrop(16, 12)(images), expected)


def test_centre_crop_takes_any_aspect_ratio() -> None:
    image = torch.zeros(3, 50, 20, dtype=torch.uint8)
    assert ResizeCenterCrop(16, 12)(image).shape == (3, 12, 12)


def test_bytes_become_standardised_floats() -> None:
    image = torch.tensor([255, 0], dtype=torch.uint8).view(2, 1, 1)
    assert ToFloat((0.5, 0.5), (0.25, 0.5))(image).flatten().tolist() == [2.0, -1.0]


def test_floats_are_not_divided_again() -> None:
    assert ToFloat()(torch.full((1, 1, 1), 0.5)).item() == 0.5


def test_cutout_removes_one_square() -> None:
    torch.manual_seed(0)
    cut = Cutout(4)(torch.ones(200, 1, 20, 20))
    removed = (cut == 0).sum((1, 2, 3))
    assert removed.max() == 16
    assert removed.min() >= 4  # a centre in the corner leaves a quarter


def test_cutout_of_nothing_changes_nothing(images: Tensor) -> None:
    assert torch.equal(Cutout(0)(images), images)


def test_autoaugment_is_for_single_images_of_bytes() -> None:
    image = (255 * torch.rand(3, 16, 16)).to(torch.uint8)
    transform = AutoAugment("cifar10")
    assert not transform.batched
    assert transform(image).shape == image.shape
    assert transform(image).dtype == torch.uint8


def test_a_chain_is_batched_if_all_its_links_are() -> None:
    assert Compose((ToFloat(), RandomAffine())).batched
    assert not Compose((ToFloat(), AutoAugment("imagenet"))).batched


def test_a_chain_acts_first_to_last(images: Tensor) -> None:
    chain = Compose((ToFloat((1.0,) * 3, (2.0,) * 3), Resize(6)))
    expected = Resize(6)((images - 1) / 2)
    assert torch.allclose(chain(images), expected)
