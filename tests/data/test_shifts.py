"""Image shifts: small ones worked by hand, and noise that is fixed for each image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cl_suite.data.shifts import AT_ONCE, SHIFTS, shifted
from cl_suite.errors import UserError

SQUARE = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)


def random_images(num: int = 5, channels: int = 3, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num, channels, size, size)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ("none", [[1, 2], [3, 4]]),
        ("rotate90", [[2, 4], [1, 3]]),
        ("rotate180", [[4, 3], [2, 1]]),
        ("rotate270", [[3, 1], [4, 2]]),
        ("invert", [[254, 253], [252, 251]]),
    ],
)
def test_pixels_go_where_they_should(shift: str, expected: list[list[int]]) -> None:
    assert shifted(SQUARE, shift)[0, 0].tolist() == expected


def test_low_contrast_draws_each_image_towards_its_own_mean() -> None:
    images = torch.tensor([[[[0, 200]]], [[[50, 50]]]], dtype=torch.uint8)
    # mean 100 and 0.3 of the distance to it
    assert shifted(images, "low_contrast").flatten().tolist() == [70, 130, 50, 50]


def test_blur_spreads_a_point_evenly_and_keeps_its_brightness() -> None:
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[0, 0, 14, 14] = 255
    blurred = shifted(image, "blur")[0, 0].long()
    # 255 / (2 pi) at the centre, e^{-1/2} of it beside, for a standard deviation of one pixel
    assert blurred[14, 14] == pytest.approx(40.6, abs=1)
    assert blurred[14, 15] == blurred[13, 14] == pytest.approx(24.6, abs=1)
    assert int(blurred.sum()) == pytest.approx(255, abs=10)  # the tails are rounded off


def test_blur_leaves_an_even_surface_as_it_is() -> None:
    even = torch.full((2, 3, 10, 12), 90, dtype=torch.uint8)
    assert shifted(even, "blur").equal(even)


def test_noise_has_the_announced_strength() -> None:
    grey = torch.full((40, 1, 28, 28), 128, dtype=torch.uint8)
    change = shifted(grey, "noise").float() - 128
    assert float(change.mean()) == pytest.approx(0, abs=1)
    assert float(change.std()) == pytest.approx(51, rel=0.05)


def test_noise_is_fixed_by_its_seed_and_differs_between_images() -> None:
    grey = torch.full((3, 1, 8, 8), 128, dtype=torch.uint8)
    noisy = shifted(grey, "noise", [3, 0])
    assert noisy.equal(shifted(grey, "noise", [3, 0]))
    assert not noisy.equal(shifted(grey, "noise", [3, 1]))
    assert not noisy[0].equal(noisy[1])


@pytest.mark.parametrize("shift", SHIFTS)
def test_an_image_is_shifted_alone_as_among_many(shift: str) -> None:
    many = random_images(AT_ONCE + 3, channels=1)
    together = shifted(many, shift)
    assert together[:2].equal(shifted(many[:2], shift))
    if shift != "noise":
        assert together[-1:].equal(shifted(many[-1:], shift))


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_images_given_are_left_alone(shift: str) -> None:
    images = random_images()
    before = images.clone()
    result = shifted(images, shift)
    result.zero_()
    assert images.equal(before)
    assert (result.dtype, result.shape) == (torch.uint8, images.shape)
    assert result.is_contiguous()


@pytest.mark.parametrize("shift", [shift for shift in SHIFTS if shift != "none"])
def test_every_shift_changes_something(shift: str) -> None:
    assert not shifted(random_images(), shift).equal(random_images())


def test_an_oblong_image_is_not_turned_by_a_quarter() -> None:
    oblong = torch.zeros(1, 1, 4, 6, dtype=torch.uint8)
    with pytest.raises(UserError, match="'rotate90' would change the shape of images of 4 x 6"):
        shifted(oblong, "rotate90")
    assert shifted(oblong, "rotate180").shape == oblong.shape


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_images_can_be_blurred(size: int) -> None:
    assert shifted(random_images(2, 1, size), "blur").shape == (2, 1, size, size)
