"""Random transforms of photographs: each image as in torchvision, with its own draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from cl_suite.data.transforms import Transform
from cl_suite.methods.self_supervised.transforms import (
    ColorJitter,
    GaussianBlur,
    RandomGreyscale,
    Solarise,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    blur,
)

functional = v2.functional
RANDOM: list[Transform] = [
    ColorJitter(),
    RandomGreyscale(0.5),
    Solarise(probability=0.5),
    GaussianBlur(5),
]
random_ones = pytest.mark.parametrize("transform", RANDOM, ids=lambda t: type(t).__name__)


def pictures(num: int = 8, channels: int = 3, seed: int = 1) -> Tensor:
    images = torch.rand(num, channels, 9, 12, generator=torch.Generator().manual_seed(seed))
    images[0] = 0.5  # without colour or contrast
    images[1, :, :3] = 0
    images[1, :, 3:6] = 1
    return images


@random_ones
def test_a_single_image_has_a_batchs_shape_without_its_first(transform: Transform) -> None:
    assert transform.batched
    assert transform(pictures()).shape == (8, 3, 9, 12)
    assert transform(pictures()[0]).shape == (3, 9, 12)


@random_ones
def test_the_same_seed_gives_the_same_bits(transform: Transform) -> None:
    torch.manual_seed(3)
    first = transform(pictures())
    torch.manual_seed(3)
    assert first.equal(transform(pictures()))
    assert not first.equal(transform(pictures()))


@random_ones
def test_each_image_of_a_batch_has_its_own_draw(transform: Transform) -> None:
    torch.manual_seed(0)
    same = transform(pictures()[5:6].expand(16, 3, 9, 12))
    assert any(not same[0].equal(other) for other in same[1:])


@random_ones
def test_the_input_is_left_alone(transform: Transform) -> None:
    images = pictures()
    transform(images)
    assert images.equal(pictures())


@random_ones
def test_values_stay_from_0_to_1_and_words_say_the_transform(transform: Transform) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        found = transform(pictures())
        assert found.isfinite().all()
        assert found.min() >= 0
        assert found.max() <= 1 + 1e-6
    # the words identify a transform in fingerprints and banks, so they must rebuild it
    assert eval(repr(transform)) == transform  # a text of our own class


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (adjust_brightness, functional.adjust_brightness, (0.0, 0.6, 1.0, 1.4)),
        (adjust_contrast, functional.adjust_contrast, (0.0, 0.6, 1.0, 1.4)),
        (adjust_saturation, functional.adjust_saturation, (0.0, 0.6, 1.0, 1.4)),
        (adjust_hue, functional.adjust_hue, (-0.5, -0.1, 0.0, 0.3)),
    ],
)
def test_each_change_of_colour_is_torchvisions(
    ours: object, theirs: object, amounts: tuple[float, ...], channels: int
) -> None:
    images = pictures(4, channels)
    for shift in range(4):  # each image with each amount
        given_amounts = torch.tensor(amounts).roll(shift)
        found = ours(images, given_amounts[:, None, None, None])  # type: ignore[operator]
        expected = [theirs(i, a.item()) for i, a in zip(images, given_amounts, strict=True)]  # type: ignore[operator]
        torch.testing.assert_close(found, torch.stack(expected), atol=2e-6, rtol=0)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(turn=st.floats(-0.5, 0.5), seed=st.integers(0, 10**6))
def test_hue_is_torchvisions_for_any_turn(turn: float, seed: int) -> None:
    images = pictures(4, seed=seed)
    found = adjust_hue(images, torch.full((4, 1, 1, 1), turn))
    torch.testing.assert_close(found, functional.adjust_hue(images, turn), atol=5e-6, rtol=0)


@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_blur_is_torchvisions_for_each_images_own_width(size: int, channels: int) -> None:
    images, sigma = pictures(3, channels), torch.tensor([[0.1], [0.8], [2.0]])
    found = blur(images, size, sigma)
    expected = [
        functional.gaussian_blur(image, [size, size], [width.item()] * 2)
        for image, width in zip(images, sigma, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-6, rtol=0)


def test_solarising_is_torchvisions() -> None:
    found = Solarise(probability=1.0)(pictures())
    assert found.equal(functional.solarize(pictures(), 0.5))


def test_a_grey_image_keeps_its_channels_and_has_one_luminance() -> None:
    found = RandomGreyscale(1.0)(pictures())
    expected = functional.rgb_to_grayscale(pictures(), num_output_channels=3)
    torch.testing.assert_close(found, expected)
    single = pictures(channels=1)
    assert RandomGreyscale(1.0)(single).equal(single)


@pytest.mark.parametrize(
    "transform",
    [
        ColorJitter(probability=0.3),
        RandomGreyscale(0.3),
        Solarise(threshold=0.0, probability=0.3),
        GaussianBlur(5, (1.0, 1.0), 0.3),
    ],
    ids=lambda t: type(t).__name__,
)
def test_as_large_a_share_of_images_is_changed_as_asked(transform: Transform) -> None:
    torch.manual_seed(0)
    images = pictures()[4:5].expand(2000, 3, 9, 12)
    changed = (transform(images) != images).flatten(1).any(dim=1).float().mean()
    assert changed.item() == pytest.approx(0.3, abs=0.03)  # three standard deviations


def test_nothing_is_changed_at_probability_0_and_everything_at_1() -> None:
    images = pictures()[4:]
    assert ColorJitter(probability=0.0)(images).equal(images)
    changed = ColorJitter(probability=1.0)(images) != images
    assert changed.flatten(1).any(dim=1).all()


def test_jitters_factors_fill_their_range() -> None:
    torch.manual_seed(0)
    grey = torch.full((4000, 3, 1, 1), 0.5)
    found = ColorJitter(0.4, 0.0, 0.0, 0.0, 1.0)(grey)[:, 0, 0, 0] / 0.5
    assert found.min().item() == pytest.approx(0.6, abs=0.01)
    assert found.max().item() == pytest.approx(1.4, abs=0.01)
    assert found.mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("seed", range(6))
def test_a_jitter_is_torchvisions_functions_in_the_order_drawn(seed: int) -> None:
    image = pictures(3, seed=7)[2]
    torch.manual_seed(seed)
    found = ColorJitter(0.4, 0.4, 0.2, 0.1, 1.0)(image)
    torch.manual_seed(seed)
    torch.rand(1)
    draw = torch.rand(1, 4)[0]
    low, high = torch.tensor([0.6, 0.6, 0.8]), torch.tensor([1.4, 1.4, 1.2])
    amounts = [*(low + draw[:3] * (high - low)).tolist(), (draw[3].item() * 2 - 1) * 0.1]
    names = ("brightness", "contrast", "saturation", "hue")
    expected = image
    for change in torch.rand(1, 4).argsort(dim=1)[0].tolist():
        expected = getattr(functional, f"adjust_{names[change]}")(expected, amounts[change])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
