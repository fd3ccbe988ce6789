"""A backbone's own preprocessing: size, statistics and resizing from the model's own record."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_streams import make_samples, make_stream

from cl_suite.avalanche import benchmark
from cl_suite.data.samples import TensorSamples
from cl_suite.data.stream import build_stream
from cl_suite.data.transforms import Compose, Identity, RandomResizedCrop, ToFloat
from cl_suite.errors import UserError
from cl_suite.models.preprocessing import (
    Preprocessing,
    backbone_preprocessing,
    takes_images,
    with_preprocessing,
)


def test_size_and_statistics_are_those_of_the_models_record() -> None:
    lite = backbone_preprocessing("tf_efficientnet_lite0")
    assert lite == Preprocessing(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    deit = backbone_preprocessing("deit_tiny_patch16_224", image_size=160)
    assert deit is not None
    assert deit.size == 160
    assert deit.mean == (0.485, 0.456, 0.406)


def test_our_own_networks_have_none() -> None:
    assert backbone_preprocessing("conv4") is None


def test_an_image_is_resized_whole_by_default_and_cropped_on_request() -> None:
    half = torch.zeros(3, 64, 64, dtype=torch.uint8)
    half[:, :, 32:] = 255
    half[:, :2] = 255  # a frame above, which a crop of 7/8 cuts off
    whole = Preprocessing(32, (0.0,) * 3, (1.0,) * 3).eval_transform()(half)
    cropped = Preprocessing(32, (0.0,) * 3, (1.0,) * 3, crop_fraction=0.875).eval_transform()(half)
    assert whole.shape == cropped.shape == (3, 32, 32)
    assert whole[0, 0, 0] > 0.9
    assert cropped[0, 0, 0] < 0.2


def test_a_grey_image_gets_three_channels() -> None:
    stream = with_preprocessing(make_stream(), Preprocessing(24, (0.5,) * 3, (0.5,) * 3))
    assert stream.info.input_shape == (3, 24, 24)
    image = stream.info.eval_transform(stream.train[0][0][0])
    assert image[0].equal(image[1])
    assert -1.1 <= image.min() < image.max() <= 1.1


def test_samples_and_fingerprint_stay_and_the_augmentation_is_the_networks() -> None:
    before = make_stream()
    after = with_preprocessing(before, Preprocessing(24, (0.5,) * 3, (0.5,) * 3))
    assert after.train is before.train
    assert after.info.fingerprint == before.info.fingerprint
    assert isinstance(after.info.train_transform, Compose)
    # the patterns are not mirrored, so neither are the crops
    assert RandomResizedCrop(24, flip=False) in after.info.train_transform.steps
    x, _ = benchmark(after).train_stream[0].dataset[0][:2]
    assert x.shape == (3, 24, 24)


def test_a_stream_without_augmentation_keeps_none() -> None:
    plain = make_stream()
    plain = plain.with_transforms(ToFloat(), ToFloat())
    after = with_preprocessing(plain, Preprocessing(24, (0.5,) * 3, (0.5,) * 3))
    assert after.info.train_transform == after.info.eval_transform


def test_samples_that_are_no_images_are_refused() -> None:
    vectors = build_stream(
        name="vectors",
        class_names=["a", "b"],
        session_classes=[[0, 1]],
        train=[TensorSamples(torch.randn(4, 7), [0, 0, 1, 1])],
        test=[TensorSamples(torch.randn(2, 7), [0, 1])],
        train_transform=Identity(),
        eval_transform=Identity(),
    )
    assert takes_images(make_stream())
    assert make_samples([0], 1, seed=0).inputs.dtype == torch.uint8
    assert not takes_images(vectors)
    with pytest.raises(UserError, match=r"'vectors' has no images .* pass model\.preprocessing="):
        with_preprocessing(vectors, Preprocessing(24, (0.5,) * 3, (0.5,) * 3))
